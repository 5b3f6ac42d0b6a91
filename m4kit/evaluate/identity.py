"""Measures how well the identity numbers of a network tell people apart, from several photos of each person."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from m4kit import metrics
from m4kit.datasets import HELD_OUT_PEOPLE, DatasetError, Sample, held_out, read_youtube_faces
from m4kit.evaluate.crops import true_crops
from m4kit.folding import folded
from m4kit.parameters import split
from m4kit.peers.tddfa_v2 import NETWORKS, read_network, whitened


class IdentityFigures(NamedTuple):
    """How well photos of one person go together and those of different people differ.

    - `auc`: how likely two photos of one person are more similar than two photos of different people.
    - `auc_apart`: the same if the photos of one person are of two videos, with other light, camera and view.
    - `same`, `other`: mean cosine similarity of two photos of one person and of two people.
    - `between`, `within`: variance of the people and of one person's photos, means over the numbers.
    - `ratio`: between / within.
    """

    auc: float
    auc_apart: float
    same: float
    other: float
    between: float
    within: float
    ratio: float


@dataclass(frozen=True)
class IdentityEvaluation:
    """Identity numbers (n, K) of n photos, and the names of the people in them and of their videos, (n,) each.

    Each number is centred and divided by its standard deviation over these photos, so that neither the model's mean
    nor the scale of its modes counts. Raises `DatasetError` unless there are at least two people, one of them in
    two videos.
    """

    numbers: np.ndarray = field(repr=False)
    people: np.ndarray = field(repr=False)
    videos: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        of_videos = dict(zip(self.videos, self.people, strict=True))
        people = set(self.people)
        if len(people) < 2 or len(of_videos) == len(set(of_videos.values())):
            raise DatasetError(
                "identity: expected two or more people and two or more videos of one of them, got "
                f"{len(self.people)} photos of {len(people)} people in {len(of_videos)} videos"
            )

    @cached_property
    def _parts(self) -> tuple[np.ndarray, ...]:
        """What the figures need, by person (P, ...) and by pair of people (P, P)."""
        people, person = np.unique(self.people, return_inverse=True)
        centred = self.numbers - self.numbers.mean(axis=0)
        numbers = centred / np.maximum(centred.std(axis=0), 1e-12)
        directions = numbers / np.maximum(np.linalg.norm(numbers, axis=1, keepdims=True), 1e-12)
        first, second = np.triu_indices(len(person), 1)
        cosine = (directions[first] * directions[second]).sum(axis=1)
        same = person[first] == person[second]
        own, alike, unlike = person[first[same]], cosine[same], cosine[~same]
        pair = person[first[~same]] * len(people) + person[second[~same]]

        def by_pair(values: np.ndarray | None) -> np.ndarray:
            return np.bincount(pair, values, len(people) ** 2).reshape(len(people), -1)

        # How many pairs of other people each person's own pairs surpass; ties count half.
        apart = self.videos[first[same]] != self.videos[second[same]]
        wins = []
        for chosen in (np.ones_like(apart), apart):
            for one in range(len(people)):
                scores = np.sort(alike[chosen & (own == one)])
                lower = sum(np.searchsorted(scores, unlike, side=side) for side in ("left", "right")) / 2
                wins.append(by_pair(len(scores) - lower))
        sums = [np.bincount(own, values, len(people)) for values in (None, apart, alike)]
        sums += [by_pair(values) for values in (unlike, None)]
        counts = np.bincount(person)
        means = np.stack([numbers[person == one].mean(axis=0) for one in range(len(people))])
        squares = np.bincount(person, np.square(numbers - means[person]).mean(axis=1))
        within = squares / np.maximum(counts - 1, 1)
        return np.reshape(wins, (2, *[len(people)] * 3)), *sums, counts, means, within

    def _figures(self, times: np.ndarray) -> np.ndarray:
        """`IdentityFigures` if each person is drawn so many `times` (P,); two draws of a person are no pair."""
        wins, count, count_apart, same, other, other_count, counts, means, within = self._parts
        pairs, several = np.outer(times, times), times * (counts > 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            own_pairs, other_pairs = np.stack([count, count_apart]) @ times, (other_count * pairs).sum()
            aucs = (wins * pairs).sum(axis=(2, 3)) @ times / (own_pairs * other_pairs)
            mean = times @ means / times.sum()
            inside = several @ within / several.sum()
            # The variance of a person's mean that only few photos cause is not between people.
            across = times @ np.square(means - mean).mean(axis=1) / (times.sum() - 1)
            across -= inside * (times / counts).sum() / times.sum()
            alike = times @ same / own_pairs[0], (other * pairs).sum() / other_pairs
            return np.array([*aucs, *alike, across, inside, across / inside])

    @property
    def figures(self) -> IdentityFigures:
        """The figures of these photos."""
        return IdentityFigures(*self._figures(np.ones(len(np.unique(self.people)))))

    def intervals(self, *, other: IdentityEvaluation | None = None) -> np.ndarray:
        """95 % bootstrap intervals of the figures, (2, 7), by people: low and high.

        With another network's evaluation of the same photos they are those of the figures' differences, self - other.
        """
        count = len(np.unique(self.people))

        def statistic(drawn: np.ndarray) -> np.ndarray:
            times = np.bincount(drawn, minlength=count)
            return self._figures(times) - (0 if other is None else other._figures(times))

        return metrics.bootstrap(np.arange(count), statistic=statistic)

    def report(self) -> str:
        """The figures with their intervals as text."""
        auc, apart, same, other, between, within, ratio = (
            f"{value:.3f} ({low:.3f} to {high:.3f})"
            for value, low, high in zip(self.figures, *self.intervals(), strict=True)
        )
        return "\n".join(
            [
                f"AUC of same against other: {auc}",
                f"the same with two videos of a person: {apart}",
                f"cosine similarity: same person {same}, other people {other}",
                f"variance: between people {between}, within a person {within}, between / within {ratio}",
            ]
        )


def video_of(name: str) -> str:
    """The video of a frame of `youtube_faces.zip`: `Luis_Fonsi_2` of `training_Luis_Fonsi_21.jpg`, its frame 1."""
    return re.sub(r"^(training|test)_|\d(\.jpg)?$", "", name)


def person_of(name: str) -> str:
    """The person in a frame of `youtube_faces.zip`: `Luis_Fonsi` of `training_Luis_Fonsi_21.jpg`."""
    return re.sub(r"_\d*$", "", video_of(name))


def held_out_people(data: str | Path) -> tuple[Sample, ...]:
    """The faces of the people in a folder's `youtube_faces.zip` whom no training sees.

    Raises what `read_youtube_faces` raises.
    """
    samples = read_youtube_faces(Path(data) / "youtube_faces.zip")
    kept = held_out([sample.person for sample in samples], HELD_OUT_PEOPLE)
    return tuple(sample for sample, keep in zip(samples, kept, strict=True) if keep)


def peer_identity(folder: str | Path, samples: Sequence[Sample]) -> np.ndarray:
    """Whitened identity numbers (n, 40) of 3DDFA-V2's mb1, from a folder with its file, for readable samples.

    Raises `WeightsError` if the file is missing or no such network.
    """
    network = folded(read_network(Path(folder) / NETWORKS["mb1"]))
    batches = true_crops(samples, published_crops=False)
    return split(np.concatenate([whitened(network, crops) for _, crops in batches])).identity

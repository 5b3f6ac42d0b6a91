"""Groups samples by photo."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from m4kit.datasets.sample import Sample, picture_of


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo and its faces: the samples that have a box or landmarks.

    The other fields are those of its samples (`datasets.Sample`).
    """

    name: str
    image: Callable[[], np.ndarray] = field(repr=False)
    faces: tuple[Sample, ...]
    condition: str | None = None
    severity: float | None = None
    seed: int | None = None
    clean: str | None = None
    clean_image: Callable[[], np.ndarray] | None = field(default=None, repr=False)
    all_labelled: bool = False

    @property
    def boxes(self) -> np.ndarray:
        """True boxes (m, 4): the annotated box of each face, else the box of its landmarks."""
        return np.array([face.true_box for face in self.faces], dtype=float).reshape(-1, 4)

    @property
    def landmarks(self) -> list[np.ndarray]:
        """The true landmarks (68, 2 or 3) of the faces that have them."""
        return [face.landmarks for face in self.faces if face.landmarks is not None]


def photos_of(samples: Iterable[Sample]) -> tuple[Photo, ...]:
    """Group samples by photo, in their order; names that differ only by `#1`, `#2`, ... at the end are one photo."""
    gathered: dict[str, list[Sample]] = {}
    for sample in samples:
        gathered.setdefault(picture_of(sample.name), []).append(sample)
    return tuple(
        Photo(
            name,
            samples[0].image,
            faces=tuple(sample for sample in samples if sample.true_box is not None),
            condition=samples[0].condition,
            severity=samples[0].severity,
            seed=samples[0].seed,
            clean=samples[0].clean,
            clean_image=samples[0].clean_image,
            all_labelled=all(sample.all_labelled for sample in samples),
        )
        for name, samples in gathered.items()
    )

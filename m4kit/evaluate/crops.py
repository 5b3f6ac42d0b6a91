"""Cuts the ground-truth crops of labelled faces in batches, in this process or by an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from m4kit.camera import cut_crop
from m4kit.datasets import DatasetError, Sample, warn_left_out
from m4kit.files import reason_of
from m4kit.spread import LOST, Done, Sent, SpreadError, batched, check_sendable, spread

_REMEDY = "give samples of a reader of m4kit.datasets, and networks by their names or paths"


def check_labelled(samples: Sequence[Sample], *, needs: Sequence[str] = ("landmarks",)) -> None:
    """Raise `DatasetError` if faces lack one of the fields that are needed; it names the first such face."""
    unlabelled = [sample.name for sample in samples if any(getattr(sample, one) is None for one in needs)]
    if unlabelled:
        raise DatasetError(
            f"expected the true 68 landmarks of each of {len(samples)} faces, {len(unlabelled)} have none "
            f"(the first: {unlabelled[0]}); evaluate on a set that has them"
        )


def true_crops(
    samples: Iterable[Sample], *, published_crops: bool
) -> Iterator[tuple[list[Sample], np.ndarray]]:
    """Yield batches of readable faces and their ground-truth crops (b, 120, 120, 3) uint8 RGB; see `over_crops`."""
    for batch in over_crops(np.asarray, samples, published_crops=published_crops, left_out=[]):
        yield batch.samples, batch.answer


class CropBatch(NamedTuple):
    """Readable faces of a batch, what a function made of their crops, and the number of the batch's first face."""

    number: int
    samples: list[Sample]
    answer: object


def over_crops(
    run: Callable[[np.ndarray], object],
    samples: Iterable[Sample],
    *,
    published_crops: bool,
    left_out: list[str],
    batch_size: int = 50,
    executor: Executor | None = None,
) -> Iterator[CropBatch]:
    """Run a function on batches of ground-truth crops (b, 120, 120, 3) uint8 RGB.

    Batches without a readable face are passed over. An `executor`, as for `tabulate`, spreads the batches. Its
    workers get the function by pickle, and read the pictures. The batches come in the order in which they are done.

    Unreadable faces are added to `left_out` with the reason, and named in one warning at the end. Raises
    `DatasetError` if no face can be read, if faces lack what the crops need, or if the executor fails.
    """
    samples = list(samples)
    check_labelled(samples, needs=("landmarks", "crop"))
    lacking = sum(sample.published_crop is None for sample in samples)
    if published_crops and lacking:
        raise DatasetError(
            f"published crops: expected one for each of {len(samples)} faces, {lacking} have none; put the "
            "set's crop folder and its .npz with the boxes beside the photos, or evaluate on crops of the photos"
        )
    work = partial(_run_on, run, published_crops)
    for faces, found in over_samples(work, samples, size=batch_size, executor=executor):
        reasons, answer = found or ({number: LOST for number, _ in faces}, None)
        left_out += [f"{face.name} ({reasons[number]})" for number, face in faces if number in reasons]
        if readable := [face for number, face in faces if number not in reasons]:
            yield CropBatch(faces[0][0], readable, answer)
    warn_left_out("evaluate", left_out)
    if len(left_out) == len(samples):
        raise DatasetError(f"expected at least one readable face, none of {len(samples)} could be read")


def over_samples(
    work: Callable[[Sequence[tuple[int, Sample]]], object],
    samples: Sequence[Sample],
    *,
    size: int,
    executor: Executor | None,
) -> Iterator[Done]:
    """Do work on numbered samples, so many at a time, in this process or by an executor.

    The work then goes to the workers by pickle. Raises `TypeError` for what cannot be pickled, and `DatasetError` if
    the executor fails.
    """
    if executor is not None:
        check_sendable(samples[:1], remedy=_REMEDY)
        work = Sent(partial, work, remedy=_REMEDY)
    try:
        yield from spread(executor, work, batched(enumerate(samples), size))
    except SpreadError as error:
        raise DatasetError(f"evaluate: {error}") from error


def _run_on(
    run: Callable[[np.ndarray], object], published_crops: bool, faces: Sequence[tuple[int, Sample]]
) -> tuple[dict[int, str], object]:
    """Why faces cannot be read, by their numbers, and what the function makes of the crops of the others."""
    reasons, crops = {}, []
    for number, sample in faces:
        try:
            crops.append(
                sample.published_crop() if published_crops else cut_crop(sample.image(), sample.crop)
            )
        # Whatever a decoder raises: one odd picture must not cost the others.
        except Exception as error:
            reasons[number] = reason_of(error)
    return reasons, run(np.stack(crops)) if crops else None


def in_order(batches: Iterable[CropBatch]) -> list[CropBatch]:
    """Batches in the order of their faces."""
    return sorted(batches, key=attrgetter("number"))

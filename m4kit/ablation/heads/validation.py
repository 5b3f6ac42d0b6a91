"""The validation people of a labels file as samples with ground truth."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from m4kit.camera import CROP_SIZE, Crop, head_pose
from m4kit.datasets import DatasetError, Sample
from m4kit.evaluate.identity import person_of
from m4kit.face_model import FaceModel
from m4kit.parameters import landmarks_in_crop, split_camera
from m4kit.training.data import Labels, decoded_crops

WHOLE = Crop(-0.5, -0.5, CROP_SIZE)
"""The crop that covers a whole picture of the size of a crop."""


def validation_samples(
    labels: Labels,
    model: FaceModel,
    *,
    data: str | Path,
    cache: str | Path | None = None,
    faces: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> tuple[tuple[Sample, ...], np.ndarray]:
    """Make samples of the labels' validation faces; also return their true parameters (n, 62).

    Landmarks and pose are those of the labelled parameters; faces of YouTube Faces have their `person`. `data` is the
    folder of the archives that the labels name. `cache` is a folder with the decoded crops of a training on the same
    labels, which are used instead if given. `faces` takes a random subset of that size. Raises `DatasetError` if the
    labels have no validation faces, and `TrainingError` if an archive or a crop is missing, or the labels are of
    another face model.
    """
    labels.check_fits(model)
    _, chosen = labels.split()
    if not len(chosen):
        raise DatasetError(
            f"labels: expected validation faces, got none among {len(labels)}; mark some as validation"
        )
    if faces is not None and faces < len(chosen):
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, faces, replace=False))
    few = labels.subset(chosen)
    if cache is not None:
        crops = np.load(decoded_crops(labels, data=data, cache=cache, progress=progress), mmap_mode="r")[
            chosen
        ]
    else:
        with tempfile.TemporaryDirectory() as folder:
            crops = np.load(decoded_crops(few, data=data, cache=folder, progress=progress))
    landmarks = landmarks_in_crop(model, few.parameters)
    samples = tuple(
        Sample(
            name=f"{source}/{name}",
            image=partial(np.array, crop),
            landmarks=WHOLE.to_photo(points),
            pose=head_pose(split_camera(parameters)[0]),
            crop=WHOLE,
            person=person_of(name) if source == "youtube_faces" else None,
        )
        for source, name, crop, points, parameters in zip(
            few.source, few.names, crops, landmarks, few.parameters, strict=True
        )
    )
    return samples, few.parameters

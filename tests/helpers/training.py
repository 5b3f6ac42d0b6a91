"""Settings of a short training, labels of made-up faces, and the look of a drawn one."""

import dataclasses

import numpy as np

from m4kit.camera import rotation_from_euler
from m4kit.light import Lamp, Light
from m4kit.parameters import landmarks_in_crop
from m4kit.training.augmentation import Augmentation
from m4kit.training.data import Labels, averaging_matrix
from m4kit.training.loop import Config
from m4kit.training.synthetic import random_look

FLAT = Light(
    key=Lamp((0, 0, 1), (0, 0, 0)), fill=Lamp((0, 0, 1), (0, 0, 0)), sky=(1, 1, 1), ground=(1, 1, 1), cavity=0
)
"""Light without shadows."""

QUIET = dict.fromkeys(("colour", "grey", "patches", "blur", "shrink", "noise", "jpeg"), 0.0)
SHORT = Config(
    steps=6,
    batch=4,
    workers=0,
    precision="fp32",
    learning_rate=2e-3,
    validate_every=3,
    augmentation=Augmentation(rotation=5, scale=(1.0, 1.1), shift=2, **QUIET),
)


def plain_look():
    """A bald grey face with red lips and blue eyes, in a light without shadows."""
    return dataclasses.replace(
        random_look(np.random.default_rng(0)),
        skin=np.full(3, 128.0),
        lips=np.array([255.0, 0, 0]),
        iris=np.array([0.0, 0, 255]),
        clothes=np.full(3, 128.0),
        gaze=np.array([0.0, 0, 1]),
        hair=None,
        beard=0.0,
        flush=0.0,
        light=FLAT,
    )


def parameters_of(n, *, seed):
    """Raw parameters (n, 62) of faces near the crop's centre, turned by up to 40 degrees."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        camera = np.zeros((3, 4))
        camera[:, :3] = random.uniform(0.3, 0.5) * rotation_from_euler(*random.uniform(-40, 40, size=3))
        camera[:, 3] = [*random.uniform(-5, 5, size=2), 0]
        rows.append(np.concatenate([camera.ravel(), random.standard_normal(50)]))
    return np.array(rows, dtype=np.float32)


def labels_of(model, n, *, seed, held_out=0):
    parameters = parameters_of(n, seed=seed)
    points68 = landmarks_in_crop(model, parameters)[..., :2].astype(np.float32)
    points21 = averaging_matrix() @ points68
    points68[: n // 2], points21[n // 2 :] = np.nan, np.nan
    return Labels(
        names=np.array([f"face{i}.jpg" for i in range(n)]),
        source=np.array(["drawn"] * n),
        parameters=parameters,
        points21=points21,
        points68=points68,
        validation=np.arange(n) >= n - held_out,
        face_model=model.fingerprint,
    )

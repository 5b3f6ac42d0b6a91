"""Draws faces with exact parameters: an open data set that anyone can make and train on.

`python -m m4kit.training.synthetic --faces N --out DIR` writes N crops into `DIR/synthetic.zip` and their labels into
`DIR/labels.npz` (see `data.Labels`). Train on them with

    m4kit train --data DIR --labels DIR/labels.npz --out RUN --size small

Each face is another person in another light, place and pose. Faults of a camera come from the training's
augmentation.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from m4kit.camera import CROP_SIZE, crop_from_landmarks, rotation_from_euler
from m4kit.commands import add_quiet, shows_progress
from m4kit.face_model import FaceModel
from m4kit.light import Lamp, Light
from m4kit.parameters import PARAMETERS, join
from m4kit.training import TrainingError
from m4kit.training.data import Labels
from m4kit.training.synthetic_head import Head, Look, draw

SOURCE = "synthetic"
HELD_OUT = 10
"""One face in this many is held out."""

YAW, PITCH, ROLL = 90.0, 40.0, 35.0
"""Largest angles, in degrees."""

_JPEG_QUALITY = 95
_HAIR = np.array(
    [[22, 18, 17], [42, 30, 24], [72, 48, 34], [110, 78, 52], [176, 138, 90], [128, 58, 34], [150, 148, 146]]
)
"""Black, dark brown, brown, light brown, blond, red, grey."""
_IRIS = np.array([[52, 32, 20], [84, 56, 32], [92, 96, 62], [84, 112, 132], [112, 118, 122]])


class SyntheticFace(NamedTuple):
    """A crop (120, 120, 3) uint8 RGB and the raw parameters (62,) of its face."""

    crop: np.ndarray
    parameters: np.ndarray


def random_face(random: np.random.Generator, model: FaceModel, head: Head) -> SyntheticFace:
    """Draw a random person in a random pose, light and place; the same state of `random` gives the same face.

    `head` is `Head(model)`, which is slow to make.
    """
    parameters = random_parameters(random, model)
    crop = draw(head, parameters, random_look(random), random_background(random))
    return SyntheticFace(crop, parameters)


def random_parameters(random: np.random.Generator, model: FaceModel) -> np.ndarray:
    """Draw raw parameters (62,), float32, of a random person and pose, framed like a crop.

    Person and expression come from `FaceModel.sample`. Yaw is uniform from -90 to 90 degrees, so profiles are as
    common as frontal faces; the density of pitch and roll falls linearly to 0 at 40 and 35. The camera is weak
    perspective, with the scale and place that `crop_from_landmarks` gives for the landmarks.
    """
    identity, expression = model.sample(1, seed=int(random.integers(2**62)))
    rotation = rotation_from_euler(
        random.uniform(-YAW, YAW), random.triangular(-PITCH, 0, PITCH), random.triangular(-ROLL, 0, ROLL)
    )
    landmarks = model.landmarks(identity[0], expression[0]) @ rotation.T
    frame = crop_from_landmarks(landmarks)
    scale = CROP_SIZE / frame.size
    camera = np.zeros((3, 4))
    camera[:, :3] = scale * rotation
    # y points up here, so the frame's `top` is its lower edge; its centre is the same.
    camera[:2, 3] = -scale * frame.centre
    return join(camera, identity[0], expression[0]).astype(np.float32)


def random_skin(random: np.random.Generator) -> np.ndarray:
    """Draw a random skin colour, sRGB (3,), 0 to 255.

    Dermatology orders skin colours by the individual typology angle, atan((L* - 50) / b*) in CIELAB, from below -30
    degrees (dark) to above 55 (very light; Chardon et al., Int. J. Cosmetic Science 1991). Here it is uniform from
    -55 to 60.
    """
    angle = np.radians(random.uniform(-55, 60))
    yellow = random.uniform(14, 22)
    lightness = np.clip(50 + yellow * np.tan(angle), 24, 80)
    lab = np.array([[[lightness, random.uniform(9, 15), yellow]]], dtype=np.float32)
    return np.clip(255 * cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)[0, 0], 0, 255).astype(float)


def random_look(random: np.random.Generator) -> Look:
    """Draw random skin, hair, eyes, clothes and light."""
    skin = random_skin(random)
    dark = skin.mean() < 110 and random.random() < 0.85
    hair = _HAIR[random.integers(2 if dark else len(_HAIR))] * random.uniform(0.8, 1.25)
    bearded = random.random() < 0.3
    gaze = np.array([*random.normal(scale=(0.2, 0.1)), 1.0])
    return Look(
        skin=skin,
        lips=skin * random.uniform((0.8, 0.55, 0.55), (1.0, 0.8, 0.8)),
        brows=0.7 * hair + 0.3 * np.minimum(skin, hair),
        iris=_IRIS[random.integers(2 if dark else len(_IRIS))] * random.uniform(0.8, 1.3),
        sclera=np.array([1.0, 0.96, 0.93]) * random.uniform(150, 215),
        clothes=random.uniform(10, 240, 3),
        hair=None if random.random() < 0.15 else hair,
        hairline=random.triangular(-6, 0, 14),
        volume=random.triangular(1, 4, 14),
        long_hair=not bearded and random.random() < 0.45,
        beard=random.uniform(0.15, 0.9) if bearded else 0.0,
        flush=random.uniform(0, 0.6),
        brow=random.uniform(1.5, 4.0),
        gaze=gaze / np.linalg.norm(gaze),
        grain=int(random.integers(2**31)),
        light=random_light(random),
    )


def random_light(random: np.random.Generator) -> Light:
    """Draw random coloured light: a key lamp in front of or beside the face, a fill lamp and ambient light."""

    def lamp(strength: float) -> Lamp:
        across, up = np.radians([random.uniform(-110, 110), random.triangular(-40, 35, 80)])
        direction = (np.sin(across) * np.cos(up), np.sin(up), np.cos(across) * np.cos(up))
        return Lamp(tuple(map(float, direction)), _tinted(random, strength))

    return Light(
        key=lamp(random.triangular(0.4, 1.0, 1.6)),
        fill=lamp(random.uniform(0, 0.35)),
        sky=_tinted(random, random.uniform(0.1, 0.45)),
        ground=_tinted(random, random.uniform(0.05, 0.3)),
        softness=random.uniform(0.1, 0.5),
        gloss=random.triangular(0, 0.04, 0.2),
        cavity=random.uniform(0.4, 0.9),
    )


def _tinted(random: np.random.Generator, strength: float) -> tuple[float, float, float]:
    warmth = random.normal(scale=0.12)
    return tuple(map(float, strength * np.exp([warmth, random.normal(scale=0.03), -warmth])))


def random_background(random: np.random.Generator) -> np.ndarray:
    """Draw a random picture (120, 120, 3) uint8 RGB: a gradient with optional clouds, stripes, shapes and blur."""
    y, x = np.mgrid[:CROP_SIZE, :CROP_SIZE].astype(np.float32) / CROP_SIZE - 0.5
    turn = random.uniform(0, 2 * np.pi)
    along = (np.cos(turn) * x + np.sin(turn) * y)[..., None]
    first, second = random.uniform(0, 255, (2, 3)).astype(np.float32)
    picture = (first + second) / 2 + along * (second - first) * np.float32(random.uniform(0, 1.2))
    if random.random() < 0.6:
        fade = random.uniform(0.4, 1)
        for cells in (3, 6, 12, 24, 60):
            spread = random.uniform(5, 60) * (3 / cells) ** fade
            cloud = random.normal(scale=spread, size=(cells, cells, 3 if random.random() < 0.3 else 1))
            cloud = cv2.resize(
                cloud.astype(np.float32), (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_CUBIC
            )
            picture = picture + cloud.reshape(CROP_SIZE, CROP_SIZE, -1)
    if random.random() < 0.2:
        turn = random.uniform(0, np.pi)
        wave = np.sin((np.cos(turn) * x + np.sin(turn) * y)[..., None] * random.uniform(15, 120))
        hard = random.uniform(0.5, 8)
        picture = picture + np.clip(hard * wave, -1, 1) * random.uniform(-70, 70, 3).astype(np.float32)
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    if random.random() < 0.6:
        for _ in range(random.integers(1, 14)):
            _add_shape(picture, random)
    if random.random() < 0.6:
        picture = cv2.GaussianBlur(picture, (0, 0), random.uniform(0.5, 5))
    # Real places are less colourful than uniformly random colours.
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    colourful = random.triangular(0, 0.2, 1)
    return cv2.addWeighted(picture, colourful, grey, 1 - colourful, 0)


def _add_shape(picture: np.ndarray, random: np.random.Generator) -> None:
    colour = random.integers(0, 256, 3).tolist()
    start, end = random.integers(-10, CROP_SIZE + 10, (2, 2)).tolist()
    kind = random.integers(3)
    if kind == 0:
        axes = random.integers(3, 40, 2).tolist()
        cv2.ellipse(picture, start, axes, random.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
    elif kind == 1:
        corners = np.array(start) + random.integers(-40, 41, (4, 2))
        cv2.fillConvexPoly(picture, cv2.convexHull(corners.astype(np.int32)), colour, cv2.LINE_AA)
    else:
        cv2.line(picture, start, end, colour, int(random.integers(1, 9)), cv2.LINE_AA)


def write_set(
    out: str | Path, *, faces: int, seed: int = 0, model: FaceModel | None = None, progress: bool = True
) -> Path:
    """Draw a set of faces into the folder `out` and return the path of its labels.

    Writes `synthetic.zip`, with one JPEG per face, and `labels.npz` with the parameters; an interrupted call writes
    neither. Face i of a seed is the same in a set of any size, each face is another person, and every tenth is held
    out. There are no annotated points, because the parameters are exact.

    Raises `TrainingError` if the folder cannot be written to or already holds such files.
    """
    if faces < 1:
        raise TrainingError(f"expected at least one face to draw, got {faces}")
    out = Path(out)
    archive_path, labels_path = out / f"{SOURCE}.zip", out / "labels.npz"
    for path in (archive_path, labels_path):
        if path.exists():
            raise TrainingError(f"{path}: the file exists already; remove it, or write into another folder")
    model = FaceModel.load() if model is None else model
    head = Head(model)
    # The seed is part of the names, by which the training identifies decoded crops.
    names = [f"seed{seed}_{i:06d}.jpg" for i in range(faces)]
    parameters = np.empty((faces, PARAMETERS), dtype=np.float32)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".unfinished-") as folder:
            unfinished = Path(folder)
            with zipfile.ZipFile(unfinished / archive_path.name, "w") as archive:
                for i, name in enumerate(
                    tqdm(names, desc="drawing faces", unit="face", disable=not progress)
                ):
                    face = random_face(np.random.default_rng([seed, i]), model, head)
                    parameters[i] = face.parameters
                    # ZipInfo has a fixed date, so that two runs write the same archive.
                    archive.writestr(zipfile.ZipInfo(name), _packed(face.crop))
            held_out = np.arange(faces) % HELD_OUT == HELD_OUT - 1
            labels = Labels.unannotated(
                names, SOURCE, parameters, validation=held_out, face_model=model.fingerprint
            )
            labels.save(unfinished / labels_path.name)
            for path in (archive_path, labels_path):
                (unfinished / path.name).replace(path)
    except OSError as error:
        raise TrainingError(
            f"{out}: writing the set failed ({error}); give a writable folder with about "
            f"{faces * 8 // 1000 + 1} MB of free space"
        ) from error
    return labels_path


def _packed(crop: np.ndarray) -> bytes:
    # OpenCV packs BGR.
    _, packed = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return packed.tobytes()


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m m4kit.training.synthetic", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--faces", type=int, required=True, help="number of faces")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder for synthetic.zip and labels.npz")
    add_quiet(parser)
    options = parser.parse_args(arguments)
    try:
        write_set(options.out, faces=options.faces, seed=options.seed, progress=shows_progress(options))
    except TrainingError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()

"""The faces to train on: a labels file and the crops that it names, decoded once."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from torch.utils.data import Dataset
from tqdm import tqdm

from m4kit.camera import CROP_SIZE
from m4kit.face_model import FaceModel
from m4kit.files import reason_of, whole_file
from m4kit.parameters import PARAMETERS
from m4kit.training import TrainingError
from m4kit.training.augmentation import Augmentation, TrainingCrop, augment

AVERAGES_21 = (
    *((18,), (20,), (22,), (23,), (25,), (27,)),
    *((37,), range(37, 43), (40,), (43,), range(43, 49), (46,)),
    *((3,), (32,), (31,), (36,), (15,), (49,), range(61, 69), (55,), (9,)),
)
"""The landmarks (counted from 1) whose mean each of AFLW's 21 points is."""

LOOSE_21 = {13: 0.0, 17: 0.0, 21: 0.3, 14: 0.3, 16: 0.3, **dict.fromkeys(range(1, 7), 0.3)}
"""Weights of AFLW's points (counted from 1) that are not among the 68: ears, chin, nose wings, brows."""

LOOSE_68 = dict.fromkeys(range(1, 18), 0.2)
"""Weights of the outline (counted from 1), which is annotated on the visible edge, not on the jaw."""


def point_weights(count: int, loose: Mapping[int, float]) -> np.ndarray:
    """Return weights (count,): those of `loose`, counted from 1, and 1 for all other points."""
    weights = np.ones(count, dtype=np.float32)
    weights[np.array([*loose], dtype=int) - 1] = [*loose.values()]
    return weights


def averaging_matrix() -> np.ndarray:
    """Return the matrix (21, 68) that computes AFLW's points from the 68 landmarks."""
    matrix = np.zeros((len(AVERAGES_21), 68), dtype=np.float32)
    for row, members in zip(matrix, AVERAGES_21, strict=True):
        row[np.asarray(members) - 1] = 1 / len(members)
    return matrix


@dataclass(frozen=True)
class Labels:
    """Labels of n faces.

    - `names` (n,): members of the archive that `source` (n,) names, or the ends of their paths.
    - `parameters` (n, 62): raw parameters, with the camera into the crop frame.
    - `points21` (n, 21, 2), `points68` (n, 68, 2): annotated points in the crop frame (y up, origin at the centre),
      without their annotators' habits (see `refinement`), NaN where there is none. AFLW's 21 are by hand. YouTube
      Faces' 68 were published with the crops; who marked them is not known, probably a machine.
    - `validation` (n,): True for faces that are held out.
    - `face_model`: the fingerprint of the face model that the parameters are of.
    """

    names: np.ndarray
    source: np.ndarray
    parameters: np.ndarray
    points21: np.ndarray
    points68: np.ndarray
    validation: np.ndarray
    face_model: str

    def __len__(self) -> int:
        return len(self.names)

    def __post_init__(self) -> None:
        n = len(self.names)
        for name, shape in (
            ("source", (n,)),
            ("parameters", (n, PARAMETERS)),
            ("points21", (n, 21, 2)),
            ("points68", (n, 68, 2)),
            ("validation", (n,)),
        ):
            came = getattr(self, name).shape
            if came != shape:
                raise TrainingError(f"labels: expected {name} of shape {shape} for {n} names, got {came}")
        broken = np.flatnonzero(~np.isfinite(self.parameters).all(axis=1))
        if len(broken):
            raise TrainingError(
                f"labels: expected finite parameters, but {len(broken)} faces have others, "
                f"the first {self.names[broken[0]]}; leave these faces out"
            )

    @classmethod
    def load(cls, path: str | Path) -> Labels:
        """Read a labels file (`.npz` with the fields as arrays)."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in cls.__dataclass_fields__}
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise TrainingError(
                f"{path}: expected a labels file (.npz with {', '.join(cls.__dataclass_fields__)}), got "
                f"another or a broken one ({reason_of(error)}); give the file that this version's "
                "m4kit.training.labels wrote"
            ) from error
        for name in ("parameters", "points21", "points68"):
            arrays[name] = arrays[name].astype(np.float32)
        arrays["validation"] = arrays["validation"].astype(bool)
        arrays["face_model"] = str(arrays["face_model"])
        return cls(**arrays)

    def save(self, path: str | Path) -> None:
        """Write the labels as `.npz` for `load`."""
        np.savez_compressed(path, **{name: getattr(self, name) for name in self.__dataclass_fields__})

    def digest(self) -> str:
        """Compute the SHA-256 of the labels, in hexadecimal."""
        digest = hashlib.sha256(self.face_model.encode())
        for name in ("parameters", "points21", "points68", "validation"):
            digest.update(np.ascontiguousarray(getattr(self, name)))
        return digest.hexdigest()

    def subset(self, index: np.ndarray) -> Labels:
        """Return the labels of these faces only."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Labels(**{name: one if name == "face_model" else one[index] for name, one in fields.items()})

    @classmethod
    def joined(cls, parts: Sequence[Labels]) -> Labels:
        """Join the labels of several sources, in one face model, one after the other."""
        names = [name for name in cls.__dataclass_fields__ if name != "face_model"]
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**columns, face_model=parts[0].face_model)

    @classmethod
    def unannotated(
        cls,
        names: Sequence[str],
        source: str,
        parameters: np.ndarray,
        *,
        validation: np.ndarray,
        face_model: str,
    ) -> Labels:
        """Make the labels of n faces of one source, without annotated points."""
        n = len(names)
        return cls(
            names=np.array(names),
            source=np.full(n, source),
            parameters=parameters.astype(np.float32),
            points21=np.full((n, 21, 2), np.nan, np.float32),
            points68=np.full((n, 68, 2), np.nan, np.float32),
            validation=validation,
            face_model=face_model,
        )

    def check_fits(self, model: FaceModel) -> None:
        """Raise `TrainingError` unless the parameters are of this face model."""
        if self.face_model != model.fingerprint:
            raise TrainingError(
                f"labels: their parameters are of the face model {self.face_model}, got the face model "
                f"{model.fingerprint}; give the model that they were made with, or make them again with this one"
            )

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of the faces to train on, and of those held out."""
        return np.flatnonzero(~self.validation), np.flatnonzero(self.validation)


def read_crops(archive: Path, names: Sequence[str]) -> np.ndarray:
    """Read crops (n, 120, 120, 3) uint8 RGB of an archive; raises `TrainingError` if some cannot be read."""
    crops = list(_decoded(archive, names))
    unreadable = [name for name, crop in zip(names, crops, strict=True) if crop is None]
    if unreadable:
        raise TrainingError(
            f"{archive}: {len(unreadable)} of {len(names)} crops are missing or unreadable "
            f"({', '.join(unreadable[:3])}, ...); get the archive again"
        )
    return np.stack(crops)


def _decoded(path: Path, names: Sequence[str], *, side: int = CROP_SIZE) -> Iterator[np.ndarray | None]:
    """Yield each named crop (side, side, 3) uint8 RGB, or None if it is missing or unreadable.

    A name is that of a member or the end of exactly one: `001.png` or `anna/001.png` for `faces/anna/001.png`.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise TrainingError(
            f"{path}: expected an archive of crops (.zip), but opening it failed ({error}); get the archive again"
        ) from error
    with archive:
        members = defaultdict(list)
        for member in archive.namelist():
            members[Path(member).name].append(member)
        for name in names:
            ends = [member for member in members[Path(name).name] if f"/{member}".endswith(f"/{name}")]
            found = [name] if name in ends else ends
            if len(found) > 1:
                raise TrainingError(
                    f"{path}: expected one member named {name}, got {', '.join(found[:3])}; name the crops in the "
                    "labels with their folders"
                )
            pixels = _pixels(archive, found[0]) if found else None
            if pixels is None:
                yield None
                continue
            if pixels.shape[:2] != (side, side):
                pixels = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
            # OpenCV decodes to BGR; inside the library pixels are RGB.
            yield pixels[..., ::-1]


def _pixels(archive: zipfile.ZipFile, member: str) -> np.ndarray | None:
    """Decode a picture (H, W, 3) uint8 BGR; None if the member is damaged, encrypted, or no picture."""
    try:
        return cv2.imdecode(np.frombuffer(archive.read(member), np.uint8), cv2.IMREAD_COLOR)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, cv2.error):
        return None


def decoded_crops(
    labels: Labels,
    *,
    data: str | Path,
    cache: str | Path,
    crop_size: int = CROP_SIZE,
    progress: bool = True,
) -> Path:
    """Decode the labels' crops once into a `.npy` file (n, S, S, 3) uint8 RGB in the cache folder; returns its path.

    Crops are members of `<data>/<source>.zip` and are resized to side `crop_size`. Labels are in the crop frame, so
    they hold for any side.
    """
    key = hashlib.sha256("\n".join([*labels.source, *labels.names]).encode()).hexdigest()[:16]
    path = Path(cache) / f"crops{'' if crop_size == CROP_SIZE else crop_size}_{key}.npy"
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    unreadable = []
    with whole_file(path) as part:
        crops = _allocated(part, (len(labels), crop_size, crop_size, 3))
        for source in np.unique(labels.source):
            archive = Path(data) / f"{source}.zip"
            if not archive.is_file():
                raise TrainingError(
                    f"{archive}: no such archive, but the labels name the source {source}; give the archive's folder"
                )
            chosen = np.flatnonzero(labels.source == source)
            bar = tqdm(chosen, desc=f"decoding {source}", disable=not progress, mininterval=2)
            decoded = _decoded(archive, labels.names[chosen], side=crop_size)
            for i, crop in zip(bar, decoded, strict=True):
                if crop is None:
                    unreadable.append(labels.names[i])
                else:
                    crops[i] = crop
        if unreadable:
            raise TrainingError(
                f"{data}: {len(unreadable)} of {len(labels)} crops are missing or unreadable "
                f"({', '.join(unreadable[:3])}, ...); leave them out of the labels"
            )
        crops.flush()
    return path


def _allocated(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Create a uint8 `.npy` file of that shape as a memory map; raises `TrainingError` if the disk is too full."""
    try:
        crops = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        # Otherwise a disk that gets full during a write to the map kills the process without a message.
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        raise TrainingError(
            f"{path}: reserving space for the decoded crops failed ({error}); they take "
            f"{np.prod(shape) / 1e6:.0f} MB, so free some space, or give another folder"
        ) from error
    return crops


class Faces(Dataset):
    """Augmented faces. An item's key is (epoch, index), and the same key gives the same item in any process."""

    def __init__(
        self,
        crops: Path,
        labels: Labels,
        *,
        symmetry: np.ndarray,
        augmentation: Augmentation,
        seed: int,
    ):
        self.path, self.labels, self.symmetry = Path(crops), labels, np.asarray(symmetry, dtype=np.float32)
        self.augmentation, self.seed = augmentation, seed

    def __len__(self) -> int:
        return len(self.labels)

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "crops"}

    @cached_property
    def crops(self) -> np.ndarray:
        """The crops as a memory map, opened by each process for itself."""
        return np.load(self.path, mmap_mode="r")

    def __getitem__(self, key: tuple[int, int]) -> dict:
        epoch, index = key
        random, labels = np.random.default_rng([self.seed, epoch, index]), self.labels
        face = TrainingCrop(
            np.array(self.crops[index]),
            labels.parameters[index],
            labels.points21[index],
            labels.points68[index],
        )
        return augment(face, self.augmentation, self.symmetry, random)._asdict() | {"index": index}


class Batches(Sequence):
    """Keys (epoch, index) of the batches from step `start` to `stop`, with a new order in each epoch.

    An incomplete batch at the end of an epoch is left out, so step s always has the same faces.
    """

    def __init__(self, indices: np.ndarray, batch: int, *, seed: int, start: int = 0, stop: int):
        if batch > len(indices):
            raise TrainingError(
                f"expected at least one batch of {batch} faces to train on, got {len(indices)}; give a smaller batch"
            )
        self.indices, self.batch, self.seed, self.start, self.stop = indices, batch, seed, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, offset: int) -> list[tuple[int, int]]:
        if not 0 <= offset < len(self):
            raise IndexError(offset)
        per_epoch = len(self.indices) // self.batch
        epoch, place = divmod(self.start + offset, per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.indices)
        return [(epoch, int(i)) for i in order[place * self.batch : (place + 1) * self.batch]]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return (self[offset] for offset in range(len(self)))

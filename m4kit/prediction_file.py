"""Predictions as `.npz` files without pickle: what `Prediction.save` writes and `m4kit.load` reads.

A file holds the photo (as PNG or JPEG), boxes, crops, heads and head weights, and JSON with the names. The face model
is not in it: the packaged one is taken, or the one that the reader gives.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from m4kit.camera import Crop
from m4kit.confidence import assess
from m4kit.face_model import FaceModel, check_model, packaged_model
from m4kit.files import reason_of, write_whole
from m4kit.images import jpeg, load_image
from m4kit.prediction import Face, FaceBox, Origin, Prediction
from m4kit.reading import read_file, unpack_arrays

FORMAT, VERSION = "m4kit prediction", 1

_JPEG_QUALITY = 95


class PredictionFileError(ValueError):
    """A file of a prediction cannot be read or written: the message says why and what to do."""


def save_prediction(prediction: Prediction, path: str | Path, *, photo: str = "png") -> Path:
    """Write a prediction; see `Prediction.save`. The file's name must end in `.npz`."""
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise PredictionFileError(f"{path}: expected a name that ends in .npz, such as photo.m4kit.npz")
    content = to_bytes(prediction, photo=photo)
    try:
        write_whole(path, content)
    except OSError as error:
        raise PredictionFileError(f"{path}: writing failed ({error}); choose another folder") from error
    return path


def load(path: str | Path, *, model: FaceModel | None = None) -> Prediction:
    """Read a prediction that `Prediction.save` wrote.

    `model` is the face model that it was made with, by default the packaged one.

    Raises `PredictionFileError` for a file that is missing, broken, of another kind, or of another face model.
    """
    if model is not None:
        check_model(model)
    try:
        return from_bytes(read_file(Path(path)), model)
    except OSError as error:
        raise PredictionFileError(f"{path}: reading failed ({error}); check the path") from error
    except PredictionFileError as error:
        raise PredictionFileError(f"{path}: {error}") from error


def to_bytes(prediction: Prediction, *, photo: str = "png") -> bytes:
    """Encode a prediction as the content of its file; `photo` is "png" or "jpeg"."""
    if photo not in ("png", "jpeg"):
        raise PredictionFileError(f'photo: expected "png" or "jpeg", got {photo!r}')
    faces = prediction.faces
    if len({model.fingerprint for model in {face.model for face in faces}}) > 1:
        raise PredictionFileError("expected faces of one face model, got several; save them one by one")
    origins = [
        None if face.origin is None else {"network": face.origin.network, "detector": face.origin.detector}
        for face in faces
    ]
    about = {
        "format": FORMAT,
        "version": VERSION,
        "source": prediction.source,
        "network": prediction.network,
        "origins": origins,
        "frame": prediction.frame,
        "seconds": prediction.seconds,
        "tracks": [face.track for face in faces],
        "face_model": faces[0].model.fingerprint if faces else "",
    }
    buffer = io.BytesIO()
    np.savez(
        buffer,
        about=np.array(json.dumps(about)),
        photo=np.frombuffer(_encoded(prediction.image, photo), np.uint8),
        boxes=np.array([np.asarray(face.box) for face in faces]).reshape(-1, 5),
        crops=np.array([face.crop for face in faces], dtype=float).reshape(-1, 3),
        heads=np.array([face.heads for face in faces]),
        head_weights=np.array([face.head_weights for face in faces]),
    )
    return buffer.getvalue()


def from_bytes(content: bytes, model: FaceModel | None = None) -> Prediction:
    """Read a prediction from a file's content; see `load`."""
    with _broken():
        arrays = unpack_arrays(content)
        about = json.loads(str(arrays["about"]))
        if (about["format"], about["version"]) != (FORMAT, VERSION):
            raise ValueError(f"it is {about['format']}, version {about['version']}")
        image = load_image(arrays["photo"].tobytes())
        tables = [arrays[name] for name in ("boxes", "crops", "heads", "head_weights")]
        for name, columns in (("boxes", 5), ("crops", 3)):
            if arrays[name].shape[1:] != (columns,) or not np.isfinite(arrays[name]).all():
                raise ValueError(f"expected finite {name} (n, {columns}), got {arrays[name].shape}")
        source, network, known = (str(about[name]) for name in ("source", "network", "face_model"))
        # Files from before there were videos lack these.
        frame, seconds = about.get("frame"), about.get("seconds")
        tracks = about.get("tracks", [None] * len(about["origins"]))
    model = packaged_model() if model is None else model
    if known and known != model.fingerprint:
        raise PredictionFileError(
            f"the prediction was made with the face model {known}, not {model.fingerprint}; give that one as model="
        )
    with _broken():
        faces = tuple(
            Face(
                FaceBox(*box.tolist()),
                Crop(*crop.tolist()),
                heads,
                weights,
                model,
                None if origin is None else Origin(image, origin["network"], origin["detector"], assess),
                track,
            )
            for box, crop, heads, weights, origin, track in zip(
                *tables, about["origins"], tracks, strict=True
            )
        )
    return Prediction(image, faces, source=source, network=network, frame=frame, seconds=seconds)


@contextmanager
def _broken() -> Iterator[None]:
    """Turn whatever a broken file raises into `PredictionFileError`."""
    try:
        yield
    except Exception as error:
        raise PredictionFileError(
            f"expected a file that Prediction.save wrote, but reading it failed ({reason_of(error)}); save it again"
        ) from error


def own_model(prediction: Prediction) -> FaceModel | None:
    """Return the face model of a prediction, or None for the packaged one, which a pickle need not carry."""
    model = prediction.faces[0].model if prediction.faces else None
    if model is None or model.fingerprint == packaged_model().fingerprint:
        return None
    return model


def _encoded(image: np.ndarray, photo: str) -> bytes:
    if photo == "jpeg":
        return jpeg(image, quality=_JPEG_QUALITY)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png")
    return buffer.getvalue()

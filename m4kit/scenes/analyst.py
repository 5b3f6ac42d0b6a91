"""Analyses one photo after another: makes the rows of a photo and its faces, and the pictures of the faces."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from m4kit import boxes as boxes_module
from m4kit import metrics
from m4kit.boxes import HIT_IOU, pairwise_iou
from m4kit.camera import CROP_SIZE, Crop, crop_from_box, crop_from_landmarks, cut_crop
from m4kit.confidence import signs
from m4kit.confidence.failure import probabilities_of
from m4kit.confidence.quality import photo_quality
from m4kit.confidence.reasons import reasons_of
from m4kit.datasets import Sample
from m4kit.datasets.photos import Photo
from m4kit.files import reason_of, text_of
from m4kit.images import ImageError, jpeg
from m4kit.landmarks import GROUP_MEMBERS, GROUPS, face_size
from m4kit.prediction import Face, Prediction
from m4kit.predictor import Predictor
from m4kit.scenes.journal import Entry
from m4kit.scenes.taxonomy import failures_of
from m4kit.views import PredictCrops, crop_predictor

_ANGLES = ("yaw", "pitch", "roll")
_SIDES = ("left", "top", "right", "bottom")


def unread(photo: Photo, reason: str) -> Entry:
    """The row of a photo that cannot be analysed."""
    row = _scene_row(photo) | {"all_labelled": photo.all_labelled}
    return Entry(row | {"read": False, "error": text_of(reason)}, [])


def match(found: np.ndarray, boxes: np.ndarray) -> dict[int, int]:
    """The face that each detection hits, by their numbers; detections that hit none are left out.

    Greedy: the best score first, each face once. `found` (n, 5) holds boxes and scores, `boxes` (m, 4) the faces.
    """
    order = np.argsort(-found[:, 4], kind="stable").tolist()
    pairs = boxes_module.match(found, boxes, iou=HIT_IOU)
    return {row: face for row, (_, face) in zip(order, pairs, strict=True) if face is not None}


class _Seen:
    """A photo's prediction, the seconds it took, and each face's signs."""

    def __init__(self, image: np.ndarray, predictor: Predictor, predict_crops: PredictCrops):
        self._predict_crops = predict_crops
        start = time.perf_counter()
        self.prediction = predictor(image)
        self.seconds = time.perf_counter() - start

    @cached_property
    def known(self) -> list[dict[str, float]]:
        """Signs, checked failure probability and reasons of each face, without the truth."""
        faces = self.prediction.faces
        measured = signs.of_faces(faces, self._predict_crops)
        probabilities = probabilities_of(faces, measured, names="all")
        return [
            known
            | {
                "checked_failure_probability": np.nan if probability is None else probability,
                "reasons": "; ".join(reasons_of(face, measured=known)) or None,
            }
            for face, known, probability in zip(faces, measured, probabilities, strict=True)
        ]


class Analyst(threading.local):
    """Analyses photos; each thread keeps the prediction of its last clean photo for its next one."""

    def __init__(self, predictor: Predictor):
        self.predictor = predictor
        self.predict_crops = crop_predictor(predictor.engine, predictor.model, views=predictor.views)
        self._clean: tuple[object, _Seen | None, str | None] = (None, None, None)

    def __call__(self, photos: Sequence[Photo]) -> list[tuple[Entry, dict[str, bytes]]]:
        """Each photo's rows, and the JPEG files of its faces by name."""
        return [self._entry(photo) for photo in photos]

    def _entry(self, photo: Photo) -> tuple[Entry, dict[str, bytes]]:
        try:
            return self._analysed(photo)
        # One odd photo must not cost the others: a decoder may raise anything, and the memory may end.
        except Exception as error:
            return unread(photo, reason_of(error)), {}

    def _analysed(self, photo: Photo) -> tuple[Entry, dict[str, bytes]]:
        image = photo.image()
        before, error = self._seen_clean(photo)
        clean = None if before is None else before.prediction
        # At severity 0 every condition gives the clean photo.
        same = clean is not None and np.array_equal(image, clean.image)
        seen = before if same else self._seen(image)
        reference, boxes = _reference(photo, clean)
        found = detections(seen.prediction)
        hits = match(found, boxes)
        faces, thumbnails = self._faces(photo, seen, clean, boxes, hits)
        row = _scene_row(photo) | {
            "all_labelled": photo.all_labelled,
            "read": True,
            "error": error,
            "height": image.shape[0],
            "width": image.shape[1],
            "reference": reference,
            "found": len(found),
            "seconds": round(seen.seconds, 4),
            **photo_quality(image),
            **_detection_counts(len(found), len(hits), len(boxes), reference, photo.all_labelled),
        }
        return Entry(row, faces), thumbnails

    def _seen(self, image: np.ndarray) -> _Seen:
        return _Seen(image, self.predictor, self.predict_crops)

    def _seen_clean(self, photo: Photo) -> tuple[_Seen | None, str | None]:
        """The prediction of the clean photo, or why it cannot be read."""
        if photo.clean_image is None:
            return None, None
        if self._clean[0] is not photo.clean_image:
            try:
                self._clean = (photo.clean_image, self._seen(photo.clean_image()), None)
            except ImageError as error:
                self._clean = (photo.clean_image, None, text_of(f"clean photo: {error}"))
        return self._clean[1:]

    def _faces(
        self,
        photo: Photo,
        seen: _Seen,
        clean: Prediction | None,
        boxes: np.ndarray,
        hits: Mapping[int, int],
    ) -> tuple[list[dict], dict[str, bytes]]:
        rows, thumbnails, prediction = [], {}, seen.prediction
        found = detections(prediction)
        by_clean = {} if clean is None else match(found, detections(clean)[:, :4])
        missed = sorted(set(range(len(boxes))) - set(hits.values()))
        overlaps = pairwise_iou(found, boxes)
        stem = hashlib.sha256(photo.name.encode()).hexdigest()[:16]
        for number, face in enumerate(prediction):
            hit, again = hits.get(number), by_clean.get(number)
            row = _scene_row(photo) | {"face": number, **_own(face), **seen.known[number]}
            if hit is not None:
                row |= {"truth": hit} | _box_row(boxes[hit]) | {"iou": float(overlaps[number, hit])}
            elif missed:
                row["iou"] = float(overlaps[number, missed].max())
            sample = photo.faces[hit] if hit is not None and photo.faces else None
            row |= _compared(face, sample, None if again is None else clean[again])
            row["thumbnail"] = f"{stem}-{number}.jpg"
            thumbnails[row["thumbnail"]] = _thumbnail(prediction.image, face.crop)
            rows.append(row)
        for number in missed:
            row = _scene_row(photo) | {"truth": number, **_box_row(boxes[number])}
            row["thumbnail"] = f"{stem}-missed{number}.jpg"
            thumbnails[row["thumbnail"]] = _thumbnail(prediction.image, crop_from_box(boxes[number]))
            rows.append(row)
        for row in rows:
            row["failures"] = "; ".join(failures_of(row, all_labelled=photo.all_labelled)) or None
        return rows, thumbnails


def _reference(photo: Photo, clean: Prediction | None) -> tuple[str | None, np.ndarray]:
    """The source of the reference faces, `truth`, `clean` or None, and their boxes (m, 4)."""
    if photo.faces or photo.all_labelled:
        return "truth", photo.boxes
    return (None, np.zeros((0, 4))) if clean is None else ("clean", detections(clean)[:, :4])


def _scene_row(photo: Photo) -> dict[str, object]:
    return {
        "photo": photo.name,
        "condition": photo.condition,
        "severity": None if photo.severity is None else float(photo.severity),
        "seed": None if photo.seed is None else int(photo.seed),
        "clean": photo.clean,
    }


def _detection_counts(
    found: int, hits: int, faces: int, reference: str | None, all_labelled: bool
) -> dict[str, int | float]:
    if not reference:
        return {}
    counts: dict[str, int | float] = {"faces": faces, "hits": hits, "missed": faces - hits}
    if faces:
        counts["recall"] = hits / faces
    if all_labelled:
        counts["false_alarms"] = found - hits
        if found:
            counts["precision"] = hits / found
    return counts


def _own(face: Face) -> dict[str, object]:
    """A face's box, pose, crop and parameters as columns."""
    return {
        **dict(zip((*_SIDES, "score"), map(float, np.asarray(face.box)), strict=True)),
        **dict(zip(_ANGLES, map(float, face.pose), strict=True)),
        **dict(zip(("crop_left", "crop_top", "crop_size"), map(float, face.crop), strict=True)),
        "parameters": face.parameters.tolist(),
    }


def _compared(face: Face, sample: Sample | None, clean: Face | None) -> dict[str, object]:
    """A face's errors against the truth and the clean photo's answer."""
    row: dict[str, object] = {}
    if clean is not None:
        row |= _drift(face, clean)
    pose = None if sample is None else sample.pose
    if pose is not None and np.isfinite(pose).any():
        row |= {"pose_reference": "truth"} | _reference_pose(pose)
        row["pose_error"] = float(np.nanmean(metrics.pose_error(face.pose, pose)))
    elif clean is not None:
        row |= {"pose_reference": "clean"} | _reference_pose(clean.pose)
    if sample is not None and sample.landmarks is not None:
        row |= {"landmark_reference": "truth"} | _landmark_errors(face, sample.landmarks)
        row["nme"] = float(metrics.nme(face.landmarks[:, :2], sample.landmarks[:, :2]))
    elif clean is not None:
        row |= {"landmark_reference": "clean"} | _landmark_errors(face, clean.landmarks)
    return row


def _drift(face: Face, clean: Face) -> dict[str, float]:
    size = face_size(clean.landmarks)
    # Depth is known up to a constant.
    own, before = (one.vertices - [0, 0, one.vertices[:, 2].mean()] for one in (face, clean))
    return {
        "landmark_drift": float(metrics.nme(face.landmarks[:, :2], clean.landmarks[:, :2])),
        "mesh_drift": float(100 * np.linalg.norm(own - before, axis=1).mean() / size),
        "pose_drift": float(metrics.pose_error(face.pose, clean.pose).mean()),
        "shape_drift": float(np.linalg.norm(face.shape - clean.shape, axis=1).mean()),
    }


def _reference_pose(pose: Sequence[float]) -> dict[str, float]:
    return {f"reference_{name}": float(angle) for name, angle in zip(_ANGLES, pose, strict=True)}


def _landmark_errors(face: Face, true: np.ndarray) -> dict[str, object]:
    """Errors by group in percent of the true landmarks' size, and the crop against the right one."""
    true, right = true[:, :2], crop_from_landmarks(true)
    distances = np.linalg.norm(face.landmarks[:, :2] - true, axis=1)
    size = face_size(true)
    in_thumbnail = Crop(-0.5, -0.5, CROP_SIZE).to_photo(face.crop.from_photo(true))
    return {
        "reference_points": in_thumbnail.round(3).ravel().tolist(),
        **{f"error_{group}": float(100 * distances[GROUP_MEMBERS[group]].mean() / size) for group in GROUPS},
        "crop_scale": float(face.crop.size / right.size),
        "crop_shift": float(np.linalg.norm(face.crop.centre - right.centre) / right.size),
    }


def detections(prediction: Prediction) -> np.ndarray:
    """Boxes and scores of a prediction, (n, 5)."""
    return np.array([np.asarray(face.box) for face in prediction], dtype=float).reshape(-1, 5)


def _box_row(box: np.ndarray) -> dict[str, float]:
    return {f"true_{side}": float(value) for side, value in zip(_SIDES, box, strict=True)}


def _thumbnail(image: np.ndarray, crop: Crop) -> bytes:
    return jpeg(cut_crop(image, crop), quality=88)

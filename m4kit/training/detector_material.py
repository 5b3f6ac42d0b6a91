"""Training material of the detector: crops of one face, photos, and a box for each face.

No data set has boxes in the detector's own convention. The crops have landmarks, so the official weights find boxes
in a sample of crops, and ridge regression learns the box from the landmarks. This rule lacks the official detector's
scatter and also gives a box where that detector finds none.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

from m4kit.boxes import pairwise_iou
from m4kit.detector import Detector

KEPT_PHOTOS = ("2008_002470", "2008_004176", "2009_004587", "bald_guys")
"""Photos of `multi_face` that are reserved for evaluation."""


@dataclass(frozen=True)
class Photo:
    """A picture with known faces: JPEG bytes, and boxes (n, 5) as in a scene."""

    name: str
    jpeg: bytes
    faces: np.ndarray

    def image(self) -> np.ndarray:
        """Decode the pixels, (H, W, 3) uint8 RGB."""
        return decode_image(self.jpeg)


@dataclass(frozen=True)
class Material:
    """Pictures that scenes are made of: crops of one face, photos, and pictures without a face."""

    crops: tuple[Photo, ...]
    photos: tuple[Photo, ...]
    face_free: tuple[Photo, ...] = ()


def decode_image(data: bytes) -> np.ndarray:
    """Decode a picture to (H, W, 3) uint8 RGB."""
    return np.ascontiguousarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])


class BoxRule:
    """Ridge regression from landmarks (n, K, 2), NaN where hidden, to boxes (n, 4) in the same frame."""

    def __init__(self, landmarks: np.ndarray, boxes: np.ndarray, *, ridge: float = 1e-4):
        features = self._features(landmarks)
        # The constant, which comes last, has no penalty.
        penalty = ridge * len(features) * np.diag(np.append(np.ones(features.shape[1] - 1), 0))
        # The second fit leaves out outliers of the first, where the detector found a neighbour's face.
        inliers = np.ones(len(features), dtype=bool)
        for _ in range(2):
            x, y = features[inliers], boxes[inliers]
            self.weights = np.linalg.solve(x.T @ x + penalty, x.T @ y)
            residual = np.abs(features @ self.weights - boxes).max(axis=1)
            inliers = residual < 3 * np.median(residual)

    def __call__(self, landmarks: np.ndarray) -> np.ndarray:
        return self._features(landmarks) @ self.weights

    @staticmethod
    def _features(landmarks: np.ndarray) -> np.ndarray:
        seen = np.isfinite(landmarks[..., 0])
        points = np.where(seen[..., None], landmarks, 0).reshape(len(landmarks), -1)
        return np.column_stack([points, seen.astype(float), np.ones(len(landmarks))])


def official_boxes(images: list[np.ndarray], detector: Detector) -> np.ndarray:
    """Find the detector's best box (n, 4) in each crop, from the crop's corner; NaN if its score is below 0.9.

    The detector needs surroundings, so it sees each crop in the middle of a grey picture of twice its side.
    """
    boxes = np.full((len(images), 4), np.nan)
    for i, image in enumerate(images):
        margin = image.shape[0] // 2
        padded = cv2.copyMakeBorder(image, *[margin] * 4, cv2.BORDER_CONSTANT, value=(123, 117, 104))
        found = detector(padded, threshold=0.9)
        if len(found):
            boxes[i] = found[0, :4] + 0.5 - margin
    return boxes


def in_landmark_frame(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return landmarks (n, 68, 2) relative to their bounding box, and its origin and size, each (n, 2)."""
    low, high = landmarks.min(axis=1), landmarks.max(axis=1)
    size = np.repeat((high - low).max(axis=1, keepdims=True), 2, axis=1)
    return (landmarks - low[:, None]) / size[:, None], low, size


def fit_rule68(shared: Path, detector: Detector, *, sample: int = 1500) -> BoxRule:
    """Learn the box of 68 landmarks, relative to their bounding box, from YouTube Faces."""
    labels = np.load(shared / "data" / "youtube_faces.npz")
    with zipfile.ZipFile(shared / "data" / "youtube_faces.zip") as archive:
        chosen = np.random.default_rng(0).permutation(len(labels["names"]))[:sample]
        boxes = official_boxes([decode_image(archive.read(labels["names"][i])) for i in chosen], detector)
    landmarks, low, size = in_landmark_frame(labels["pts68"][chosen].astype(float))
    boxes = (boxes - np.tile(low, 2)) / np.tile(size, 2)
    found = np.isfinite(boxes[:, 0])
    return BoxRule(landmarks[found], boxes[found])


def boxes_of_68(landmarks: np.ndarray, rule: BoxRule) -> np.ndarray:
    """Compute boxes (n, 4) from landmarks (n, 68, 2), both in a picture's pixels."""
    landmarks, low, size = in_landmark_frame(landmarks.astype(float))
    return rule(landmarks) * np.tile(size, 2) + np.tile(low, 2)


def read_material(
    shared: Path, detector: Detector, face_free: Path | None = None
) -> tuple[Material, Material]:
    """Read the material to train on and the material that is held out for validation.

    Held out are every tenth person of YouTube Faces, every twentieth crop of AFLW, every third portrait, and every
    fourth picture of the folder `face_free` in the order of names. All photos of `multi_face` are for training,
    except the four that are reserved for evaluation.
    """
    rule68 = fit_rule68(shared, detector)
    parts = [
        _aflw(shared, detector),
        _youtube(shared, rule68),
        _multi_face(shared, detector, rule68),
        _portraits(shared, detector),
        _face_free(face_free),
    ]
    return tuple(
        Material(tuple(filter(_is_plausible, (*aflw, *youtube))), (*groups, *portraits), tuple(face_free))
        for aflw, youtube, groups, portraits, face_free in zip(*parts, strict=True)
    )


def _split(photos: list[Photo], held_out: Sequence[bool] | np.ndarray) -> tuple[list[Photo], list[Photo]]:
    """Split photos into those to train on and those that are held out."""
    return tuple(
        [photo for photo, out in zip(photos, held_out, strict=True) if out == wanted]
        for wanted in (False, True)
    )


def _is_plausible(crop: Photo) -> bool:
    """Tell whether a crop's box has the size and shape of a face; a few crops have too few or wrong landmarks."""
    width, height = crop.faces[0, 2:4] - crop.faces[0, :2]
    return 30 < width < 130 and 30 < height < 130 and 0.55 < width / height < 1.1


def _aflw(shared: Path, detector: Detector, *, sample: int = 3000) -> tuple[list[Photo], list[Photo]]:
    labels = np.load(shared / "data" / "aflw_train.npz")
    roi = labels["roi"][:, None].astype(float)
    points = labels["pts21"].transpose(0, 2, 1).astype(float)
    invisible = (points == -1).any(axis=-1)
    points = (points - roi[..., :2]) / (roi[..., 2:] - roi[..., :2])
    points[invisible] = np.nan
    with zipfile.ZipFile(shared / "data" / "aflw_train.zip") as archive:
        jpegs = [archive.read(name) for name in labels["names"]]
    chosen = np.random.default_rng(0).permutation(len(jpegs))[:sample]
    boxes = official_boxes([decode_image(jpegs[i]) for i in chosen], detector) / 120
    found = np.isfinite(boxes[:, 0])
    boxes = BoxRule(points[chosen[found]], boxes[found])(points) * 120
    crops = [
        Photo(str(name), jpeg, np.append(box, 1)[None])
        for name, jpeg, box in zip(labels["names"], jpegs, boxes, strict=True)
    ]
    return _split(crops, np.arange(len(crops)) % 20 == 0)


def _youtube(shared: Path, rule: BoxRule) -> tuple[list[Photo], list[Photo]]:
    labels = np.load(shared / "data" / "youtube_faces.npz")
    boxes = boxes_of_68(labels["pts68"], rule)
    held_out = np.isin(labels["identity"], np.unique(labels["identity"])[::10])
    with zipfile.ZipFile(shared / "data" / "youtube_faces.zip") as archive:
        crops = [
            Photo(str(name), archive.read(name), np.append(box, 1)[None])
            for name, box in zip(labels["names"], boxes, strict=True)
        ]
    return _split(crops, held_out)


def _multi_face(shared: Path, detector: Detector, rule: BoxRule) -> tuple[list[Photo], list[Photo]]:
    with zipfile.ZipFile(shared / "data" / "multi_face.zip") as archive:
        known = {
            name: boxes_of_68(landmarks, rule)
            for part in ("training", "testing")
            for name, landmarks in annotated_landmarks(archive.read(f"{part}_with_face_landmarks.xml"))
        }
        names = [n for n in archive.namelist() if n.endswith(".jpg") and Path(n).stem not in KEPT_PHOTOS]
        jpegs = {name: archive.read(name) for name in sorted(names)}
    photos = []
    for name, jpeg in jpegs.items():
        faces = _sure_and_unsure(detector, decode_image(jpeg))
        if name in known:
            true = np.column_stack([known[name], np.ones(len(known[name]))])
            # Other detections may be faces that nobody annotated, so they are optional.
            other = faces[pairwise_iou(faces, true).max(axis=1) < 0.3]
            faces = np.concatenate([true, np.column_stack([other[:, :4], np.zeros(len(other))])])
        photos.append(Photo(name, jpeg, faces))
    return photos, []


def annotated_landmarks(xml: bytes) -> list[tuple[str, np.ndarray]]:
    """Read the photos of dlib's face landmark XML with their landmarks (n, 68, 2)."""
    photos = []
    for photo in ElementTree.fromstring(xml).iter("image"):
        faces = [
            sorted(
                (part.get("name"), float(part.get("x")), float(part.get("y"))) for part in box.iter("part")
            )
            for box in photo.iter("box")
        ]
        photos.append((photo.get("file"), np.array([[(x, y) for _, x, y in face] for face in faces])))
    return photos


def _portraits(shared: Path, detector: Detector) -> tuple[list[Photo], list[Photo]]:
    """Read portraits with the detector's boxes; those without a sure detection are left out."""
    photos = []
    with zipfile.ZipFile(shared / "data" / "painted_portraits.zip") as archive:
        for name in sorted(archive.namelist()):
            jpeg = archive.read(name)
            photos.append(Photo(name, jpeg, _sure_and_unsure(detector, decode_image(jpeg))))
    usable = [i for i, photo in enumerate(photos) if photo.faces[:, 4].any()]
    return _split([photos[i] for i in usable], [i % 3 == 2 for i in usable])


def _face_free(folder: Path | None) -> tuple[list[Photo], list[Photo]]:
    files = sorted(folder.iterdir()) if folder is not None else []
    photos = [Photo(file.name, file.read_bytes(), np.zeros((0, 5))) for file in files]
    return _split(photos, np.arange(len(photos)) % 4 == 3)


def _sure_and_unsure(detector: Detector, image: np.ndarray, *, sure: float = 0.7) -> np.ndarray:
    """Detect faces (n, 5) as in a scene, with a score of at least 0.2; those below `sure` are optional."""
    found = detector(image, threshold=0.2)
    return np.column_stack([found[:, :4] + 0.5, found[:, 4] >= sure])

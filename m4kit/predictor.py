"""Photo to `Prediction`: detect, crop, regress, and the one-line `predict`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from m4kit.camera import Crop, crop_from_box, cut_crop, next_crop
from m4kit.confidence import assess
from m4kit.detector import Detector
from m4kit.face_model import FaceModel
from m4kit.folding import folded
from m4kit.images import load_image, source_name
from m4kit.network import M4Net
from m4kit.prediction import Face, FaceBox, Origin, Prediction
from m4kit.views import ask, check_views
from m4kit.weights import fingerprint

PASSES = 2
"""A detector's box only says roughly where the face is: the second crop follows the first landmarks."""


class Predictor:
    """Detector, network and face model, loaded once and used for many photos.

    `detector` is any callable from an image (H, W, 3) uint8 RGB to boxes (n, 4) or (n, 5): left, top, right,
    bottom in photo pixels, and a score. `network` is an `M4Net`, a registered name or a path. By default all three
    are the packaged ones.

    `threshold` is the lowest score of a detection; `min_face` the smallest face wanted, in photo pixels or below 1
    as a share of the photo (m4kit's detector alone); `max_faces` keeps the largest. `passes` says how often a
    face is cropped, each time around the landmarks just found; `views` how many versions of each crop are averaged:
    1, 2 (the mirror image too, for a lower error at twice the network's time) or 6 (also turned and made smaller).
    With `try_turns` a photo in which nothing is found is turned by a quarter, three quarters and a half, as phones
    held sideways make them; what is found then is given in the photo as it came, with its roll.

    The predictor works with a folded copy of the network that is made once: later changes of `network` have no effect
    on it, so make another predictor after you change the weights.
    """

    def __init__(
        self,
        *,
        detector: Callable[[np.ndarray], np.ndarray] | None = None,
        network: M4Net | str = "m4net-base",
        model: FaceModel | None = None,
        threshold: float = 0.5,
        min_face: float | None = None,
        max_faces: int | None = None,
        passes: int = PASSES,
        views: int = 1,
        try_turns: bool = False,
    ):
        if passes < 1:
            raise ValueError(f"expected at least one cropping pass, got passes={passes}")
        if max_faces is not None and max_faces < 1:
            raise ValueError(f"expected max_faces of at least 1, or None for all, got {max_faces}")
        if not 0 <= threshold <= 1:
            raise ValueError(f"expected a threshold between 0 and 1, got {threshold}")
        if min_face is not None and not min_face > 0:
            raise ValueError(f"expected min_face in photo pixels, or as a share, above 0, got {min_face}")
        if min_face is not None and not isinstance(detector, Detector | None):
            raise ValueError(
                f"expected no min_face with a detector of your own, which decides itself, got {min_face}"
            )
        self.detector = Detector() if detector is None else detector
        given = isinstance(network, M4Net)
        self.network = network if given else M4Net.load(network).requires_grad_(False)
        self._folded = folded(self.network)
        self._fingerprint, self._heads_digest = fingerprint(self.network), self.network.heads_digest()
        self._detector_fingerprint = (
            fingerprint(self.detector.network) if isinstance(self.detector, Detector) else ""
        )
        self.model = FaceModel.load() if model is None else model
        check_views(views, self.model)
        self.threshold, self.min_face = threshold, min_face
        self.max_faces, self.passes, self.views, self.try_turns = max_faces, passes, views, try_turns

    def __call__(self, source, *, boxes: Sequence | np.ndarray | None = None) -> Prediction:
        """All faces of a photo: a path, bytes, PIL image or array (H, W, 3).

        `boxes` (n, 4) or (n, 5) are used instead of detecting. Raises `ImageError` for what is not a photo and
        `ValueError` for boxes that are not finite, have no area, or lie outside the photo.
        """
        image = load_image(source)
        name = source_name(source)
        if boxes is not None:
            faces = self._faces(image, _checked(boxes, image, name=name, word="the given boxes"))
            return self._prediction(image, faces, name, detector="")
        faces = self._faces(image, self._detect(image, name))
        for quarters in (1, 3, 2) if self.try_turns and not faces else ():
            turned = np.ascontiguousarray(np.rot90(image, quarters))
            faces = self._faces(turned, self._detect(turned, name))
            if faces:
                faces = tuple(_turned_back(face, quarters, image.shape) for face in faces)
                break
        return self._prediction(image, faces, name, detector=self._detector_fingerprint)

    def _prediction(
        self, image: np.ndarray, faces: Sequence[Face], name: str, *, detector: str
    ) -> Prediction:
        origin = Origin(image, self._fingerprint, detector, assess)
        faces = tuple(replace(face, origin=origin) for face in faces)
        return Prediction(image, faces, source=name, network=self._heads_digest)

    def _faces(self, image: np.ndarray, found: np.ndarray) -> tuple[Face, ...]:
        """The faces of boxes (n, 5), largest first."""
        area = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
        found = found[np.argsort(-area, kind="stable")][: self.max_faces]
        crops = [crop_from_box(box) for box in found]
        for number in range(self.passes):
            pixels = [cut_crop(image, crop) for crop in crops]
            heads, weights = ask(self._folded, self.model, pixels, views=self.views)
            faces = tuple(
                Face(
                    box=FaceBox(*(float(value) for value in box)),
                    crop=crop,
                    heads=head,
                    head_weights=weight,
                    model=self.model,
                )
                for box, crop, head, weight in zip(found, crops, heads, weights, strict=True)
            )
            if number + 1 < self.passes:
                crops = [next_crop(face.crop, face.landmarks) for face in faces]
        return faces

    def _detect(self, image: np.ndarray, name: str) -> np.ndarray:
        if isinstance(self.detector, Detector):
            return self.detector(image, threshold=self.threshold, min_face=self.min_face)
        found = _checked(self.detector(image), image, name=name, word="the detector's boxes")
        return found[found[:, 4] >= self.threshold]


def predict(source, *, boxes: Sequence | np.ndarray | None = None, **options) -> Prediction:
    """Every face of a photo as 68 landmarks, a head pose and a dense mesh.

    `source` is a path, bytes, PIL image or array (H, W, 3); `boxes` are used instead of detecting. The other
    options are those of `Predictor`: `detector`, `network`, `model`, `threshold`, `min_face`, `max_faces`, `passes`,
    `views`, `try_turns`.

        >>> prediction = m4kit.predict("group.jpg")  # doctest: +SKIP
        >>> [face.pose.yaw for face in prediction]  # doctest: +SKIP
    """
    if options:
        return Predictor(**options)(source, boxes=boxes)
    return _packaged()(source, boxes=boxes)


@cache
def _packaged() -> Predictor:
    return Predictor()


def _turned_back(face: Face, quarters: int, shape: tuple[int, ...]) -> Face:
    """A face found in a photo of that shape turned anticlockwise by quarters, as it lies in the photo itself."""
    height, width = shape[:2]
    for quarter in reversed(range(quarters)):
        # What was the column's way down is the row's way to the left.
        last = (width if quarter % 2 == 0 else height) - 1
        box, crop, heads = face.box, face.crop, face.heads.copy()
        camera = heads[:, :12].reshape(-1, 3, 4)
        camera[:, :2] = np.stack([camera[:, 1], -camera[:, 0]], axis=1)
        face = replace(
            face,
            box=FaceBox(last - box.bottom, box.left, last - box.top, box.right, box.score),
            crop=Crop(last - crop.top - crop.size, crop.left, crop.size),
            heads=heads,
        )
    return face


def _checked(boxes, image: np.ndarray, *, name: str, word: str) -> np.ndarray:
    """Boxes (n, 5) with scores, or an error that says what is wrong with them."""
    boxes = np.asarray(boxes, dtype=float)
    if boxes.size == 0:
        return np.zeros((0, 5))
    if boxes.ndim == 1:
        boxes = boxes[None]
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 5):
        raise ValueError(
            f"{name}: expected {word} as (n, 4) or (n, 5): left, top, right, bottom and a score; "
            f"got shape {boxes.shape}"
        )
    if boxes.shape[1] == 4:
        boxes = np.column_stack([boxes, np.ones(len(boxes))])
    height, width = image.shape[:2]
    for number, (left, top, right, bottom, score) in enumerate(boxes):
        said = f"{name}: box {number} of {word}, ({left:g}, {top:g}, {right:g}, {bottom:g}),"
        if not np.isfinite([left, top, right, bottom, score]).all():
            raise ValueError(f"{said} score {score:g}, is not finite; leave it out")
        if right <= left or bottom <= top:
            raise ValueError(f"{said} has no area; expected left < right and top < bottom, in photo pixels")
        if right <= 0 or bottom <= 0 or left >= width or top >= height:
            raise ValueError(
                f"{said} lies outside the photo of {width}x{height} pixels; expected left, top, right, bottom "
                "in pixels of this photo"
            )
    return boxes

"""Turns a photo into a `Prediction`: detect faces, cut crops, run the network."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from itertools import islice
from os import PathLike
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from m4kit import __version__
from m4kit.boxes import check_boxes
from m4kit.camera import CROP_SIZE, Crop, crop_from_box, cut_square, next_crop
from m4kit.checks import check_flag, check_type, check_whole, read_only, shown
from m4kit.confidence import assess
from m4kit.detector import Detector, check_min_face, check_threshold
from m4kit.engine import make_engine
from m4kit.face_model import FaceModel, check_model, packaged_model
from m4kit.images import ImageError, load_image, source_name
from m4kit.parameters import fuse, landmarks_in_crop, split
from m4kit.prediction import Face, FaceBox, Origin, Prediction
from m4kit.views import check_views, regress
from m4kit.weights import check_fits

if TYPE_CHECKING:
    from m4kit.network import M4Net

PASSES = 2
"""A detector's box is only a rough place of the face, so the second crop follows the first landmarks."""

PLACES = {"m4net-base": "m4net-small", "m4net-base-dynamic": "m4net-small"}
"""Which network sees all crops but the last, if m4kit's detector found the face: a smaller one places a crop as well.
"""


_OPTIONS = ("threshold", "min_face", "max_faces", "passes", "views", "try_turns")


class Located(NamedTuple):
    """A photo with the boxes of its faces, before the network runs (`Predictor.locate`).

    `image` is (H, W, 3) uint8 RGB and `source` its name. `boxes` (n, 5) are left, top, right, bottom in pixels and a
    score, largest first, in the photo turned anticlockwise by `quarters` of a turn. `detector` is the detector's
    fingerprint, as in `prediction.Origin`.
    """

    image: np.ndarray
    source: str
    boxes: np.ndarray
    quarters: int
    detector: str

    @property
    def turned(self) -> np.ndarray:
        """The photo in which the boxes count."""
        return np.ascontiguousarray(np.rot90(self.image, self.quarters)) if self.quarters else self.image


class Predictor:
    """Finds the faces of photos, with a detector, a network and a face model that are loaded once.

    - `detector`: any callable from an image (H, W, 3) uint8 RGB to boxes (n, 4) or (n, 5): left, top, right, bottom
      in photo pixels, and a score. The default is m4kit's.
    - `network`: an `M4Net`, a registered name or a path.
    - `model`: the face model of the network's parameters; the default is the packaged one. Raises `WeightsError` if
      the network was trained for another one.
    - `threshold`: the lowest score of a detection, 0 to 1.
    - `min_face`: the smallest face to find, in photo pixels, or below 1 as a share of the photo's longer side. Only
      for m4kit's detector.
    - `max_faces`: keep only so many faces, the largest.
    - `passes`: how often a face is cropped. From the second time on, the crop follows the landmarks just found. With
      m4net-base and m4kit's detector, m4net-small finds those of all crops but the last.
    - `views`: average over so many views of each crop: 1, 2 (with the mirror image) or 6 (also rotated and smaller).
      More views have a lower error and take more time.
    - `try_turns`: if no face is found, try again with the photo turned by 90, 270 and 180 degrees. The results are in
      the frame of the photo as it was given.

    - `engine`: "int8" and "onnx" run the networks by ONNX Runtime, in 8-bit integers or in fp32, "torch" by PyTorch
      in fp32. By default it is the first for which the weights have an exported model, as the packaged ones have, on
      the CPU, and "torch" for a network that is an object, other weights, and a GPU.
    - `device`: "cpu", "cuda" or "mps" for a GPU, or "auto" for a GPU if there is one.
    - `threads`: how many threads of the CPU a network takes. A second one gains little.

    `engine`, `device` and `threads` are also those of m4kit's detector, but not of a `detector` that is given. To use
    more cores, predict several photos at once: `with ThreadPoolExecutor() as pool: predictions =
    list(pool.map(predictor, photos))`.

    Later changes of `network` do not reach the predictor: create another one after you change the weights.

    Raises `EngineError` if an engine or a device is not there, or the engine cannot run the network.
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
        engine: str | None = None,
        device: str = "cpu",
        threads: int = 1,
    ):
        if not callable(detector) and detector is not None:
            raise TypeError(
                f"detector: expected a function from an image to boxes, got {shown(detector)}; leave it out for "
                "m4kit's, or load one by its name or path with m4kit.Detector"
            )
        if not isinstance(network, str | PathLike):
            from m4kit.network import M4Net

            words = "an M4Net, its registered name or its path"
            check_type(network, "network", M4Net, remedy="M4Net.load reads one", words=words)
        check_whole(passes, "passes", least=1)
        check_whole(max_faces, "max_faces", least=1, optional="all")
        check_threshold(threshold)
        check_min_face(min_face)
        check_flag(try_turns, "try_turns")
        if min_face is not None and not isinstance(detector, Detector | None):
            raise ValueError(
                f"min_face: expected None, because only m4kit's detector has that option, got {min_face}"
            )
        model = packaged_model() if model is None else check_model(model)
        check_views(views, model)
        where = {"engine": engine, "device": device, "threads": threads}
        self.engine = make_engine(network, _load_network, **where)
        check_fits(self.engine, model)
        places = PLACES.get(str(network)) if passes > 1 else None
        self._placing = make_engine(places, _load_network, **where) if places else self.engine
        check_fits(self._placing, model)
        self.detector = Detector(**where) if detector is None else detector
        self._network = network
        self.model = model
        self.threshold, self.min_face = threshold, min_face
        self.max_faces, self.passes, self.views, self.try_turns = max_faces, passes, views, try_turns

    @cached_property
    def network(self) -> M4Net:
        """The network, loaded at the first use: the engine has its own copy of the weights."""
        given = self._network
        return _load_network(given).requires_grad_(False) if isinstance(given, str | PathLike) else given

    @property
    def _detector_fingerprint(self) -> str:
        own = isinstance(self.detector, Detector)
        return self.detector.engine.notes["fingerprint"] if own else ""

    @property
    def settings(self) -> dict[str, object]:
        """What the predictions depend on, as JSON types: m4kit's version, networks, the engine and options."""
        detector = self.detector
        return {
            "m4kit": __version__,
            "network": self.engine.notes["fingerprint"],
            "engine": self.engine.name,
            "face_model": self.model.fingerprint,
            "detector": self._detector_fingerprint
            or getattr(detector, "__qualname__", type(detector).__qualname__),
            **{name: getattr(self, name) for name in _OPTIONS},
        }

    def __call__(self, source, *, boxes: Sequence | np.ndarray | None = None) -> Prediction:
        """Find all faces of a photo, which is a path, bytes, a PIL image or an array (H, W, 3).

        If `boxes` (n, 4) or (n, 5), or `FaceBox`es, are given, the detector does not run. Raises `ImageError` for a
        photo that cannot be loaded, and `ValueError` for boxes that are not finite, have no area or lie outside the
        photo. Warns if a large photo seems to show many faces that are too small to be found without `min_face`.
        """
        return self.predictions([self.locate(source, boxes=boxes)])[0]

    def locate(self, source, *, boxes: Sequence | np.ndarray | None = None) -> Located:
        """Load a photo and find its faces' boxes: the part of a call that needs no other photo.

        Arguments and errors as for a call.
        """
        _check_single(source)
        image, name = read_only(load_image(source)), source_name(source)
        if boxes is not None:
            boxes = check_boxes(boxes, image.shape, name=f"{name}: given boxes")
            return Located(image, name, self._largest(boxes), 0, "")
        found, turned = self.detect(image, name=name), 0
        for quarters in (1, 3, 2) if self.try_turns and not len(found) else ():
            found = self.detect(np.ascontiguousarray(np.rot90(image, quarters)), name=name)
            if len(found):
                turned = quarters
                break
        return Located(image, name, self._largest(found), turned, self._detector_fingerprint)

    def predictions(self, photos: Sequence[Located]) -> list[Prediction]:
        """The predictions of photos that `locate` gave. The crops of all of them run through the network together."""
        faces = iter(self._faces(photos))
        return [self._prediction(photo, list(islice(faces, len(photo.boxes)))) for photo in photos]

    def _prediction(self, photo: Located, faces: Sequence[Face]) -> Prediction:
        if photo.quarters:
            faces = [_turned_back(face, photo.quarters, photo.image.shape) for face in faces]
        digest = self.engine.notes["heads_digest"]
        return Prediction(photo.image, tuple(faces), source=photo.source, network=digest)

    def _largest(self, found: np.ndarray) -> np.ndarray:
        """The boxes (n, 5) to use, largest first."""
        area = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
        return found[np.argsort(-area, kind="stable")][: self.max_faces]

    def _faces(self, photos: Sequence[Located]) -> list[Face]:
        """The faces of all photos in the order of their boxes, in the frames of the turned photos."""
        network, places = self.engine.notes["fingerprint"], []
        for photo in photos:
            image, origin = photo.turned, Origin(photo.image, network, photo.detector, assess)
            places += [(image, box, origin) for box in photo.boxes]
        crops = [crop_from_box(box) for _, box, _ in places]
        # Given boxes may be far off, which the larger network bears better.
        placing = self._placing if all(photo.detector for photo in photos) else self.engine
        for left in reversed(range(self.passes)):
            engine = placing if left else self.engine
            # The last crop stays with the face, and views are made from crops of the usual size.
            side = int(engine.notes["crop_size"]) if left and self.views == 1 else CROP_SIZE
            pixels = [
                cut_square(image, crop, side) for (image, _, _), crop in zip(places, crops, strict=True)
            ]
            heads, weights = regress(engine, self.model, pixels, views=self.views)
            if left:
                landmarks = landmarks_in_crop(self.model, fuse(heads, weights))
                crops = [
                    next_crop(crop, crop.to_photo(points))
                    for crop, points in zip(crops, landmarks, strict=True)
                ]
        faces = [
            Face(
                box=FaceBox(*(float(value) for value in box)),
                crop=crop,
                heads=head,
                head_weights=weight,
                model=self.model,
                origin=origin,
            )
            for (_, box, origin), crop, head, weight in zip(places, crops, heads, weights, strict=True)
        ]
        for face, seen in zip(faces, pixels, strict=True):
            # Where `cached_property` keeps it.
            vars(face)["image"] = read_only(seen)
        return faces

    def detect(self, image: np.ndarray, *, name: str = "<array>") -> np.ndarray:
        """The boxes (n, 5) that the detector finds in an image (H, W, 3) uint8 RGB, by the predictor's options.

        They are left, top, right, bottom in photo pixels, and the score. Warnings and errors call the image `name`.
        """
        if isinstance(self.detector, Detector):
            boxes, hidden = self.detector.look(image, threshold=self.threshold, min_face=self.min_face)
            if hidden is not None:
                warnings.warn(
                    f"{name}: there seem to be many faces below {hidden:.0f} pixels, the smallest that are found in "
                    f"a photo of this size by default; min_face={hidden / 2:.0f} (--min-face) also finds smaller "
                    "ones, but takes longer",
                    stacklevel=4,
                )
            return boxes
        # A copy, because a detector may draw on its picture.
        found = check_boxes(self.detector(image.copy()), image.shape, name=f"{name}: the detector's boxes")
        return found[found[:, 4] >= self.threshold]


def predict(source, *, boxes: Sequence | np.ndarray | None = None, **options) -> Prediction:
    """Predict 68 landmarks, the head pose and a dense mesh of every face in a photo.

    `source` is a path, bytes, a PIL image or an array (H, W, 3). If `boxes` are given, the detector does not run. The
    other options are those of `Predictor`: `detector`, `network`, `model`, `threshold`, `min_face`, `max_faces`,
    `passes`, `views`, `try_turns`, `engine`, `device`, `threads`.

        >>> prediction = m4kit.predict("group.jpg")  # doctest: +SKIP
        >>> [face.pose.yaw for face in prediction]  # doctest: +SKIP
    """
    return predictor_with(options)(source, boxes=boxes)


def predictor_with(options: Mapping[str, object]) -> Predictor:
    """A predictor with these options; without any, the packaged one, which is made once."""
    return Predictor(**options) if options else _packaged()


@cache
def _packaged() -> Predictor:
    return Predictor()


def _load_network(weights: str | PathLike) -> M4Net:
    # PyTorch is loaded only where a network is wanted.
    from m4kit.network import M4Net

    return M4Net.load(weights)


def _check_single(source) -> None:
    """Raise `ImageError` for several photos or a folder: the message names what takes them."""
    single = str | PathLike | bytes | bytearray | memoryview | np.ndarray
    several = isinstance(source, Iterable) and not isinstance(source, single) and not hasattr(source, "read")
    folder = isinstance(source, str | PathLike) and os.path.isdir(source)
    if several or folder:
        came = f"the folder {source_name(source)}" if folder else f"a {type(source).__name__}"
        raise ImageError(
            f"expected one photo, got {came}; m4kit.predict_many takes several photos and folders"
        )


def _turned_back(face: Face, quarters: int, shape: tuple[int, ...]) -> Face:
    """Transform a face of a photo turned anticlockwise by quarters back to the photo, which has `shape`."""
    height, width = shape[:2]
    for quarter in reversed(range(quarters)):
        last = (width if quarter % 2 == 0 else height) - 1
        box, crop, heads = face.box, face.crop, face.heads.copy()
        camera = split(heads).camera
        camera[:, :2] = np.stack([camera[:, 1], -camera[:, 0]], axis=1)
        face = replace(
            face,
            box=FaceBox(last - box.bottom, box.left, last - box.top, box.right, box.score),
            crop=Crop(last - crop.top - crop.size, crop.left, crop.size),
            heads=heads,
        )
    return face

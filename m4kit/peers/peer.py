"""What all peers share: from a photo to a `Prediction`, and from crops to landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from m4kit.boxes import check_boxes
from m4kit.camera import Crop, crop_from_box, cut_crop, next_crop
from m4kit.checks import read_only
from m4kit.detector import Detector
from m4kit.face_model import FaceModel
from m4kit.images import load_image, source_name
from m4kit.inference import inference
from m4kit.parameters import landmarks_in_crop, split
from m4kit.prediction import Face, FaceBox, Origin, Prediction
from m4kit.predictor import PASSES


class Peer:
    """Another network, which is called as a `Predictor` is and returns the same `Prediction`.

    A subclass sets `name` and `model`, and defines `parameters_of`. One that has no parametric face model defines
    `faces` and `predict_crops` instead. `weights` is the number of the network's weights, None if it is unknown.
    `detector` is m4kit's.
    """

    name: str
    model: FaceModel
    weights: int | None = None

    def __init__(self):
        self.detector = Detector()

    def parameters_of(self, crops: np.ndarray) -> np.ndarray:
        """Compute raw parameters (n, 62) of crops (n, 120, 120, 3) uint8 RGB.

        The camera maps `model`'s millimetres to the crop frame: crop pixels, y up, origin at the crop's centre. The
        coefficients are in `model`'s own unit.
        """
        raise NotImplementedError(f"{type(self).__name__}.parameters_of")

    def faces(self, crops: np.ndarray, boxes: Sequence[FaceBox], places: Sequence[Crop]) -> list[Face | None]:
        """Find the faces in crops (n, 120, 120, 3) uint8 RGB, None where the network finds none.

        `boxes` are the faces' boxes and `places` the squares that the crops were cut from, both in photo pixels.
        """
        return [
            Face(box, place, parameters[None], np.ones(1), self.model)
            for box, place, parameters in zip(boxes, places, self.parameters_of(crops), strict=True)
        ]

    def predict_crops(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predict landmarks (n, 68, 3) and cameras (n, 3, 4) in the crop frame; a face that is not found is NaN.

        `evaluate_landmarks` takes this function (`views.PredictCrops`).
        """
        with inference():
            parameters = self.parameters_of(crops)
            return landmarks_in_crop(self.model, parameters), split(parameters).camera

    def __call__(self, source, *, boxes: Sequence | np.ndarray | None = None) -> Prediction:
        """Find all faces of a photo, in two passes as `Predictor`; arguments and errors are its.

        Faces that the network does not find in their boxes are left out. There is no failure probability, which is
        fitted to M4Net.
        """
        image, name = read_only(load_image(source)), source_name(source)
        given = None if boxes is None else check_boxes(boxes, image.shape, name=f"{name}: given boxes")
        found = self.detector(image) if given is None else given
        area = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
        found = [FaceBox(*box.tolist()) for box in found[np.argsort(-area, kind="stable")]]
        places = [crop_from_box(np.asarray(box)) for box in found]
        origin, faces = Origin(image), []
        for _ in range(PASSES if found else 0):
            crops = np.stack([cut_crop(image, place) for place in places])
            with inference():
                faces = [
                    (face, next_crop(place, face.landmarks))
                    for face, place in zip(self.faces(crops, found, places), places, strict=True)
                    if face is not None
                ]
            found, places = [face.box for face, _ in faces], [place for _, place in faces]
            if not faces:
                break
        return Prediction(image, tuple(replace(face, origin=origin) for face, _ in faces), source=name)

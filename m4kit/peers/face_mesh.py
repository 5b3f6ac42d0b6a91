"""MediaPipe's face mesh (Kartynnik et al., 2019), if the package mediapipe is installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan
from pathlib import Path

import numpy as np

from m4kit.camera import CROP_SIZE, Crop, HeadPose
from m4kit.face_model import EXPRESSION_MODES, IDENTITY_MODES, LANDMARKS, FaceModel, landmarks_at
from m4kit.parameters import PARAMETERS
from m4kit.peers.peer import Peer
from m4kit.prediction import Face, FaceBox
from m4kit.weights import WeightsError

TASK = "face_landmarker.task"
"""The model's file, which newer versions of the package do not contain."""

POINTS_68 = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)
"""The vertex of MediaPipe's mesh that is nearest to each of iBUG's 68 landmarks, jaw line first.

The jaw line follows the mesh's own outline, which ends above the ears; iBUG's begins beside them.
"""


class MeshFace(Face):
    """A face of a network that gives points but no camera: its pose is NaN.

    The model frame is the crop frame, in crop pixels instead of millimetres.
    """

    @property
    def pose(self) -> HeadPose:
        """NaN, because the network gives none."""
        return HeadPose(nan, nan, nan)


class MediaPipe(Peer):
    """MediaPipe's face mesh of 478 points, with `POINTS_68` as landmarks.

    It searches each crop itself, and may find no face in it. Versions of the package without `mediapipe.solutions`
    need the file `TASK` in `folder`. The package chooses its own number of threads.

    Raises `WeightsError` without the package or the file.
    """

    name = "mediapipe"

    def __init__(self, folder: str | Path | None = None):
        try:
            import mediapipe
        except ImportError as error:
            raise WeightsError("mediapipe: the package is not installed; pip install mediapipe") from error
        self._find = _own_model(mediapipe) if hasattr(mediapipe, "solutions") else _task(mediapipe, folder)
        edges = mediapipe.tasks.vision.FaceLandmarksConnections.FACE_LANDMARKS_TESSELATION
        # Three edges in a row are a triangle, counter-clockwise seen from outside.
        self._triangles = np.array([edge.start for edge in edges]).reshape(-1, 3)
        super().__init__()

    def faces(
        self, crops: np.ndarray, boxes: Sequence[FaceBox], places: Sequence[Crop]
    ) -> list[MeshFace | None]:
        """The faces in crops, as `Peer.faces`; each has its own face model, which is its mesh."""
        parameters = np.zeros((1, PARAMETERS))
        parameters[0, [0, 5, 10]] = 1
        meshes = [self._mesh(crop) for crop in crops]
        return [
            None if mesh is None else MeshFace(box, place, parameters, np.ones(1), self._model(mesh))
            for mesh, box, place in zip(meshes, boxes, places, strict=True)
        ]

    def predict_crops(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks (n, 68, 3) in the crop frame, NaN for a face that is not found; the cameras are NaN."""
        meshes = [self._mesh(crop) for crop in crops]
        unknown = np.full((LANDMARKS, 3), nan)
        points = [unknown if mesh is None else mesh[list(POINTS_68)] for mesh in meshes]
        return np.array(points).reshape(-1, LANDMARKS, 3), np.full((len(crops), 3, 4), nan)

    def _mesh(self, crop: np.ndarray) -> np.ndarray | None:
        """The mesh (478, 3) in the crop frame, None without a face."""
        points = self._find(np.ascontiguousarray(crop))
        if points is None:
            return None
        # x and y are shares of the crop, y down; z is in the unit of x, away from the viewer.
        shares = np.array([[point.x, point.y, point.z] for point in points])
        return CROP_SIZE * (shares - [0.5, 0.5, 0]) * [1, -1, -1]

    def _model(self, mesh: np.ndarray) -> FaceModel:
        return FaceModel(
            arrays={
                "mean": mesh,
                "identity_modes": np.zeros((IDENTITY_MODES, *mesh.shape)),
                "expression_modes": np.zeros((EXPRESSION_MODES, *mesh.shape)),
                "triangles": self._triangles,
                **landmarks_at(POINTS_68),
            },
            licence="MediaPipe's face mesh: Apache 2.0",
        )


def _own_model(mediapipe) -> Callable[[np.ndarray], Sequence | None]:
    """Return the function from a picture to points, by the model in the package."""
    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=1, refine_landmarks=True
    )

    def find(picture: np.ndarray) -> Sequence | None:
        faces = mesh.process(picture).multi_face_landmarks
        return faces[0].landmark if faces else None

    return find


def _task(mediapipe, folder: str | Path | None) -> Callable[[np.ndarray], Sequence | None]:
    """Return the function from a picture to points, by the model in the file `TASK`."""
    path = Path(folder or "") / TASK
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such file; this version of mediapipe needs the file of its Face Landmarker in the peers' "
            "folder (--peer-files DIR)"
        )
    options = mediapipe.tasks.vision.FaceLandmarkerOptions(
        base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(path)), num_faces=1
    )
    landmarker = mediapipe.tasks.vision.FaceLandmarker.create_from_options(options)

    def find(picture: np.ndarray) -> Sequence | None:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture)
        faces = landmarker.detect(image).face_landmarks
        return faces[0] if faces else None

    return find

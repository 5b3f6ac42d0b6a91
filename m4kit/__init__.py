"""m4kit: every face in a photo as 68 landmarks, a head pose and a dense 3D mesh."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from m4kit import visualize
    from m4kit.camera import HeadPose
    from m4kit.detector import Detector
    from m4kit.face_model import FaceModel
    from m4kit.face_table import faces_from
    from m4kit.images import load_image
    from m4kit.many import UnreadPhoto, predict_many
    from m4kit.network import M4Net
    from m4kit.prediction import Face, FaceBox, Prediction
    from m4kit.prediction_file import load
    from m4kit.predictor import Predictor, predict
    from m4kit.tabulation import tabulate
    from m4kit.video import Video, predict_video

__version__ = "0.2.0"

_MODULES = ("conditions", "confidence", "datasets", "evaluate", "explore", "export", "scenes", "visualize")
_HOMES = {
    "Detector": "detector",
    "Face": "prediction",
    "FaceBox": "prediction",
    "FaceModel": "face_model",
    "HeadPose": "camera",
    "M4Net": "network",
    "Prediction": "prediction",
    "Predictor": "predictor",
    "UnreadPhoto": "many",
    "Video": "video",
    "faces_from": "face_table",
    "load": "prediction_file",
    "load_image": "images",
    "predict": "predictor",
    "predict_many": "many",
    "predict_video": "video",
    "tabulate": "tabulation",
}

__all__ = [
    "Detector",
    "Face",
    "FaceBox",
    "FaceModel",
    "HeadPose",
    "M4Net",
    "Prediction",
    "Predictor",
    "UnreadPhoto",
    "Video",
    "__version__",
    "faces_from",
    "load",
    "load_image",
    "predict",
    "predict_many",
    "predict_video",
    "tabulate",
    "visualize",
]


def __getattr__(name: str):
    """Import a name at its first use, so that `import m4kit` stays light."""
    if name in _MODULES:
        return import_module(f"m4kit.{name}")
    if name in _HOMES:
        return getattr(import_module(f"m4kit.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'm4kit' has no attribute {name!r}; it has {', '.join(__dir__())}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})

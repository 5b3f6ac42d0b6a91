"""Explorers: Jupyter widgets for a prediction, the face model or a study."""

from typing import TYPE_CHECKING

from m4kit.checks import needed

if TYPE_CHECKING:
    from m4kit.explore.activation_explorer import ActivationExplorer
    from m4kit.explore.face_model_explorer import FaceModelExplorer
    from m4kit.explore.head_weight_explorer import HeadWeightExplorer
    from m4kit.explore.live_training import LiveTrainer
    from m4kit.explore.mesh_viewer import MeshViewer
    from m4kit.explore.scene_explorer import SceneExplorer
    from m4kit.explore.slider_picture import SliderPicture
    from m4kit.explore.video_explorer import VideoExplorer

_HOMES = {
    "ActivationExplorer": "activation_explorer",
    "FaceModelExplorer": "face_model_explorer",
    "HeadWeightExplorer": "head_weight_explorer",
    "LiveTrainer": "live_training",
    "MeshViewer": "mesh_viewer",
    "SceneExplorer": "scene_explorer",
    "SliderPicture": "slider_picture",
    "VideoExplorer": "video_explorer",
}

__all__ = [
    "ActivationExplorer",
    "FaceModelExplorer",
    "HeadWeightExplorer",
    "LiveTrainer",
    "MeshViewer",
    "SceneExplorer",
    "SliderPicture",
    "VideoExplorer",
]


def __getattr__(name: str):
    """Import an explorer at its first use, so that a viewer does not bring training or plotly along."""
    if name in _HOMES:
        return getattr(needed(f"m4kit.explore.{_HOMES[name]}", name), name)
    raise AttributeError(f"module 'm4kit.explore' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)

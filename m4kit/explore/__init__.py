"""Explorers: widgets for Jupyter that put a prediction, the face model or a study under the user's hands."""

from m4kit.explore.activation_explorer import ActivationExplorer
from m4kit.explore.face_model_explorer import FaceModelExplorer
from m4kit.explore.head_weight_explorer import HeadWeightExplorer
from m4kit.explore.live_training import LiveTrainer
from m4kit.explore.mesh_viewer import MeshViewer
from m4kit.explore.scene_explorer import SceneExplorer

__all__ = [
    "ActivationExplorer",
    "FaceModelExplorer",
    "HeadWeightExplorer",
    "LiveTrainer",
    "MeshViewer",
    "SceneExplorer",
]

"""Explorers: widgets for Jupyter that put a prediction or the face model under the user's hands."""

from m4kit.explore.face_model_explorer import FaceModelExplorer
from m4kit.explore.head_weight_explorer import HeadWeightExplorer
from m4kit.explore.mesh_viewer import MeshViewer

__all__ = ["FaceModelExplorer", "HeadWeightExplorer", "MeshViewer"]

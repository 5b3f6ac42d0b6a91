"""Pictures and figures of predictions.

The `draw_*` functions take a picture and return a new one in the same resolution, so they can be chained. `overview`
and `faces_figure` put such pictures into a matplotlib figure; `mesh_picture` draws a face in 3D. Figures are
returned, never shown.
"""

from m4kit.landmarks import LANDMARK_GROUPS
from m4kit.visualize.comparison import distances_figure, landmarks_figure
from m4kit.visualize.drawing import (
    draw_boxes,
    draw_landmarks,
    draw_mesh,
    draw_pose,
    draw_pose_axes,
    draw_pose_box,
)
from m4kit.visualize.figures import faces_figure, overview, pictures_figure, shapes_figure
from m4kit.visualize.likeness import likeness_figure
from m4kit.visualize.limits import limits_figure
from m4kit.visualize.mesh_picture import mesh_picture
from m4kit.visualize.timeline import pose_timeline

__all__ = [
    "LANDMARK_GROUPS",
    "distances_figure",
    "draw_boxes",
    "draw_landmarks",
    "draw_mesh",
    "draw_pose",
    "draw_pose_axes",
    "draw_pose_box",
    "faces_figure",
    "landmarks_figure",
    "likeness_figure",
    "limits_figure",
    "mesh_picture",
    "overview",
    "pictures_figure",
    "pose_timeline",
    "shapes_figure",
]

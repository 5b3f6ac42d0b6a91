"""Live pages: faces in 3D as one HTML file that needs no kernel, no server and no network.

A page has the explorers' own 3D view (`js/`) and the controls that need no kernel: turn and zoom, layers, colours,
the face model's modes and actions, head weights, and two faces side by side.
"""

from m4kit.live.content import CAMERAS, MARK, LiveFace, content, light_uniforms
from m4kit.live.page import (
    data_blocks,
    face_page,
    live_page,
    live_script,
    live_style,
    prediction_page,
    save_page,
)

__all__ = [
    "CAMERAS",
    "MARK",
    "LiveFace",
    "content",
    "data_blocks",
    "face_page",
    "light_uniforms",
    "live_page",
    "live_script",
    "live_style",
    "prediction_page",
    "save_page",
]

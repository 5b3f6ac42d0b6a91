"""Videos: follows the faces of a video from frame to frame, and smooths them."""

from m4kit.video.files import VideoError
from m4kit.video.result import Video, predict_video

__all__ = ["Video", "VideoError", "predict_video"]

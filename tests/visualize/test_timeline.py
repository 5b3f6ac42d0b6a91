"""The chart of a video's faces over time."""

import numpy as np
import pytest

from m4kit import predict_video
from m4kit.visualize import pose_timeline
from m4kit.visualize.timeline import SIGNALS, TRACK_COLOURS

from helpers.videos import pan, write_video


def test_each_track_has_a_colour_and_a_line_for_each_signal(video):
    figure, table = pose_timeline(video), video.to_dataframe()
    assert len(figure.data) == 2 * len(SIGNALS)
    assert [trace.name for trace in figure.data if trace.showlegend] == ["track 0", "track 1"]
    for track in (0, 1):
        traces = [trace for trace in figure.data if trace.name == f"track {track}"]
        assert {trace.line.color for trace in traces} == {TRACK_COLOURS[track]}
        rows = table[table["track"] == track]
        for trace, name in zip(traces, SIGNALS, strict=True):
            np.testing.assert_array_equal(trace.x, rows["seconds"])
            np.testing.assert_array_equal(trace.y, rows[name])


def test_signals_stand_below_each_other_over_one_time(video):
    figure = pose_timeline(video)
    titles = [axis.title.text for axis in figure.select_yaxes()]
    assert titles == list(SIGNALS.values())
    assert [axis.title.text for axis in figure.select_xaxes()][-1] == "seconds"


def test_a_line_has_a_gap_where_the_face_is_not_seen(tmp_path):
    wall = np.full((180, 240, 3), 100, np.uint8)
    with_face = pan([(0, 0)] * 4)
    path = write_video(tmp_path / "hidden.avi", [*with_face, *[wall] * 6, *with_face])
    (yaw, *_) = pose_timeline(predict_video(path, progress=False)).data
    assert np.isnan(yaw.y).tolist() == [False] * 4 + [True] + [False] * 4


def test_a_video_without_faces_is_an_empty_chart(tmp_path):
    path = write_video(tmp_path / "none.avi", [np.full((120, 160, 3), 90, np.uint8)] * 2)
    assert len(pose_timeline(predict_video(path, progress=False)).data) == 0


def test_something_else_is_refused():
    with pytest.raises(TypeError, match=r"expected Video, got .*; m4kit\.predict_video makes one"):
        pose_timeline(3)

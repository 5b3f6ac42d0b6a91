"""The video explorer without a browser: what it sends and what it shows."""

import io

import numpy as np
import pytest
from PIL import Image

from m4kit import predict_video
from m4kit.explore import VideoExplorer, video_explorer
from m4kit.explore.video_player import PICTURES_BYTES
from m4kit.visualize.timeline import SIGNALS

from helpers.videos import write_video


@pytest.fixture
def explorer(video):
    return VideoExplorer(video)


@pytest.fixture
def messages(explorer, monkeypatch):
    """What the player sends, as (content, buffers)."""
    sent = []
    monkeypatch.setattr(
        type(explorer.player), "send", lambda self, content, buffers=None: sent.append((content, buffers))
    )
    return sent


def test_it_shows_every_frame_that_was_predicted(explorer, video):
    assert explorer.frames == [frame.frame for frame in video] == list(range(0, 120, 3))
    assert explorer.tracks == [0, 1]
    assert explorer.describe().endswith("two_people.mp4, 40 frames, 2 tracks")


def test_pictures_are_sent_as_the_browser_asks_in_small_messages(explorer, messages):
    got = 0
    while got < 40:
        explorer.player.on_message({"kind": "pictures", "first": got})
        content, pictures = messages[-1]
        assert content == {"kind": "pictures", "first": got}
        assert sum(map(len, pictures)) <= PICTURES_BYTES
        got += len(pictures)
    assert len(messages) > 1
    with Image.open(io.BytesIO(messages[0][1][0])) as picture:
        assert picture.size == (400, 300)


def test_landmarks_are_sent_in_eighths_of_a_pixel_with_their_frame_and_track(explorer, video, messages):
    explorer.player.on_ready()
    content, (points, firsts, tracks) = next(one for one in messages if one[0]["kind"] == "clip")
    assert (content["width"], content["height"]) == (400, 300)
    points = np.frombuffer(points, "<i2").reshape(-1, 68, 2) / 8
    firsts, tracks = np.frombuffer(firsts, "<i4"), np.frombuffer(tracks, "<i4")
    for number, frame in enumerate(video):
        faces = range(firsts[number], firsts[number + 1])
        assert tracks[faces].tolist() == [face.track for face in frame]
        for face, place in zip(frame, faces, strict=True):
            np.testing.assert_allclose(points[place], face.landmarks[:, :2], atol=0.07)


def test_the_mesh_follows_the_chosen_track(explorer, video, messages):
    explorer.track.value = 1
    content, (expressions, rotations) = next(one for one in messages if one[0]["kind"] == "track")
    assert content["track"] == 1
    expressions = np.frombuffer(expressions, "<f4").reshape(40, 10)
    rotations = np.frombuffer(rotations, "<f4").reshape(40, 3, 3)
    for number, frame in enumerate(video):
        face = next((face for face in frame if face.track == 1), None)
        if face is None:
            assert np.isnan(expressions[number]).all()
        else:
            np.testing.assert_allclose(expressions[number], face.expression, atol=1e-5)
            np.testing.assert_allclose(rotations[number], face.rotation, atol=1e-5)


def test_the_timeline_has_the_tables_values(explorer, video):
    content, (values,) = explorer.timeline._content
    values = np.frombuffer(values, "<f4").reshape(2, len(SIGNALS), 40)
    table = video.to_dataframe().query("track == 1").set_index("frame")["mouth_opening"]
    np.testing.assert_allclose(
        values[1, list(SIGNALS).index("mouth_opening")], table.reindex(explorer.frames), rtol=1e-5
    )
    assert content["seconds"] == explorer.seconds


def test_it_goes_to_a_moment_and_says_what_is_there(explorer):
    explorer.go_to(3.5)
    assert explorer.player.position == 23
    assert "Track 0: yaw" in explorer.readout.value
    assert "Track 1: yaw" in explorer.readout.value
    with Image.open(io.BytesIO(explorer.still())) as still:
        assert still.size == (700, 300)


def test_a_camera_position_ends_turning_with_the_head(explorer):
    assert explorer.player.turn
    explorer.camera_buttons["Left"].click()
    assert not explorer.player.turn
    assert not explorer.turn.value


def test_a_long_video_is_shown_with_fewer_frames(video, monkeypatch):
    monkeypatch.setattr(video_explorer, "MOST_FRAMES", 8)
    explorer = VideoExplorer(video)
    assert explorer.frames == [0, 24, 48, 72, 96]


def test_a_video_without_a_face_and_something_else_are_refused(tmp_path):
    path = write_video(tmp_path / "none.avi", [np.full((120, 160, 3), 90, np.uint8)] * 2)
    with pytest.raises(ValueError, match="expected a video with at least one face, got none"):
        VideoExplorer(predict_video(path, progress=False))
    with pytest.raises(TypeError, match=r"expected Video, got .*; m4kit\.predict_video makes one"):
        VideoExplorer("clip.mp4")

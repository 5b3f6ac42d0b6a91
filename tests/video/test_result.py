"""Faces of a video, followed from frame to frame."""

import numpy as np
import pytest

import m4kit
from m4kit import metrics, predict_video
from m4kit.detector import Detector
from m4kit.video import VideoError
from m4kit.video.files import VideoReader

from helpers.paths import SAMPLES
from helpers.videos import pan, write_video

SHIFTS = [(3 * number, number) for number in range(12)]


class Counting:
    """The packaged detector, which counts how often it runs; `blind` are the runs in which it finds nothing."""

    def __init__(self, *, blind=()):
        self.detector, self.runs, self.blind = Detector(), 0, blind

    def __call__(self, image):
        self.runs += 1
        return np.zeros((0, 5)) if self.runs - 1 in self.blind else self.detector(image)


def tracks_in(frames):
    """The numbers of the faces of each frame."""
    return [[face.track for face in frame] for frame in frames]


@pytest.fixture(scope="module")
def panned(tmp_path_factory):
    """A face that moves to the left by 3 * 240 / 260 pixels a frame, 12 frames."""
    return write_video(tmp_path_factory.mktemp("video") / "pan.avi", pan(SHIFTS))


@pytest.fixture(scope="module")
def video(panned):
    video = predict_video(panned, smooth=False, progress=False)
    video.to_dataframe()
    return video


class TestFrames:
    def test_each_frame_is_a_prediction_with_its_number_and_time(self, video, panned):
        frames = list(video)
        assert [frame.frame for frame in frames] == list(range(12))
        np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(12) / 25, atol=1e-6)
        assert frames[3].source == f"{panned}, frame 3"
        assert all(isinstance(frame, m4kit.Prediction) for frame in frames)

    def test_a_face_keeps_its_number_and_follows_the_picture(self, video):
        frames = list(video)
        assert tracks_in(frames) == [[0]] * 12
        first = frames[0][0].landmarks[:, :2]
        scale = 240 / 260
        for frame, shift in zip(frames, SHIFTS, strict=True):
            assert metrics.nme(frame[0].landmarks[:, :2], first - np.multiply(shift, scale)) < 2.5

    def test_a_face_of_a_frame_agrees_with_that_of_a_photo(self, video):
        for frame in list(video)[::4]:
            (face,) = m4kit.predict(frame.image)
            assert metrics.nme(frame[0].landmarks[:, :2], face.landmarks[:, :2]) < 2

    def test_faces_know_their_photo_and_their_failure_probability(self, video):
        frame = next(iter(video))
        np.testing.assert_array_equal(frame[0].origin.image, frame.image)
        assert 0 <= frame[0].failure_probability < 0.1
        frame.plot()

    def test_a_frame_is_saved_and_loaded_with_number_time_and_tracks(self, video, tmp_path):
        frame = list(video)[2]
        again = m4kit.load(frame.save(tmp_path / "frame.npz"))
        assert (again.frame, again.seconds, again[0].track) == (2, frame.seconds, 0)

    def test_the_detector_runs_three_times_a_second_and_not_on_each_frame(self, panned):
        detector = Counting()
        list(predict_video(panned, detector=detector, progress=False))
        # 12 frames are 0.44 seconds: the first one, and once after a third of a second.
        assert detector.runs == 2

    def test_a_second_loop_predicts_nothing_again(self, panned):
        detector = Counting()
        video = predict_video(panned, detector=detector, progress=False)
        for number, _ in enumerate(video):
            if number == 3:
                break
        assert detector.runs == 1
        first, second = ([frame[0].parameters for frame in video] for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert detector.runs == 2

    def test_every_third_frame_keeps_its_number(self, panned):
        frames = list(predict_video(panned, every=3, progress=False))
        assert [frame.frame for frame in frames] == [0, 3, 6, 9]

    def test_a_video_without_a_face_has_empty_frames(self, tmp_path):
        path = write_video(tmp_path / "none.avi", [np.full((120, 160, 3), 90, np.uint8)] * 3)
        video = predict_video(path, progress=False)
        assert [len(frame) for frame in video] == [0, 0, 0]
        assert len(video.to_dataframe()) == 0


class TestTracks:
    def test_two_people_have_two_numbers_and_one_leaves(self):
        """In the sample clip the second person comes at 1.6 s and is gone at 5 s."""
        table = predict_video(SAMPLES / "two_people.mp4", every=3, progress=False).to_dataframe()
        seconds = table.groupby("track")["seconds"]
        assert sorted(seconds.groups) == [0, 1]
        assert seconds.count()[0] == 40
        assert 1.6 < seconds.min()[1] < 2.6
        assert 4.0 < seconds.max()[1] < 5.1

    def test_a_track_ends_where_the_face_is_gone_and_another_face_has_another_number(self, tmp_path):
        wall = np.random.default_rng(0).integers(90, 110, (180, 240, 3), np.uint8)
        with_face = pan([(0, 0)] * 5)
        away = [wall] * 30
        path = write_video(tmp_path / "cut.avi", [*with_face, *away, *with_face])
        tracks = tracks_in(predict_video(path, progress=False))
        # 30 frames are 1.2 seconds: too long to be remembered.
        assert tracks == [[0]] * 5 + [[]] * 30 + [[1]] * 5

    def test_a_face_that_comes_back_at_once_keeps_its_number(self, tmp_path):
        wall = np.full((180, 240, 3), 100, np.uint8)
        with_face = pan([(0, 0)] * 5)
        path = write_video(tmp_path / "hidden.avi", [*with_face, *[wall] * 10, *with_face])
        tracks = tracks_in(predict_video(path, progress=False))
        assert tracks == [[0]] * 5 + [[]] * 10 + [[0]] * 5

    def test_a_face_that_the_detector_misses_is_followed(self, tmp_path):
        path = write_video(tmp_path / "still.avi", pan([(0, 0)] * 30))
        detector = Counting(blind=range(1, 99))
        assert tracks_in(predict_video(path, detector=detector, progress=False)) == [[0]] * 30

    def test_at_most_so_many_faces_are_followed(self, tmp_path):
        from m4kit.images import load_image

        image = load_image(SAMPLES / "group.jpg")
        path = write_video(tmp_path / "group.avi", [image] * 2)
        frames = list(predict_video(path, max_faces=2, progress=False))
        assert [sorted(face.track for face in frame) for frame in frames] == [[0, 1]] * 2
        largest = m4kit.predict(image, max_faces=2)
        assert metrics.nme(frames[0][0].landmarks[:, :2], largest[0].landmarks[:, :2]) < 2

    def test_between_detections_the_box_moves_with_the_face(self, panned):
        frames = list(predict_video(panned, smooth=False, progress=False))
        boxes = np.array([np.asarray(frame[0].box) for frame in frames[:8]])
        moved = np.array([(box[:2] + box[2:4]) / 2 for box in boxes])
        expected = -np.array(SHIFTS[:8]) * 240 / 260
        np.testing.assert_allclose(moved - moved[0], expected, atol=3)
        assert len(set(boxes[:, 4])) == 1


class TestSmoothing:
    def test_a_shaken_still_face_varies_less(self, tmp_path, monkeypatch):
        random = np.random.default_rng(0)
        still = pan([(0, 0)])[0]
        noisy = [
            np.clip(still + random.normal(scale=12, size=still.shape), 0, 255).astype(np.uint8)
            for _ in range(25)
        ]
        path = write_video(tmp_path / "noisy.avi", noisy)
        jitter = {}
        for smooth in (False, True):
            frames = list(predict_video(path, smooth=smooth, progress=False))
            jitter[smooth] = np.std([frame[0].landmarks[:, :2] for frame in frames[8:]], axis=0).mean()
        assert jitter[True] < 0.7 * jitter[False]


class TestTable:
    def test_it_has_a_row_for_each_face_and_frame(self, video):
        table = video.to_dataframe()
        assert list(table.columns) == [
            *("frame", "seconds", "track", "left", "top", "right", "bottom", "score"),
            *("yaw", "pitch", "roll", "mouth_opening", "eye_opening", "failure_probability"),
        ]
        assert table["frame"].tolist() == list(range(12))
        faces = [frame[0] for frame in video]
        np.testing.assert_allclose(table["yaw"], [face.pose.yaw for face in faces])
        lips = [
            np.linalg.norm(np.diff(face.model.landmarks(face.identity, face.expression)[[62, 66]], axis=0))
            for face in faces
        ]
        np.testing.assert_allclose(table["mouth_opening"], lips, rtol=1e-4)
        assert table["failure_probability"].notna().tolist() == [n in (0, 9) for n in range(12)]

    def test_an_open_mouth_is_seen(self):
        """In the sample clip the first person speaks from 1 to 2 seconds."""
        table = predict_video(SAMPLES / "two_people.mp4", every=2, max_faces=1, progress=False).to_dataframe()
        speaking = table["seconds"].between(1.1, 1.9)
        assert table[speaking]["mouth_opening"].max() > 4 * table[~speaking]["mouth_opening"].median()


class TestOverlay:
    def test_the_video_is_written_with_layers_and_its_own_times(self, video, tmp_path):
        path = video.save_overlay(tmp_path / "out.mp4")
        written = list(VideoReader(path))
        assert len(written) == 12
        for frame, one in zip(video, written, strict=True):
            drawn = np.abs(one.image.astype(float) - frame.image).mean(axis=2) > 40
            points = np.rint(frame[0].landmarks[:, :2]).astype(int)
            assert drawn[points[:, 1], points[:, 0]].mean() > 0.5
            assert drawn[:20].mean() < 0.05

    def test_without_layers_the_pictures_stay(self, video, tmp_path):
        path = video.save_overlay(tmp_path / "out.mp4", landmarks=False, pose=False)
        for frame, one in zip(video, VideoReader(path), strict=True):
            assert np.abs(one.image.astype(float) - frame.image).mean() < 6

    def test_a_wrong_layer_is_refused_before_work_begins(self, video, tmp_path):
        with pytest.raises(TypeError, match="landmarks: expected True or False"):
            video.save_overlay(tmp_path / "out.mp4", landmarks="yes")
        assert not list(tmp_path.iterdir())


class TestArguments:
    def test_what_is_no_path_and_no_camera_is_refused(self):
        with pytest.raises(TypeError, match="expected the path of a video, or the number of a camera"):
            predict_video(np.zeros((3, 48, 64, 3), np.uint8))
        with pytest.raises(TypeError, match="expected the path of a video"):
            predict_video(True)

    def test_turns_are_refused(self, panned):
        with pytest.raises(ValueError, match="try_turns: expected False, because a video is read upright"):
            predict_video(panned, try_turns=True)

    def test_a_wrong_step_is_refused(self, panned):
        with pytest.raises(ValueError, match="every: expected a whole number of at least 1"):
            predict_video(panned, every=0)

    def test_a_missing_camera_is_an_error_at_once(self):
        with pytest.raises(VideoError, match="expected a camera, found none"):
            predict_video(99)


def test_a_camera_is_read_once_and_then_has_a_table(panned, monkeypatch):
    """OpenCV reads a file in place of the camera."""
    from m4kit.video import files

    monkeypatch.setattr(files, "_open_camera", lambda number: files._open_file(panned))
    video = predict_video(0, progress=False)
    frames = [frame.frame for frame, _ in zip(video, range(4), strict=False)]
    assert frames == [0, 1, 2, 3]
    assert video.to_dataframe()["frame"].tolist()[:4] == frames
    with pytest.raises(VideoError, match="a camera's frames are not kept; call predict_video again"):
        list(video)


def test_doubles_end(panned):
    """Two boxes of one face begin two tracks, of which the older one stays."""
    detector = Detector()

    def twice(image):
        (box,) = detector(image)
        return np.array([box, np.add(box, [30, 30, 30, 30, 0])])

    frames = list(predict_video(panned, detector=twice, progress=False))
    assert [len(frame) for frame in frames] == [1] * 12

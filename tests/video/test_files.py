"""Videos are read upright with the times of their frames; what cannot be read says why and what to do."""

import os

import cv2
import numpy as np
import pytest

from m4kit.video import files
from m4kit.video.files import VideoError, VideoReader, video_writer

from helpers.paths import SAMPLES
from helpers.videos import greys, turned_by_tag, with_durations, write_video


@pytest.fixture
def mp4(tmp_path):
    return write_video(tmp_path / "greys.mp4", greys())


@pytest.fixture
def avi(tmp_path):
    return write_video(tmp_path / "greys.avi", greys())


def write_frames(path, pictures, *, numbers=None):
    """Write pictures as the frames of these numbers, by default 0, 1, 2, ..."""
    with video_writer(path, size=pictures[0].shape[1::-1], fps=25) as write:
        for number, picture in zip(numbers or range(len(pictures)), pictures, strict=True):
            write(picture, number / 25)


def read(path, **options):
    return list(VideoReader(path, **options))


class TestReading:
    @pytest.mark.parametrize("name", ["greys.mp4", "greys.avi"])
    def test_frames_come_in_order_with_number_time_and_picture(self, tmp_path, name):
        frames = read(write_video(tmp_path / name, greys()))
        assert [frame.number for frame in frames] == list(range(10))
        np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(10) / 25, atol=1e-6)
        np.testing.assert_allclose([frame.image.mean() for frame in frames], 20 * np.arange(10) + 10, atol=4)
        assert frames[0].image.shape == (48, 64, 3)
        assert frames[0].image.dtype == np.uint8

    def test_colours_are_rgb(self, tmp_path):
        red = np.zeros((48, 64, 3), np.uint8)
        red[..., 0] = 200
        (frame,) = read(write_video(tmp_path / "red.avi", [red]))
        assert frame.image[..., 0].mean() > 150 > frame.image[..., 2].mean()

    def test_only_every_third_frame_is_decoded_with_its_own_number_and_time(self, mp4):
        frames = read(mp4, every=3)
        assert [frame.number for frame in frames] == [0, 3, 6, 9]
        np.testing.assert_allclose([frame.seconds for frame in frames], [0, 0.12, 0.24, 0.36], atol=1e-6)
        np.testing.assert_allclose([frame.image.mean() for frame in frames], [10, 70, 130, 190], atol=4)

    def test_a_reader_knows_name_size_rate_and_number_of_frames(self, mp4):
        reader = VideoReader(mp4)
        assert (reader.name, reader.size, reader.fps, reader.count) == (str(mp4), (64, 48), 25, 10)

    def test_a_rotation_tag_is_obeyed(self, mp4, tmp_path):
        # The left half is white. Turned clockwise by 90 degrees, the upper half is.
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:, :32] = 255
        flat = write_video(tmp_path / "flat.mp4", [picture] * 3)
        reader = VideoReader(turned_by_tag(flat, tmp_path / "turned.mp4"))
        assert reader.size == (48, 64)
        image = next(iter(reader)).image
        assert image.shape == (64, 48, 3)
        assert (image[:28].mean(), image[36:].mean()) == pytest.approx((255, 0), abs=20)

    def test_times_follow_a_variable_frame_rate(self, mp4, tmp_path):
        lasts = [1, 1, 3, 1, 10, 1, 1, 2, 1, 1]
        frames = read(with_durations(mp4, tmp_path / "variable.mp4", lasts))
        expected = np.concatenate([[0], np.cumsum(lasts)[:-1]]) / 25
        np.testing.assert_allclose([frame.seconds for frame in frames], expected, atol=1e-3)

    def test_frames_of_another_size_are_scaled_to_the_first(self, tmp_path):
        pictures = greys(3) + greys(2, size=(96, 96))
        stream = b"".join(cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures)
        path = tmp_path / "sizes.mjpeg"
        path.write_bytes(stream)
        assert [frame.image.shape for frame in read(path)] == [(48, 64, 3)] * 5

    @pytest.mark.skipif(os.name == "nt", reason="names are text there")
    def test_names_of_any_kind_are_read_and_written(self, tmp_path):
        for name in (b"two words.mp4", b"a'b\"\n%03d.mp4", b"caf\xe9.mp4"):
            path = tmp_path / os.fsdecode(name)
            write_frames(path, greys())
            assert len(read(path)) == 10
        assert len(list(tmp_path.iterdir())) == 3

    def test_an_animated_gif_is_a_video(self, tmp_path):
        from PIL import Image

        frames = [Image.fromarray(picture) for picture in greys(4)]
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
        np.testing.assert_allclose(
            [frame.seconds for frame in read(tmp_path / "a.gif")], np.arange(4) / 10, atol=0.011
        )


class TestBadInput:
    def test_a_broken_end_keeps_the_frames_before_it_and_warns(self, avi):
        whole = avi.read_bytes()
        avi.write_bytes(whole[: len(whole) * 8 // 10])
        frames = []
        with pytest.warns(UserWarning, match=r"ends after frame \d of 10, .* Copy or download it again"):
            for frame in VideoReader(avi):
                frames.append(frame)
        assert 3 <= len(frames) < 10

    def test_a_whole_video_does_not_warn(self, mp4, avi, tmp_path):
        assert len(read(with_durations(mp4, tmp_path / "variable.mp4", [4] * 5 + [1] * 5))) == 10

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda path: None, "expected a video, found nothing there; check the path"),
            (lambda path: path.mkdir(), "expected a video, got a folder; give one of its files"),
            (lambda path: path.write_bytes(b""), "got an empty file .0 bytes.; save or download it again"),
            (lambda path: path.write_bytes(b"hello " * 99), "got another kind of file; give an .mp4"),
        ],
    )
    def test_what_is_no_video_is_refused(self, tmp_path, make, message):
        path = tmp_path / "clip.mp4"
        make(path)
        with pytest.raises(VideoError, match=message):
            VideoReader(path)

    def test_a_photo_is_sent_to_predict(self):
        with pytest.raises(VideoError, match=r"got a photo; m4kit\.predict reads it"):
            VideoReader(SAMPLES / "astronaut.jpg")

    def test_a_video_that_lacks_its_index_is_refused_with_a_remedy(self, mp4):
        whole = mp4.read_bytes()
        mp4.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(
            VideoError, match=r"one that is broken, .*; try it in a video player, and convert it"
        ):
            VideoReader(mp4)

    def test_a_missing_codec_is_refused_with_a_remedy(self, avi):
        avi.write_bytes(avi.read_bytes().replace(b"MJPG", b"ZZZZ"))
        with pytest.raises(VideoError, match=r"has a codec that is missing here; .* `ffmpeg -i IN OUT\.mp4`"):
            VideoReader(avi)

    def test_a_video_without_frames_is_refused(self, tmp_path):
        with pytest.raises(VideoError, match="expected a video with frames, got one without; convert it"):
            VideoReader(write_video(tmp_path / "none.avi", [], size=(64, 48)))

    def test_a_video_without_a_frame_rate_is_refused(self, avi, monkeypatch):
        class Rateless:
            def __init__(self, *options):
                self._capture = cv2.VideoCapture(*options)

            def get(self, what):
                return 0.0 if what == cv2.CAP_PROP_FPS else self._capture.get(what)

            def __getattr__(self, name):
                return getattr(self._capture, name)

        monkeypatch.setattr(files, "_open_file", lambda path: Rateless(str(path), cv2.CAP_FFMPEG))
        with pytest.raises(VideoError, match=r"frame rate above 0 and up to 1000, got 0; .* `ffmpeg -r 25"):
            VideoReader(avi)

    def test_a_camera_that_is_not_there_is_refused(self):
        with pytest.raises(VideoError, match="camera 99: expected a camera, found none; connect one"):
            VideoReader(99)


class TestWriting:
    @pytest.mark.parametrize("ending", [".mp4", ".avi", ".mkv", ".webm"])
    def test_what_is_written_is_read_again(self, tmp_path, ending):
        path = tmp_path / f"out{ending}"
        write_frames(path, greys())
        frames = read(path)
        np.testing.assert_allclose([frame.image.mean() for frame in frames], 20 * np.arange(10) + 10, atol=4)
        assert [one.name for one in tmp_path.iterdir()] == [path.name]

    def test_a_picture_stays_until_the_next_ones_time(self, tmp_path):
        write_frames(tmp_path / "out.avi", greys(4), numbers=(0, 1, 4, 5))
        means = [frame.image.mean() for frame in read(tmp_path / "out.avi")]
        np.testing.assert_allclose(means, [10, 30, 30, 30, 50, 70], atol=4)

    def test_odd_sizes_are_written(self, tmp_path):
        write_frames(tmp_path / "out.mp4", greys(1, size=(63, 47)))
        (frame,) = read(tmp_path / "out.mp4")
        assert frame.image.mean() == pytest.approx(10, abs=4)

    def test_a_failure_leaves_the_old_file(self, tmp_path):
        path = tmp_path / "out.avi"
        path.write_bytes(b"old")
        with pytest.raises(RuntimeError), video_writer(path, size=(64, 48), fps=25) as write:
            write(greys(1)[0], 0)
            raise RuntimeError
        assert path.read_bytes() == b"old"
        assert [one.name for one in tmp_path.iterdir()] == ["out.avi"]

    def test_a_full_disk_is_said_and_leaves_the_old_file(self, tmp_path):
        resource = pytest.importorskip("resource")
        path = tmp_path / "out.avi"
        path.write_bytes(b"old")
        pictures = np.random.default_rng(0).integers(0, 255, (50, 48, 64, 3), np.uint8)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        # No file can be larger: OpenCV's writes fail.
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        try:
            with pytest.raises(VideoError, match=r"out\.avi: File too large; make room, and save it again"):
                write_frames(path, pictures)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert path.read_bytes() == b"old"
        assert [one.name for one in tmp_path.iterdir()] == ["out.avi"]

    def test_another_ending_and_a_missing_folder_are_refused(self, tmp_path):
        with pytest.raises(VideoError, match=r"expected a name that ends in \.mp4, \.webm, \.avi, \.mkv"):
            write_frames(tmp_path / "out.gif", greys(1))
        with pytest.raises(VideoError, match="expected an existing folder"):
            write_frames(tmp_path / "no" / "out.mp4", greys(1))

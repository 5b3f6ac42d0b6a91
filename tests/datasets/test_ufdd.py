"""UFDD's list of boxes, with pictures in folders named by their condition."""

import numpy as np
import pytest

from m4kit.datasets import DatasetError
from m4kit.datasets.ufdd import read_ufdd
from m4kit.scenes.data import scene_photos

from helpers.face_sets import picture, zipped

THE_SEVEN = "focus, haze, illumination, lens, motion, snow, rain"


def write_ufdd(folder, text, *, pictures):
    """A set as UFDD comes: pictures, the list elsewhere, and a text to read beside it."""
    for name in pictures:
        picture(folder / "UFDD_val" / "images" / name)
    listing = folder / "UFDD-annotationfile" / "UFDD_split" / "UFDD_val_bbx_gt.txt"
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text(text)
    (folder / "README.txt").write_text("Read me.")
    return folder


class TestUfdd:
    TEXT = "haze/h1.jpg\n2\n10 20 30 40\n50 60 20 25 0 0 0 0 0 0\nrain/r1.jpg\n1\n1 2 30 31\n"

    @pytest.mark.parametrize("given", ["folder", "zip"])
    def test_a_box_is_a_face_and_its_folder_the_condition(self, tmp_path, given):
        folder = write_ufdd(tmp_path / "set", self.TEXT, pictures=["haze/h1.jpg", "rain/r1.jpg"])
        samples = read_ufdd(zipped(folder) if given == "zip" else folder)
        assert [(one.name, one.condition) for one in samples] == [
            ("haze/h1#1", "haze"),
            ("haze/h1#2", "haze"),
            ("rain/r1", "rain"),
        ]
        # Pixels 10 to 39 reach from 9.5 to 39.5.
        np.testing.assert_allclose(samples[0].box, [9.5, 19.5, 39.5, 59.5])
        assert samples[0].image().shape == (150, 160, 3)
        assert samples[0].severity is None
        assert all(one.all_labelled for one in samples)

    def test_photos_without_a_face_are_there_to_raise_false_alarms(self, tmp_path):
        text = "distractors/d1.jpg\n0\n0 0 0 0 0 0 0 0 0 0\nsnow/s1.jpg\n0\n"
        folder = write_ufdd(tmp_path, text, pictures=["distractors/d1.jpg", "snow/s1.jpg"])
        samples = read_ufdd(folder)
        assert [(one.condition, one.box, one.all_labelled) for one in samples] == [
            ("distractor", None, True),
            ("snow", None, True),
        ]
        assert [len(photo.faces) for photo in scene_photos(samples)] == [0, 0]

    def test_missing_photos_and_boxes_of_zero_size_are_left_out_and_named(self, tmp_path):
        text = "haze/gone.jpg\n1\n1 2 3 4\nhaze/h1.jpg\n2\n10 20 0 40\n10 20 30 40\n"
        folder = write_ufdd(tmp_path, text, pictures=["haze/h1.jpg"])
        named = r"2 faces left out: haze/gone \(no picture\), haze/h1 \(expected a box .* 10.0, 60.0\]\)"
        with pytest.warns(UserWarning, match=named) as caught:
            samples = read_ufdd(folder)
        assert caught[0].filename == __file__
        assert [one.name for one in samples] == ["haze/h1"]
        # The face of the lost box is still in the photo, so finding it is no false alarm.
        assert not samples[0].all_labelled

    @pytest.mark.parametrize(
        ("lines", "reason"),
        [
            ("haze/h1.jpg\n2\n1 2 3 4\n", "expected 2 lines of x y w h, got 1 lines"),
            ("haze/h1.jpg\n1\n1 2 3\n", "expected 1 lines of x y w h"),
            ("haze/h1.jpg\n1\n1 2 3 x\n", "expected numbers"),
            ("haze/h1.jpg\n", "expected a count of boxes, found none"),
            ("fog/h1.jpg\n1\n1 2 3 4\n", f"expected a folder out of {THE_SEVEN}, distractor"),
        ],
    )
    def test_a_picture_with_broken_lines_is_left_out_and_named(self, tmp_path, lines, reason):
        text = lines + "rain/r1.jpg\n1\n1 2 3 4\n"
        folder = write_ufdd(tmp_path, text, pictures=["haze/h1.jpg", "fog/h1.jpg", "rain/r1.jpg"])
        with pytest.warns(UserWarning, match=reason):
            assert [one.name for one in read_ufdd(folder)] == ["rain/r1"]

    def test_a_face_marked_invalid_is_passed_over_but_may_be_found(self, tmp_path):
        text = "haze/h1.jpg\n2\n1 2 30 40 0 0 0 1 0 0\n50 60 20 25 0 0 0 0 0 0\n"
        (sample,) = read_ufdd(write_ufdd(tmp_path, text, pictures=["haze/h1.jpg"]))
        assert sample.box[0] == 49.5
        assert not sample.all_labelled

    def test_a_list_of_other_bytes_is_an_error_that_names_it(self, tmp_path):
        folder = write_ufdd(tmp_path, "", pictures=["haze/h1.jpg"])
        (folder / "a_bbx_gt.txt").write_bytes("haze/Größe.jpg\n0\n".encode("latin1"))
        with pytest.raises(DatasetError, match=r"a_bbx_gt\.txt: expected UTF-8 text, .*; save it as UTF-8"):
            read_ufdd(folder, member="a_bbx_gt.txt")

    def test_several_lists_none_and_no_list_at_all_are_errors(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="_bbx_gt"):
            read_ufdd(tmp_path / "nowhere")
        picture(tmp_path / "none" / "haze" / "a.jpg")
        with pytest.raises(DatasetError, match="_bbx_gt"):
            read_ufdd(tmp_path / "none")
        folder = write_ufdd(tmp_path / "two", self.TEXT, pictures=["haze/h1.jpg", "rain/r1.jpg"])
        (folder / "UFDD_test_bbx_gt.txt").write_text("rain/r1.jpg\n0\n")
        with pytest.raises(DatasetError, match=r"found 2: .*`member`"):
            read_ufdd(folder)
        assert len(read_ufdd(folder, member="UFDD_test_bbx_gt.txt")) == 1
        (folder / "UFDD_test_bbx_gt.txt").write_text("Read me first\n")
        with pytest.raises(DatasetError, match=r"expected a picture's name in the first line, got 'Read me"):
            read_ufdd(folder, member="UFDD_test_bbx_gt.txt")

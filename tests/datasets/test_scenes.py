"""Photos in folders named by condition, and tables of photos and conditions."""

import numpy as np
import pytest

from m4kit.datasets import DatasetError
from m4kit.datasets.scenes import read_condition_folders, read_scene_table

from helpers.face_sets import picture
from helpers.faces import CROP_OF_POINTS, points68

THE_SEVEN = "focus, haze, illumination, lens, motion, snow, rain"


class TestConditionFolders:
    def test_photos_get_their_folders_condition_and_the_clean_one_of_their_name(self, tmp_path):
        for name in ("Haze/a.jpg", "rain/heavy/b.jpg", "clean/a.jpg"):
            picture(tmp_path / name)
        samples = {one.name: one for one in read_condition_folders(tmp_path)}
        assert {name: one.condition for name, one in samples.items()} == {
            "Haze/a": "haze",
            "clean/a": None,
            "rain/heavy/b": "rain",
        }
        assert samples["Haze/a"].clean == "clean/a"
        assert samples["Haze/a"].clean_image().shape == (150, 160, 3)
        assert samples["rain/heavy/b"].clean is None

    def test_photos_that_share_a_stem_have_each_its_own_clean_one(self, tmp_path):
        names = ["a.jpg", "a.png", "trip#1.jpg", "trip#2.jpg"]
        for folder in ("clean", "haze"):
            for name in names:
                picture(tmp_path / folder / name)
        samples = [one for one in read_condition_folders(tmp_path) if one.condition]
        assert [(one.name, one.clean) for one in samples] == [
            (f"haze/{name}", f"clean/{name}") for name in names
        ]

    def test_truth_lies_beside_the_photos_as_a_reader_of_datasets_has_it(self, tmp_path):
        points = "\n".join(f"{x + 1} {y + 1}" for x, y in points68())
        for name in ("haze/a", "snow/a"):
            picture(tmp_path / f"{name}.jpg")
            (tmp_path / f"{name}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{points}\n}}\n")
        samples = read_condition_folders(tmp_path, layout="pts", all_labelled=True)
        assert [one.condition for one in samples] == ["haze", "snow"]
        np.testing.assert_allclose(samples[0].landmarks, points68(), atol=1e-5)
        np.testing.assert_allclose(samples[0].crop, CROP_OF_POINTS, atol=1e-5)
        assert samples[0].all_labelled

    def test_photos_elsewhere_are_left_out_and_no_condition_at_all_names_the_seven(self, tmp_path):
        picture(tmp_path / "haze" / "a.jpg")
        picture(tmp_path / "b.jpg")
        with pytest.warns(UserWarning, match=r"1 face left out: b \(no condition's folder\)"):
            assert len(read_condition_folders(tmp_path)) == 1
        picture(tmp_path / "other" / "fog" / "a.jpg")
        with (
            pytest.warns(UserWarning, match="fog/a"),
            pytest.raises(DatasetError, match=f"expected photos in folders named {THE_SEVEN}"),
        ):
            read_condition_folders(tmp_path / "other")
        (tmp_path / "empty").mkdir()
        with pytest.raises(DatasetError, match="expected pictures, found none"):
            read_condition_folders(tmp_path / "empty")


class TestTable:
    def _read(self, folder, text, **options):
        for name in ("a.jpg", "b.jpg", "clean/a.jpg"):
            picture(folder / name)
        (folder / "scenes.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_scene_table(folder / "scenes.csv", **options)

    def test_a_row_is_a_photo_or_a_face(self, tmp_path):
        text = (
            "path;condition;severity;seed;clean;left;top;right;bottom\n"
            "a.jpg;haze;2.5;7;clean/a.jpg;1;2;31;42\na.jpg;Haze;2.5;7;clean/a.jpg;50;2;80;42\n\nb.jpg;;;;;;;;\n"
        )
        first, second, third = self._read(tmp_path, text, all_labelled=True)
        assert (first.name, second.name, third.name) == ("a#1", "a#2", "b")
        assert (first.condition, first.severity, first.seed, first.clean) == ("haze", 2.5, 7, "clean/a")
        np.testing.assert_allclose(second.box, [50, 2, 80, 42])
        assert first.clean_image().shape == (150, 160, 3)
        assert (third.condition, third.severity, third.seed, third.box) == (None, None, None, None)
        assert first.all_labelled

    def test_photos_that_share_a_stem_keep_their_endings(self, tmp_path):
        picture(tmp_path / "b.png")
        text = "path,condition,clean\nb.jpg,haze,b.png\nb.png,,\na.jpg,haze,clean/a.jpg\n"
        samples = self._read(tmp_path, text)
        assert [(one.name, one.clean) for one in samples] == [
            ("b.jpg", "b.png"),
            ("b.png", None),
            ("a", "clean/a"),
        ]

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ("gone.jpg,haze,1,,,,", "no picture"),
            ("b.jpg,haze,1,5,5,5,9", "expected a box with left < right"),
            ("b.jpg,haze,1,5,5,x,9", "expected numbers"),
        ],
    )
    def test_broken_rows_are_left_out_and_named(self, tmp_path, row, reason):
        text = f"path,condition,severity,left,top,right,bottom\na.jpg,haze,1,1,2,3,4\n{row}\n"
        with pytest.warns(UserWarning, match=rf"1 face left out: \w+ \({reason}"):
            assert [one.name for one in self._read(tmp_path, text)] == ["a"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("path,condition\na.jpg,fog\n", f"row 2: expected a condition out of {THE_SEVEN}, got 'fog'"),
            (
                "path,condition,severity\na.jpg,haze,6\n",
                "row 2: expected a severity from 0 to 5, got 6",
            ),
            (
                "path,condition,severity\na.jpg,haze,bad\n",
                "row 2: expected a severity from 0 to 5, got 'bad'",
            ),
            ("path,weather\na.jpg,haze\n", "expected columns path and condition, got path, weather"),
            ("", "expected columns path and condition, got an empty file"),
            (b"path,condition,Gr\xf6\xdfe\na.jpg,haze,1\n", r"expected UTF-8 text, .*; save it as UTF-8"),
            ('path,condition\n"' + "a" * 140_000, r"expected a CSV, got a broken file .*; check its quotes"),
        ],
    )
    def test_a_table_with_mistakes_is_an_error_that_says_where(self, tmp_path, text, message):
        with pytest.raises(DatasetError, match=rf"scenes\.csv(, |: ){message}"):
            self._read(tmp_path, text)

"""Hard scenes as data: UFDD's list, folders named by condition, tables, and clean photos degraded when read."""

import numpy as np
import pytest

from m4kit.conditions import degrade, landmark_depth, scene_depth
from m4kit.datasets import DatasetError, Sample
from m4kit.datasets.scenes import read_condition_folders, read_scene_table
from m4kit.datasets.ufdd import read_ufdd
from m4kit.images import ImageError
from m4kit.predictor import predict
from m4kit.scenes.data import benchmark, scene_photos

from helpers.face_sets import picture, zipped
from helpers.faces import CROP_OF_POINTS, points68
from helpers.paths import SAMPLES

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

    def test_photos_that_share_a_stem_keep_their_endings(self, tmp_path):
        text = "haze/h1.jpg\n1\n10 20 30 40\nhaze/h1.png\n1\n50 60 20 25\n"
        folder = write_ufdd(tmp_path, text, pictures=["haze/h1.jpg", "haze/h1.png"])
        assert [one.name for one in read_ufdd(folder)] == ["haze/h1.jpg", "haze/h1.png"]

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
                "row 2: expected a number as severity, got 'bad'",
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


class TestBenchmark:
    def test_every_photo_comes_in_every_version_and_none_is_read_before_it_is_asked_for(self):
        def never():
            raise AssertionError("read too early")

        samples = benchmark([Sample("a", never)], None, ("haze", "rain"), (1, 2.5), (0, 1))
        assert [one.name for one in samples][:3] == ["a/haze-1-0", "a/haze-1-1", "a/haze-2.5-0"]
        assert len(samples) == 8
        assert {(one.condition, one.severity) for one in samples} == {
            (condition, severity) for condition in ("haze", "rain") for severity in (1, 2.5)
        }
        with pytest.raises(AssertionError, match="read too early"):
            samples[0].image()

    def test_a_version_is_what_degrade_makes_with_the_samples_seed(self):
        photo = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
        samples = benchmark([photo, photo], conditions=["snow"], severities=[2], seeds=[0, 1])
        for sample in samples:
            np.testing.assert_array_equal(sample.image(), degrade(photo, "snow", 2, seed=sample.seed))
            np.testing.assert_array_equal(sample.clean_image(), photo)
        # Two photos alike do not get the same flakes, and neither do two seeds.
        assert len({one.seed for one in samples}) == 4
        again = benchmark([photo, photo], conditions=["snow"], severities=[2], seeds=[0, 1])
        assert [one.seed for one in again] == [one.seed for one in samples]

    def test_what_is_known_of_a_clean_photo_holds_for_its_versions(self):
        truth = points68()
        images = [Sample(f"a#{k}", lambda: None, landmarks=truth + 10 * k, box=np.arange(4)) for k in (1, 2)]
        samples = benchmark(images, conditions=["focus"], severities=[1], all_labelled=True)
        assert [one.name for one in samples] == ["a/focus-1-0#1", "a/focus-1-0#2"]
        np.testing.assert_array_equal(samples[1].landmarks, truth + 20)
        (photo,) = scene_photos(samples)
        assert (photo.clean, photo.condition, photo.severity) == ("a", "focus", 1)
        assert photo.all_labelled
        np.testing.assert_array_equal(photo.boxes, [np.arange(4)] * 2)

    def test_the_faces_of_a_prediction_stand_before_the_haze_and_are_the_truth(self):
        prediction = predict(SAMPLES / "astronaut.jpg")
        (sample,) = benchmark([SAMPLES / "astronaut.jpg"], [prediction], ["haze"], [3])
        depth = scene_depth(prediction.image.shape, prediction.faces)
        expected = degrade(prediction.image, "haze", 3, seed=sample.seed, depth=depth)
        np.testing.assert_array_equal(sample.image(), expected)
        np.testing.assert_array_equal(sample.landmarks, prediction[0].landmarks)
        assert sample.pose == prediction[0].pose
        assert sample.clean == "astronaut"

    def test_the_faces_of_labelled_samples_stand_before_the_haze(self):
        photo = np.random.default_rng(0).integers(0, 256, (150, 160, 3), np.uint8)
        points = [points68(), points68(left=5, width=20, height=15)]
        faces = [Sample(f"a#{k}", photo.copy, landmarks=one) for k, one in enumerate(points, start=1)]
        sample, _ = benchmark(faces, conditions=["haze"], severities=[3])
        depth = landmark_depth(photo.shape, points)
        expected = degrade(photo, "haze", 3, seed=sample.seed, depth=depth)
        np.testing.assert_array_equal(sample.image(), expected)
        assert (expected != degrade(photo, "haze", 3, seed=sample.seed)).any()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"conditions": ["fog"]}, f"out of {THE_SEVEN}, got 'fog'"),
            ({"conditions": "haze"}, "expected a sequence of conditions"),
            ({"severities": [1, 6]}, "severity from 0 to 5, got 6"),
            ({"severities": [float("nan")]}, "severity from 0 to 5"),
            ({"severities": []}, "severities without repeats"),
            ({"seeds": [1, 1]}, "seeds without repeats"),
            ({"truth": []}, "expected a truth for each of 1 images, got 0"),
        ],
    )
    def test_wrong_input_is_an_error_at_once(self, options, message):
        with pytest.raises(ValueError, match=message):
            benchmark([np.zeros((4, 4, 3), np.uint8)], **options)

    def test_no_image_is_an_error(self, tmp_path):
        with pytest.raises(DatasetError, match="expected at least one photo"):
            benchmark([])
        with pytest.raises(DatasetError, match="put it in a list"):
            benchmark(np.zeros((4, 4, 3), np.uint8))
        with pytest.raises(DatasetError, match="expected pictures, found none"):
            benchmark(tmp_path)


class TestPhotos:
    def test_a_folder_a_zip_files_and_samples_are_photos(self, tmp_path):
        files = [picture(tmp_path / "set" / name, grey=60) for name in ("a.jpg", "more/a.jpg", "b.png")]
        assert [photo.name for photo in scene_photos(tmp_path / "set")] == ["a", "b", "more/a"]
        names = [photo.name for photo in scene_photos(files)]
        assert names == [files[0].as_posix(), files[1].as_posix(), "b"]
        assert scene_photos(files[0])[0].image().mean() == pytest.approx(60, abs=1)
        assert [photo.name for photo in scene_photos(zipped(tmp_path / "set"))] == ["a", "b", "more/a"]

    def test_photos_that_share_a_stem_stay_apart(self, tmp_path):
        names = ["a.jpg", "a.png", "trip#1.jpg", "trip#2.jpg"]
        files = [picture(tmp_path / name) for name in names]
        for source in (str(tmp_path), files):
            assert [photo.name for photo in scene_photos(source)] == names
            versions = benchmark(source, conditions=["haze"], severities=[1])
            assert [photo.clean for photo in scene_photos(versions)] == names

    def test_what_is_no_photo_is_an_error(self, tmp_path):
        with pytest.raises(DatasetError, match="expected pictures, found none"):
            scene_photos(tmp_path)
        with pytest.raises(ImageError, match="nowhere"):
            scene_photos(tmp_path / "nowhere.jpg")
        with pytest.raises(DatasetError, match="got a sequence of int"):
            scene_photos([1, 2])


def test_reading_pictures_of_a_benchmark_tells_of_broken_ones(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    (sample,) = benchmark(tmp_path, conditions=["haze"], severities=[1])
    with pytest.raises(ImageError, match=r"a\.jpg"):
        sample.image()

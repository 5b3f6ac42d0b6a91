"""Photos of hard scenes, and clean photos that are degraded when they are read."""

import numpy as np
import pytest

from m4kit.conditions import degrade, landmark_depth, scene_depth
from m4kit.datasets import DatasetError, Sample
from m4kit.images import ImageError
from m4kit.predictor import predict
from m4kit.scenes.data import benchmark, scene_photos

from helpers.face_sets import picture, zipped
from helpers.faces import points68
from helpers.paths import SAMPLES

THE_SEVEN = "focus, haze, illumination, lens, motion, snow, rain"


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

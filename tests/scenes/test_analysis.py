"""`analyse` against known errors, and an analysis that continues after a stop."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from m4kit.camera import HeadPose, crop_from_landmarks, cut_crop
from m4kit.confidence.failure import ALL, packaged
from m4kit.datasets import DatasetError, Sample
from m4kit.detector import Detector
from m4kit.images import ImageError
from m4kit.network import M4Net
from m4kit.predictor import Predictor
from m4kit.scenes.analysis import analyse
from m4kit.scenes.analyst import _drift, match
from m4kit.scenes.data import benchmark
from m4kit.scenes.journal import FILE
from m4kit.scenes.report import SceneReport
from m4kit.scenes.report_data import ReportError

from helpers.predictors import boxed


@pytest.fixture(scope="module")
def fixed(clean, predictor):
    """Finds the face in every photo, at the same place."""
    return boxed(predictor, np.asarray(clean[0].box))


def scene(photo, name="a", **fields):
    return Sample(name, lambda: photo, **fields)


def broken():
    raise ImageError("x.jpg: expected an image, got noise")


class TestWithTruth:
    def test_severity_0_has_no_error_and_no_drift(self, photo, clean, predictor):
        report = analyse(benchmark([photo], [clean], ["focus"], [0, 5]), predictor=predictor, progress=False)
        faces = report.faces
        assert faces["severity"].tolist() == [0, 5]
        for name in ("nme", "pose_error", "landmark_drift", "mesh_drift", "shape_drift", "pose_drift"):
            assert faces[name][0] == pytest.approx(0, abs=1e-9)
            assert 0 < faces[name][1] < 10
        # The clean photo's answer is the truth here.
        np.testing.assert_allclose(faces["nme"], faces["landmark_drift"], atol=1e-9)
        assert pd.isna(faces["failures"][0])
        assert report.photos["recall"].tolist() == [1, 1]
        assert (report.photos["reference"] == "truth").all()
        assert faces["sharpness"][1] < 0.8 * faces["sharpness"][0]
        assert report.thumbnail(1).shape == (120, 120, 3)
        np.testing.assert_allclose(
            report.thumbnail(0).astype(float).mean(axis=(0, 1)),
            cut_crop(photo, clean[0].crop).mean(axis=(0, 1)),
            atol=1.5,
        )

    def test_severity_0_is_predicted_once_and_has_a_row_in_each_condition(self, photo, clean, fixed):
        seen = []

        def detector(image):
            seen.append(image)
            return fixed.detector(image)

        counting = Predictor(detector=detector, network=fixed.network, model=fixed.model)
        scenes = benchmark([photo], [clean], ["focus", "rain"], [0, 3])
        faces = analyse(scenes, predictor=counting, progress=False).faces
        assert len(seen) == 3
        assert faces["severity"].tolist() == [0, 3, 0, 3]
        for name in ("nme", "jitter_consistency", "checked_failure_probability", "edge_agreement"):
            values = faces[name]
            assert np.array_equal(values[0], values[2], equal_nan=True)
            assert values[1] != values[3]

    def test_known_errors_are_measured(self, photo, fixed):
        face = fixed(photo)[0]
        moved = face.landmarks[:, :2] + [6, 8]
        pose = HeadPose(face.pose.yaw + 18, face.pose.pitch, float("nan"))
        report = analyse([scene(photo, landmarks=moved, pose=pose)], predictor=fixed, progress=False)
        row = report.faces.iloc[0]
        size = np.sqrt(np.ptp(moved, axis=0).prod())
        assert row["nme"] == pytest.approx(1000 / size)
        for group in ("jaw", "brows", "nose", "eyes", "lips"):
            assert row[f"error_{group}"] == pytest.approx(1000 / size)
        assert row["pose_error"] == pytest.approx(9)
        right = crop_from_landmarks(moved)
        centre = [crop[k] + crop.size / 2 for crop in (face.crop, right) for k in (0, 1)]
        assert row["crop_shift"] == pytest.approx(np.hypot(*np.subtract(centre[:2], centre[2:])) / right.size)
        assert row["crop_scale"] == pytest.approx(face.crop.size / right.size)
        assert (row["pose_reference"], row["landmark_reference"]) == ("truth", "truth")
        judged, _, last = str(row["failures"]).rpartition("; ")
        # The photo is plain, and the system cannot know that the truth was moved.
        assert last == "confident though wrong"
        labels, _, groups = judged.rpartition(": ")
        assert labels == "wrong scale or crop; pose off; landmarks drifted"
        assert set(groups.split(", ")) == {"jaw", "brows", "nose", "eyes", "lips"}
        assert np.isnan(row["landmark_drift"])

    def test_missed_faces_and_false_alarms_are_counted_where_all_is_labelled(self, photo, clean, predictor):
        nowhere = boxed(predictor, [0, 240, 50, 290, 0.9])
        box = np.asarray(clean[0].box)[:4]
        for complete in (True, False):
            report = analyse(
                [scene(photo, box=box, all_labelled=complete)], predictor=nowhere, progress=False
            )
            assert report.faces["face"].tolist() == [0, pd.NA]
            assert report.faces["truth"].tolist() == [pd.NA, 0]
            assert report.failures["missed"] == 1
            assert report.failures["false alarm"] == int(complete)
            row = report.photos.iloc[0]
            assert (row["faces"], row["found"], row["hits"], row["missed"], row["recall"]) == (1, 1, 0, 1, 0)
            assert row["false_alarms"] == 1 if complete else pd.isna(row["false_alarms"])
            assert row["precision"] == 0 if complete else np.isnan(row["precision"])
            np.testing.assert_allclose(report.faces["true_left"][1], box[0])

    def test_precision_is_a_share_of_the_detections_and_recall_of_the_faces(self, photo, clean, predictor):
        box = np.asarray(clean[0].box)
        two = boxed(predictor, box, [0, 240, 50, 290, 0.9])
        report = analyse([scene(photo, box=box[:4], all_labelled=True)], predictor=two, progress=False)
        assert (report.photos["precision"][0], report.photos["recall"][0]) == (0.5, 1)
        assert report.faces["failures"].fillna("").tolist() == ["", "false alarm"]

    def test_a_photo_without_a_face_can_only_raise_false_alarms(self, photo, predictor):
        nowhere = boxed(predictor, [0, 240, 50, 290, 0.9])
        report = analyse([scene(photo, all_labelled=True)], predictor=nowhere, progress=False)
        assert report.faces["failures"].tolist() == ["false alarm"]
        assert report.photos["faces"][0] == 0
        assert np.isnan(report.photos["recall"][0])

    def test_a_box_that_covers_a_missed_face_badly_has_the_wrong_scale(self, photo, clean, predictor):
        left, top, right, bottom = np.asarray(clean[0].box)[:4]
        large = boxed(predictor, [left - 60, top - 60, right + 60, bottom + 60, 0.9])
        sample = scene(photo, box=np.array([left, top, right, bottom]), all_labelled=True)
        report = analyse([sample], predictor=large, progress=False)
        share = (right - left) * (bottom - top) / ((right - left + 120) * (bottom - top + 120))
        assert report.faces["iou"][0] == pytest.approx(share)
        assert report.faces["failures"].tolist() == ["wrong scale or crop", "missed"]

    def test_depth_of_the_whole_face_is_no_drift_of_its_mesh(self, clean):
        face = clean[0]
        heads = face.heads.copy()
        heads[:, 11] += 30
        assert _drift(replace(face, heads=heads), face)["mesh_drift"] == pytest.approx(0, abs=1e-3)
        heads[:, 3] += 6
        moved = 100 * 6 * face.crop.scale / np.sqrt(np.ptp(face.landmarks[:, :2], axis=0).prod())
        drift = _drift(replace(face, heads=heads), face)
        assert drift["mesh_drift"] == pytest.approx(moved, rel=1e-4)
        assert drift["landmark_drift"] == pytest.approx(moved, rel=1e-4)
        assert (drift["shape_drift"], drift["pose_drift"]) == (0, 0)

    def test_detections_go_to_faces_the_best_score_first(self):
        boxes = np.array([[0, 0, 10, 10], [100, 0, 110, 10]], float)
        found = np.array(
            [[1, 0, 11, 10, 0.6], [0, 0, 10, 10, 0.9], [100, 0, 110, 10, 0.5], [50, 50, 60, 60, 0.8]]
        )
        assert match(found, boxes) == {1: 0, 2: 1}
        assert match(np.zeros((0, 5)), boxes) == {}
        assert match(found, np.zeros((0, 4))) == {}


class TestWithoutTruth:
    def test_signs_need_no_truth(self, photo, predictor):
        report = analyse([Sample("a", lambda: photo)], predictor=predictor, progress=False)
        row = report.faces.iloc[0]
        for name in ("head_spread", "flip_consistency", "jitter_consistency", "edge_agreement", "sharpness"):
            assert row[name] > 0
        assert row["checked_failure_probability"] < 0.5
        # With what flipped and moved crops say, which a face alone does not know.
        known = {sign.value: np.array([row[sign.value]]) for sign in ALL.values()}
        expected = packaged()["all"].probability(known)[0]
        assert row["checked_failure_probability"] == pytest.approx(expected, abs=1e-6)
        assert (row["crop_size"], row["outside"]) == (pytest.approx(predictor(photo)[0].crop.size), 0)
        assert row["identity_distance"] == pytest.approx(
            float(np.sqrt((predictor(photo)[0].identity ** 2).mean())), rel=1e-5
        )
        assert np.isnan([row["nme"], row["pose_error"], row["landmark_drift"], row["iou"]]).all()
        assert pd.isna([row["failures"], row["pose_reference"], report.photos["reference"][0]]).all()
        assert pd.isna(report.photos["faces"][0])

    def test_consistency_uses_as_many_views(self, photo, clean, predictor):
        """The mean of a crop's and its mirror image's answers is the same for the mirror image."""
        twice = boxed(predictor, np.asarray(clean[0].box), views=2)
        faces = analyse([Sample("a", lambda: photo)], predictor=twice, progress=False).faces
        assert faces["flip_consistency"][0] < 1e-3
        assert faces["jitter_consistency"][0] > 0.1

    def test_without_truth_the_clean_photo_is_the_reference(self, photo, predictor):
        grey = np.full_like(photo, 90)
        pair = {"condition": "haze", "clean": "clean/a", "clean_image": lambda: photo}
        report = analyse(
            [scene(grey, **pair), scene(photo, "b", **pair)], predictor=predictor, progress=False
        )
        assert report.faces["failures"].fillna("").tolist() == ["missed", ""]
        assert report.photos["reference"].tolist() == ["clean", "clean"]
        assert report.faces["pose_reference"].fillna("").tolist() == ["", "clean"]
        assert report.faces["landmark_drift"][1] == 0
        assert np.isnan(report.faces["nme"]).all()

    def test_a_clean_photo_that_cannot_be_read_is_reported(self, photo, fixed):
        report = analyse(
            [scene(photo, condition="haze", clean="c", clean_image=broken)], predictor=fixed, progress=False
        )
        assert report.photos["error"][0].startswith("clean photo: x.jpg")
        assert report.photos["read"][0]
        assert np.isnan(report.faces["landmark_drift"][0])

    def test_nothing_found_in_any_version_is_a_report_too(self, photo, clean, predictor):
        blind = boxed(predictor)
        versions = benchmark([photo], None, ["haze"], [0, 5])
        report = analyse(versions, predictor=blind, progress=False)
        assert len(report.faces["photo"]) == 0
        assert report.photos["found"].tolist() == [0, 0]
        assert np.isnan(report.summary()["recall"]).all()
        report = analyse(benchmark([photo], [clean], ["haze"], [0, 5]), predictor=blind, progress=False)
        assert report.faces["failures"].tolist() == ["missed", "missed"]
        assert report.summary()["recall"].tolist() == [0, 0]
        assert report.overview()["recall, %"].tolist() == [0, 0]
        assert report.report().splitlines()[1].split()[:2] == ["haze", "0"]


class TestFacesOfAReport:
    def test_a_face_of_a_report_is_the_prediction_over_its_thumbnail(self, photo, clean, predictor):
        report = analyse(benchmark([photo], [clean], ["focus"], [0]), predictor=predictor, progress=False)
        again, face = report.face(0), predictor(photo)[0]
        in_crop = face.crop.from_photo(face.landmarks)
        np.testing.assert_allclose(again.landmarks, in_crop * [1, -1, 1] + [59.5, 59.5, 0], atol=1e-3)
        np.testing.assert_allclose(again.pose, face.pose, atol=1e-3)
        # The truth is the clean photo's answer, and so lies where the answer lies.
        np.testing.assert_allclose(report.reference_landmarks(0), again.landmarks[:, :2], atol=1e-2)
        corner = np.array([face.box.left, face.box.top]) - face.crop[:2]
        np.testing.assert_allclose(
            [again.box.left + 0.5, again.box.top + 0.5], corner / face.crop.scale, atol=1e-3
        )

    def test_a_missed_face_and_another_face_model_are_errors(self, photo, clean, predictor):
        nowhere = boxed(predictor, [0, 240, 50, 290, 0.9])
        report = analyse([scene(photo, box=np.asarray(clean[0].box)[:4])], predictor=nowhere, progress=False)
        with pytest.raises(ReportError, match="face 1: expected one that was found"):
            report.face(1)
        other = replace(report, settings={**report.settings, "face_model": "0123456789abcdef"})
        with pytest.raises(ReportError, match="expected the face model 0123456789abcdef, got"):
            other.face(0)

    def test_another_network_gets_no_probability_and_the_report_tells_why(self, photo, fixed):
        report = analyse([scene(photo)], predictor=fixed, progress=False)
        assert report.settings["failure_note"] == ""
        network = M4Net.load()
        network.fix_head_weights([1, 0, 0, 0])
        other = Predictor(detector=fixed.detector, network=network, model=fixed.model, threshold=0.0)
        report = analyse([scene(photo)], predictor=other, progress=False)
        assert np.isnan(report.faces["checked_failure_probability"]).all()
        assert "no failure probability: it is fitted for the network" in report.settings["failure_note"]

    def test_thumbnails_move_along(self, photo, fixed, tmp_path):
        report = analyse([scene(photo)], predictor=fixed, progress=False)
        loaded = SceneReport.load(report.save(tmp_path / "one"))
        moved = SceneReport.load(loaded.save(tmp_path / "two"))
        np.testing.assert_array_equal(moved.thumbnail(0), report.thumbnail(0))
        next((tmp_path / "two" / "thumbnails").iterdir()).unlink()
        with pytest.raises(ReportError, match="expected its picture"):
            moved.thumbnail(0)


class TestBadInput:
    def test_one_unreadable_photo_is_a_row_and_a_warning_and_the_others_are_analysed(self, photo, fixed):
        samples = [scene(photo), Sample("lost", broken), scene(photo, "b")]
        with pytest.warns(UserWarning, match=r"1 face left out: lost \(x.jpg") as caught:
            report = analyse(samples, predictor=fixed, progress=False)
        assert caught[0].filename == __file__
        assert report.photos["read"].tolist() == [True, False, True]
        assert "expected an image" in report.photos["error"][1]
        assert len(report.faces["photo"]) == 2
        assert report.summary()["unread"].tolist() == [1]

    def test_no_photo_and_none_that_can_be_read_are_errors(self, tmp_path, fixed):
        with pytest.raises(DatasetError, match="expected pictures, found none"):
            analyse(tmp_path, predictor=fixed, progress=False)
        with pytest.raises(DatasetError, match="got 1 of which none could be read"):
            analyse([Sample("lost", broken)], predictor=fixed, progress=False)

    def test_snow_gives_no_hint_about_small_faces(self, photo, predictor, monkeypatch):
        monkeypatch.setattr(Detector, "look", lambda self, image, **_: (np.zeros((0, 5)), 48.0))
        with pytest.warns(UserWarning, match="there seem to be many faces"):
            predictor(photo)
        # A warning would be an error here, and the photo unread.
        assert analyse([scene(photo)], predictor=predictor, progress=False).photos["read"].tolist() == [True]

    def test_turned_photos_are_not_analysed(self, photo, predictor):
        turning = Predictor(network=predictor.network, model=predictor.model, try_turns=True)
        with pytest.raises(ValueError, match="without try_turns"):
            analyse([scene(photo)], predictor=turning, progress=False)


class TestContinuing:
    def _photos(self, photo, count, *, stop_at=None, seen=None):
        def image(number):
            if number == stop_at:
                raise KeyboardInterrupt
            seen.append(number)
            return photo

        return [Sample(f"p{number}", partial(image, number)) for number in range(count)]

    def test_finished_photos_are_neither_analysed_again_nor_lost(self, photo, fixed, tmp_path):
        seen = []
        with pytest.raises(KeyboardInterrupt):
            analyse(
                self._photos(photo, 3, stop_at=2, seen=seen), predictor=fixed, folder=tmp_path, progress=False
            )
        assert seen == [0, 1]
        until_there = SceneReport.load(tmp_path)
        assert until_there.settings["stopped"] == "2 of 3 photos"
        assert until_there.photos["photo"].tolist() == ["p0", "p1"]
        # Ended in the middle of a line: that photo alone is done again.
        journal = tmp_path / FILE
        journal.write_bytes(journal.read_bytes()[:-40])
        seen.clear()
        report = analyse(self._photos(photo, 3, seen=seen), predictor=fixed, folder=tmp_path, progress=False)
        assert seen == [1, 2]
        assert report.photos["photo"].tolist() == ["p0", "p1", "p2"]
        for name in ("left", "score", "yaw", "head_spread", "sharpness"):
            assert len(set(report.faces[name].tolist())) == 1
        seen.clear()
        again = analyse(self._photos(photo, 3, seen=seen), predictor=fixed, folder=tmp_path, progress=False)
        assert seen == []
        loaded = SceneReport.load(tmp_path)
        for table in ("faces", "photos"):
            assert_frame_equal(getattr(report, table), getattr(again, table), check_exact=True)
            assert_frame_equal(getattr(report, table), getattr(loaded, table), check_exact=True)
        assert dict(loaded.settings) == dict(report.settings)
        np.testing.assert_array_equal(loaded.thumbnail(2), report.thumbnail(2))

    def test_photos_that_could_not_be_read_are_tried_again(self, photo, fixed, tmp_path):
        with pytest.warns(UserWarning, match="lost"):
            analyse([scene(photo), Sample("lost", broken)], predictor=fixed, folder=tmp_path, progress=False)
        report = analyse(
            [scene(photo), scene(photo, "lost")], predictor=fixed, folder=tmp_path, progress=False
        )
        assert report.photos["read"].tolist() == [True, True]

    def test_a_folder_of_other_photos_or_settings_is_an_error(self, photo, fixed, predictor, tmp_path):
        analyse([scene(photo)], predictor=fixed, folder=tmp_path, progress=False)
        with pytest.raises(ReportError, match=r"it holds 1 others \(one is a\)"):
            analyse([scene(photo, "b")], predictor=fixed, folder=tmp_path, progress=False)
        for name, before, now in (("passes", 2, 1), ("views", 1, 2)):
            other = boxed(predictor, fixed.detector(photo), **{name: now})
            with pytest.raises(ReportError, match=rf"\({name} {before}, now {now}\)"):
                analyse([scene(photo)], predictor=other, folder=tmp_path, progress=False)

    def test_a_bar_shows_the_progress_unless_it_is_turned_off(self, photo, fixed, capsys):
        analyse([scene(photo)], predictor=fixed)
        assert "1/1" in capsys.readouterr().err
        analyse([scene(photo)], predictor=fixed, progress=False)
        assert capsys.readouterr().err == ""

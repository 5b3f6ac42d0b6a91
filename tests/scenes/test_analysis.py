"""`analyse` against known errors, an analysis that continues after a stop, the report, and the rules of failures."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from m4kit.camera import HeadPose, crop_from_landmarks
from m4kit.confidence.failure import ALL, packaged
from m4kit.datasets import DatasetError, Sample
from m4kit.detector import Detector
from m4kit.images import ImageError
from m4kit.network import M4Net
from m4kit.predictor import Predictor
from m4kit.scenes import analysis
from m4kit.scenes.analysis import analyse, match
from m4kit.scenes.columns import FACE_COLUMNS, PHOTO_COLUMNS, frame_of
from m4kit.scenes.data import benchmark
from m4kit.scenes.journal import FILE, Entry, Journal
from m4kit.scenes.report import SceneReport
from m4kit.scenes.report_data import ReportError
from m4kit.scenes.taxonomy import RULES, failures_of


def boxed(predictor, *boxes):
    """The same predictor with a detector that always gives these boxes (left, top, right, bottom, score)."""
    found = np.array(boxes, dtype=float).reshape(-1, 5)
    return Predictor(
        detector=lambda image: found, network=predictor.network, model=predictor.model, threshold=0.0
    )


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
            analysis.cut_crop(photo, clean[0].crop).mean(axis=(0, 1)),
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
        assert analysis._drift(replace(face, heads=heads), face)["mesh_drift"] == pytest.approx(0, abs=1e-3)
        heads[:, 3] += 6
        moved = 100 * 6 * face.crop.scale / np.sqrt(np.ptp(face.landmarks[:, :2], axis=0).prod())
        drift = analysis._drift(replace(face, heads=heads), face)
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
        twice = boxed(predictor, np.asarray(clean[0].box))
        twice.views = 2
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
        other = boxed(predictor, np.zeros(5))
        other.passes = 1
        with pytest.raises(ReportError, match="passes 2, now 1"):
            analyse([scene(photo)], predictor=other, folder=tmp_path, progress=False)

    def test_other_views_are_other_settings(self, photo, fixed, tmp_path):
        report = analyse([scene(photo)], predictor=fixed, folder=tmp_path, progress=False)
        assert report.settings["views"] == 1
        other = boxed(fixed, fixed.detector(photo))
        other.views = 2
        with pytest.raises(ReportError, match=r"\(views 1, now 2\)"):
            analyse([scene(photo)], predictor=other, folder=tmp_path, progress=False)

    def test_wherever_a_journal_is_cut_the_complete_lines_count(self, tmp_path):
        path = tmp_path / "whole" / FILE
        journal = Journal(path.parent, {"passes": 2})
        for name in ("a", "b"):
            journal.add(Entry({"photo": name, "read": True}, [{"photo": name, "yaw": 1.5}]))
        content = path.read_bytes()
        ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
        for length in range(len(content) + 1):
            folder = tmp_path / str(length)
            folder.mkdir()
            (folder / FILE).write_bytes(content[:length])
            again = Journal(folder, {"passes": 2})
            assert list(again.entries) == ["a", "b"][: max(0, sum(end <= length for end in ends) - 1)]
        again.add(Entry({"photo": "c", "read": True}, []))
        assert list(Journal(folder, {"passes": 2}).entries) == ["a", "b", "c"]

    def test_a_journal_of_another_version_or_that_is_none_is_an_error(self, tmp_path):
        (tmp_path / FILE).write_text(json.dumps({"version": 99, "settings": {}}) + "\n")
        with pytest.raises(ReportError, match="expected an analysis of version 4, got 99"):
            Journal(tmp_path, {})
        (tmp_path / FILE).write_text("something\n")
        with pytest.raises(ReportError, match="got a broken one"):
            Journal(tmp_path, {})

    def test_a_bar_shows_the_progress_unless_it_is_turned_off(self, photo, fixed, capsys):
        analyse([scene(photo)], predictor=fixed)
        assert "1/1" in capsys.readouterr().err
        analyse([scene(photo)], predictor=fixed, progress=False)
        assert capsys.readouterr().err == ""


def hand_made(rows_of_faces, rows_of_photos, **options):
    return SceneReport(
        frame_of(rows_of_faces, FACE_COLUMNS),
        frame_of(rows_of_photos, PHOTO_COLUMNS),
        {"passes": 2},
        **options,
    )


def counted(name, condition, severity, *, faces, found, hits, complete=True):
    return {
        "photo": name,
        "condition": condition,
        "severity": severity,
        "read": True,
        "reference": "truth",
        "all_labelled": complete,
        "faces": faces,
        "found": found,
        "hits": hits,
    }


def judged(photo, number, *, condition="haze", severity=3.0, **figures):
    return {
        "photo": photo,
        "condition": condition,
        "severity": severity,
        "face": number,
        "truth": number,
        **figures,
    }


class TestReport:
    def _report(self, *, nme=(2.0, 4.0)):
        faces = [
            judged("a", 0, nme=nme[0], failures="pose off; landmarks drifted: jaw, lips"),
            judged("b", 0, nme=nme[1], failures="landmarks drifted: eyes"),
            judged("b", 1, failures="missed"),
        ]
        photos = [
            counted("a", "haze", 3.0, faces=1, found=2, hits=1),
            counted("b", "haze", 3.0, faces=2, found=1, hits=1),
            counted("c", "focus", 1.0, faces=4, found=4, hits=3, complete=False),
            {"photo": "d", "read": True, "all_labelled": False, "found": 1},
            {"photo": "e", "read": False, "all_labelled": False, "error": "broken"},
        ]
        return hand_made(faces, photos)

    def test_the_summary_pools_by_condition_and_severity_in_the_order_of_the_seven(self):
        summary = self._report().summary()
        assert summary["condition"].fillna("").tolist() == ["", "focus", "haze"]
        assert summary["severity"].tolist()[1:] == [1, 3]
        assert np.isnan(summary["severity"][0])
        assert summary["photos"].tolist() == [1, 1, 2]
        assert summary["unread"].tolist() == [1, 0, 0]
        assert summary["faces"].tolist() == [0, 4, 3]
        np.testing.assert_allclose(summary["recall"], [np.nan, 3 / 4, 2 / 3])
        # Only the photos whose faces are all labelled count for the precision.
        np.testing.assert_allclose(summary["precision"], [np.nan, np.nan, 2 / 3])
        np.testing.assert_allclose(summary["nme"], [np.nan, np.nan, 3])
        assert summary["nme_faces"].tolist() == [0, 0, 2]
        assert summary["landmarks drifted"].tolist() == [0, 0, 2]
        assert summary["missed"].tolist() == [0, 0, 1]

    def test_the_text_has_a_line_for_each(self):
        lines = self._report().report().splitlines()
        assert len(lines) == 4
        assert lines[1].split()[:6] == ["clean", "or", "unknown", "real", "1", "1"]
        assert lines[3].split()[:7] == ["haze", "3", "2", "0", "3", "3", "66.7"]
        assert lines[3].endswith("landmarks drifted 2, pose off 1, missed 1")

    def test_a_report_is_saved_and_loaded_bit_for_bit_with_columns_that_were_added(self, tmp_path):
        report = self._report(nme=(1 / 3, np.inf))
        report.faces["mine"] = ["ja, nein", 'a "quote"\nand é', ""]
        loaded = SceneReport.load(report.save(tmp_path / "new"))
        assert_frame_equal(report.faces, loaded.faces, check_exact=True)
        assert_frame_equal(report.photos, loaded.photos, check_exact=True)
        assert loaded.settings == {"passes": 2}
        assert loaded.failures == report.failures

    def test_thumbnails_move_along(self, photo, fixed, tmp_path):
        report = analyse([scene(photo)], predictor=fixed, progress=False)
        loaded = SceneReport.load(report.save(tmp_path / "one"))
        moved = SceneReport.load(loaded.save(tmp_path / "two"))
        np.testing.assert_array_equal(moved.thumbnail(0), report.thumbnail(0))
        next((tmp_path / "two" / "thumbnails").iterdir()).unlink()
        with pytest.raises(ReportError, match="expected its picture"):
            moved.thumbnail(0)

    def test_a_report_of_another_version_or_broken_is_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="expected a scene report"):
            SceneReport.load(tmp_path)
        self._report().save(tmp_path)
        info = tmp_path / "report.json"
        content = json.loads(info.read_text())
        info.write_text(json.dumps(content | {"version": 7}))
        with pytest.raises(ReportError, match="expected a scene report of version 4, got 7"):
            SceneReport.load(tmp_path)
        info.write_text(json.dumps(content))
        faces = tmp_path / "faces.parquet"
        whole = faces.read_bytes()
        for broken in (self._report().faces.drop(columns="nme"), self._report().faces.assign(nme="x")):
            broken.to_parquet(faces)
            with pytest.raises(ReportError, match=r"expected a table of a scene report, got .*nme"):
                SceneReport.load(tmp_path)
        faces.write_bytes(whole[:-20])
        with pytest.raises(ReportError, match="expected a table of a scene report"):
            SceneReport.load(tmp_path)
        info.write_text("{")
        with pytest.raises(ReportError, match="broken file"):
            SceneReport.load(tmp_path)


class TestTables:
    def test_columns_are_typed_and_what_is_not_known_is_missing(self):
        photos = frame_of([{"photo": "a"}], PHOTO_COLUMNS)
        assert photos.drop(columns="photo").isna().all(axis=None)
        assert [str(photos[name].dtype) for name in ("photo", "seed", "recall", "read")] == [
            *("str", "Int64", "float64", "boolean"),
        ]
        empty = frame_of([], FACE_COLUMNS)
        assert [str(empty[name].dtype) for name in ("photo", "face", "nme")] == ["str", "Int64", "float64"]


RIGHT = {
    **{"face": 0, "truth": 0, "iou": 0.8, "crop_scale": 1.0, "crop_shift": 0.0},
    **{"yaw": 30.0, "pitch": 0.0, "roll": 0.0},
    **{"reference_yaw": 30.0, "reference_pitch": 0.0, "reference_roll": 0.0},
    **{f"error_{group}": 2.0 for group in ("jaw", "brows", "nose", "eyes", "lips")},
    **{"identity_distance": 0.8, "expression_distance": 0.8},
}
"""A face to which no rule applies."""


class TestTaxonomy:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, ()),
            ({"face": None}, ("missed",)),
            ({"truth": None, "iou": 0.0}, ("false alarm",)),
            ({"truth": None, "iou": 0.2}, ("wrong scale or crop",)),
            ({"crop_scale": 1.3}, ("wrong scale or crop",)),
            ({"crop_shift": 0.1}, ("wrong scale or crop",)),
            ({"iou": 0.4}, ()),
            ({"iou": 0.4, "crop_scale": np.nan, "crop_shift": np.nan}, ("wrong scale or crop",)),
            ({"yaw": -20.0}, ("pose flipped",)),
            ({"yaw": -5.0}, ("pose off",)),
            ({"yaw": 10.0}, ("pose off",)),
            ({"roll": 175.0}, ("pose flipped",)),
            ({"roll": -170.0, "reference_roll": 175.0}, ()),
            ({"roll": -170.0, "reference_roll": 170.0}, ("pose off",)),
            ({"pitch": 40.0, "reference_pitch": np.nan}, ()),
            ({"error_jaw": 8.0, "error_lips": 12.0}, ("landmarks drifted: lips, jaw",)),
            ({"identity_distance": 1.4}, ("implausible shape",)),
            ({"expression_distance": 1.8}, ("implausible shape",)),
            ({"yaw": 50.0, "expression_distance": 1.8}, ("pose off", "implausible shape")),
            (
                {"checked_failure_probability": 0.05, "nme": 9.0, "landmark_reference": "truth"},
                ("confident though wrong",),
            ),
            ({"checked_failure_probability": 0.05, "landmark_drift": 9.0}, ("confident though wrong",)),
            ({"checked_failure_probability": 0.3, "nme": 9.0, "landmark_reference": "truth"}, ()),
            (
                {"checked_failure_probability": 0.7, "nme": 3.0, "landmark_reference": "truth"},
                ("low confidence though right",),
            ),
            ({"checked_failure_probability": 0.7, "nme": 3.0, "crop_scale": 1.3}, ("wrong scale or crop",)),
            ({"checked_failure_probability": 0.7}, ()),
        ],
    )
    def test_a_rule_applies_where_it_should(self, changes, expected):
        assert failures_of(RIGHT | changes, all_labelled=True) == expected

    def test_what_is_not_known_is_no_failure(self):
        unknown = {name: np.nan for name in RIGHT} | {"face": 0, "truth": None}
        assert failures_of(unknown, all_labelled=False) == ()

    def test_the_rules_state_their_limits(self):
        assert list(RULES) == [
            *("missed", "false alarm", "wrong scale or crop", "pose flipped", "pose off"),
            *(
                "landmarks drifted",
                "implausible shape",
                "confident though wrong",
                "low confidence though right",
            ),
        ]
        assert "more than 15 degrees" in RULES["pose off"]
        assert "more than 7 %" in RULES["landmarks drifted"]

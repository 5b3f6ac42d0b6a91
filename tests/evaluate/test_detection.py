"""Evaluation of detectors on made-up detections whose figures are counted by hand, and the command."""

import numpy as np
import pytest
from PIL import Image

from m4kit.cli import main
from m4kit.conditions import degrade, landmark_depth
from m4kit.datasets import DatasetError, Sample
from m4kit.datasets.photos import photos_of
from m4kit.evaluate import command
from m4kit.evaluate.detection import (
    DetectorEvaluation,
    PhotoResult,
    evaluate_detectors,
    report,
)
from m4kit.images import ImageError

from helpers.faces import points68

BOXES = np.array([[0, 0, 10, 10], [40, 40, 80, 80], [100, 100, 300, 300]], float)


def result(found, boxes=BOXES, wanted=None):
    wanted = np.ones(len(boxes), bool) if wanted is None else np.array(wanted)
    return PhotoResult(np.array(found, float).reshape(-1, 5), np.asarray(boxes, float), wanted)


def grey():
    return np.full((320, 320, 3), 120, np.uint8)


def broken():
    raise ImageError("x.jpg: broken")


def photo(name, image):
    """A photo with the three faces, as a tuple of one."""
    return photos_of([Sample(f"{name}#{k}", image, box=box) for k, box in enumerate(BOXES)])


def blind(image, **_):
    return np.zeros((0, 5))


def watching():
    """A blind detector, and the list of what it sees."""
    seen = []

    def detect(image):
        seen.append(image)
        return blind(image)

    return detect, seen


class TestFigures:
    def test_two_of_three_and_one_false_alarm(self):
        found = [[*BOXES[0], 0.9], [*BOXES[1], 0.6], [200, 0, 240, 40, 0.7], [*BOXES[2], 0.3]]
        evaluation = DetectorEvaluation((result(found),))
        assert evaluation.recall() == pytest.approx(2 / 3)
        assert evaluation.recall(threshold=0.2) == 1
        assert evaluation.false_positives() == 1
        # Precision at recall 1/3, 2/3, 1: 1, 2/3 and 3/4; interpolated 1, 3/4, 3/4.
        assert evaluation.average_precision() == pytest.approx((1 + 0.75 + 0.75) / 3)

    def test_a_face_is_hit_once(self):
        evaluation = DetectorEvaluation((result([[*BOXES[0], 0.9], [*BOXES[0], 0.8]]),))
        scores, hits = evaluation.outcomes()
        assert scores.tolist() == [0.9, 0.8]
        assert hits.tolist() == [True, False]

    def test_an_overlap_of_less_than_half_is_no_hit_but_at_045_it_is(self):
        # 10 x 10 against 10 x 21 with all of it inside: 100 / 210.
        evaluation = DetectorEvaluation((result([[0, 0, 10, 21, 0.9]]),))
        assert evaluation.recall() == 0
        assert evaluation.recall(iou=0.45) == pytest.approx(1 / 3)

    def test_what_hits_an_unwanted_face_counts_neither_way(self):
        evaluation = DetectorEvaluation((result([[*BOXES[2], 0.9]], wanted=[True, True, False]),))
        assert evaluation.faces == 2
        assert evaluation.false_positives() == 0
        assert evaluation.recall() == 0

    def test_the_threshold_for_a_rate_of_false_alarms(self):
        found = [[200, 0, 240, 40, 0.9], [*BOXES[0], 0.8], [0, 200, 40, 240, 0.7], [*BOXES[1], 0.6]]
        evaluation = DetectorEvaluation((result(found),))
        assert evaluation.threshold_for(1) == 0.8
        assert evaluation.threshold_for(2) == 0.6
        assert evaluation.threshold_for(0) == 1.0
        assert evaluation.recall(threshold=evaluation.threshold_for(1)) == pytest.approx(1 / 3)

    def test_recall_by_size_goes_by_the_true_box(self):
        evaluation = DetectorEvaluation((result([[*BOXES[1], 0.9]]), result([[*BOXES[1], 0.2]])))
        assert evaluation.recall_by_size() == [
            ((0, 20), 0.0, 2),
            ((40, 80), 0.5, 2),
            ((160, np.inf), 0.0, 2),
        ]

    def test_missed_faces_tell_how_near_the_detector_came(self):
        # The first is overlapped by 100 / 210 and not sure enough where it would be hit, the third by nothing.
        found = [[0, 0, 10, 21, 0.9], [*BOXES[0], 0.4], [*BOXES[1], 0.6], [120, 100, 320, 300, 0.2]]
        third, first = DetectorEvaluation((result(found),)).missed()
        assert first == ("", 0, 10, pytest.approx(100 / 210), 0.4)
        assert third == ("", 2, 200, 0, 0.2)
        assert DetectorEvaluation((result(found, wanted=[True, True, False]),)).missed() == [first]
        assert [face.face for face in DetectorEvaluation((result([]),)).missed()] == [0, 1, 2]

    def test_no_face_to_find_is_no_recall_but_false_alarms(self):
        evaluation = DetectorEvaluation((result([[0, 0, 9, 9, 0.9]], boxes=np.zeros((0, 4))),))
        assert np.isnan(evaluation.recall())
        assert np.isnan(evaluation.average_precision())
        assert evaluation.false_positives() == 1


class TestPhotos:
    def test_conditions_change_what_the_detector_sees_and_nothing_else(self):
        detect, seen = watching()
        photos = photo("a", grey)
        both = {"one": detect, "other": detect}
        evaluate_detectors(both, photos, progress=False)
        evaluate_detectors(both, photos, condition="illumination", severity=3, progress=False)
        np.testing.assert_array_equal(seen[0], grey())
        assert (seen[2] != seen[0]).any()
        np.testing.assert_array_equal(seen[2], seen[3])

    def test_true_faces_stand_before_the_haze(self):
        detect, seen = watching()
        landmarks = points68(left=10, top=10, width=40, height=40)
        photos = photos_of([Sample("a", grey, landmarks=landmarks)])
        evaluate_detectors({"one": detect}, photos, condition="haze", severity=3, progress=False)
        depth = landmark_depth(grey().shape, [landmarks])
        np.testing.assert_array_equal(seen[0], degrade(grey(), "haze", 3, seed=0, depth=depth))

    def test_unreadable_photos_are_left_out_and_none_left_is_an_error(self):
        photos = photo("a", grey) + photo("b", broken)
        nothing = {"blind": blind}
        with pytest.warns(UserWarning, match=r"1 face left out: b"):
            evaluation = evaluate_detectors(nothing, photos, progress=False)["blind"]
        assert len(evaluation.results) == 1
        with (
            pytest.warns(UserWarning, match="1 face"),
            pytest.raises(DatasetError, match=r"none of \d could be read"),
        ):
            evaluate_detectors(nothing, photos[1:], progress=False)


def test_the_report_puts_detectors_side_by_side():
    photos = photo("a", grey)
    good = np.column_stack([BOXES, np.full(3, 0.9)])
    text, unread = report(
        photos,
        {"good": lambda image: good, "blind": blind},
        all_labelled=True,
        conditions=["haze"],
        severities=[2],
        progress=False,
    )
    rows = [line.split("  ") for line in text.splitlines()]
    figures = {row[0].strip(): [cell.strip() for cell in row[1:] if cell.strip()] for row in rows[2:]}
    assert unread == 0
    assert text.startswith("1 photos, 3 labelled faces\n")
    assert figures["recall at IoU 0.5"] == ["100.0 %", "0.0 %"]
    assert figures["average precision"] == ["100.0 %", "0.0 %"]
    assert figures["false positives per photo"] == ["0.000", "0.000"]
    assert figures["recall, haze 2"] == figures["mean under the conditions"] == ["100.0 %", "0.0 %"]


def test_a_severity_out_of_range_is_named_before_any_photo_is_read():
    photos = photo("a", broken)
    with pytest.raises(ValueError, match="report: expected a severity from 0 to 5, got 9"):
        report(photos, {}, all_labelled=True, conditions=["haze"], severities=[1, 9], progress=False)


def test_the_report_names_what_the_first_detector_missed():
    photos = photo("a", grey)
    detectors = {"one of three": lambda image: [[*BOXES[1], 0.9]], "blind": blind}
    text, _ = report(photos, detectors, all_labelled=True, missed=1, progress=False)
    assert text.splitlines()[-2:] == [
        "missed by one of three:",
        "  a, face 0 of 10 px: overlap 0.00, score 0.00",
    ]
    assert "missed" not in report(photos, detectors, all_labelled=True, progress=False)[0]


class TestCommand:
    def _run(self, *arguments):
        return main(["evaluate", "detector", *map(str, arguments), "--quiet"])

    def test_photos_without_a_face_show_false_alarms_alone(self, tmp_path, capsys):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)).save(
            tmp_path / "a.png"
        )
        assert self._run(tmp_path, "--dataset", "folder") == 0
        out = capsys.readouterr().out
        assert "1 photos, 0 labelled faces" in out
        assert "false positives per photo" in out
        assert "recall" not in out

    def test_weights_whose_files_are_named_alike_are_told_apart(self, tmp_path, capsys, monkeypatch):
        Image.fromarray(grey()).save(tmp_path / "a.png")
        monkeypatch.setattr(command, "Detector", lambda name: blind)
        names = ["one/w.safetensors", "two/w.safetensors", "three/v.safetensors"]
        assert self._run(tmp_path, "--dataset", "folder", "--detectors", *names) == 0
        assert capsys.readouterr().out.splitlines()[1].split() == [*names[:2], "v.safetensors"]

    def test_one_of_several_label_files_is_picked(self, tmp_path, capsys):
        Image.fromarray(grey()).save(tmp_path / "a.png")
        for name, faces in (("one", 1), ("two", 2)):
            boxes = '<box left="5" top="5" width="40" height="40"/>' * faces
            (tmp_path / f"{name}.xml").write_text(
                f'<dataset><images><image file="a.png">{boxes}</image></images></dataset>'
            )
        assert self._run(tmp_path, "--dataset", "dlib-xml", "--member", "two.xml") == 0
        assert "1 photos, 2 labelled faces" in capsys.readouterr().out
        assert self._run(tmp_path, "--dataset", "folder", "--member", "two.xml") == 2
        assert "--member: only" in capsys.readouterr().err

    def test_lists_of_boxes_are_read_as_ufdd_has_them(self, tmp_path, capsys):
        (tmp_path / "rain").mkdir()
        Image.fromarray(grey()).save(tmp_path / "rain" / "a.png")
        (tmp_path / "val_bbx_gt.txt").write_text("rain/a.png\n2\n5 5 40 40\n50 5 30 40\n")
        assert self._run(tmp_path, "--dataset", "ufdd") == 0
        out = capsys.readouterr().out
        assert "1 photos, 2 labelled faces" in out
        assert "false positives per photo" in out

    def test_what_cannot_be_read_is_reported_on_stderr_with_status_2(self, tmp_path, capsys):
        assert self._run(tmp_path / "nowhere", "--dataset", "folder") == 2
        assert self._run(tmp_path, "--dataset", "folder", "--detectors", tmp_path / "no.pth") == 2
        err = capsys.readouterr().err
        assert "nowhere: expected" in err
        assert "no.pth: no such file" in err

    def test_an_unreadable_photo_is_told_by_the_status(self, tmp_path, capsys):
        Image.fromarray(grey()).save(tmp_path / "a.png")
        (tmp_path / "b.png").write_bytes(b"no picture")
        with pytest.warns(UserWarning, match="1 face left out"):
            assert self._run(tmp_path, "--dataset", "folder") == 1
        assert "left out, unreadable: 1" in capsys.readouterr().out

"""Reports of known numbers: their summary, their text, and their files."""

import json

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

from m4kit.scenes.columns import FACE_COLUMNS, PHOTO_COLUMNS, frame_of
from m4kit.scenes.report import SceneReport
from m4kit.scenes.report_data import ReportError


def counted(name, condition, severity, *, faces, found, hits, complete=True):
    """The row of a photo."""
    scene = {"photo": name, "condition": condition, "severity": severity}
    counts = {"faces": faces, "found": found, "hits": hits}
    return scene | counts | {"read": True, "reference": "truth", "all_labelled": complete}


def judged(photo, number, **figures):
    """The row of a face."""
    scene = {"photo": photo, "condition": "haze", "severity": 3.0}
    return scene | {"face": number, "truth": number, **figures}


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
        tables = frame_of(faces, FACE_COLUMNS), frame_of(photos, PHOTO_COLUMNS)
        return SceneReport(*tables, {"passes": 2})

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

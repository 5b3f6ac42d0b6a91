"""The rows of predictions, and the faces that come back from them."""

from dataclasses import replace

import numpy as np
import pandas
import pyarrow
import pytest

from m4kit import face_table
from m4kit.face_table import SCHEMA, TableError, faces_from, rows_of, table_of
from m4kit.many import Result, unread
from m4kit.prediction import Assessment, Origin

from helpers.faces import ellipsoid, face
from helpers.paths import ROOT
from helpers.synthetic import prediction


def table(*faces, source="photo.jpg"):
    face_model = faces[0].model.fingerprint if faces else ""
    return table_of(rows_of(Result(prediction(*faces, source=source), 0.25), face_model))


class TestRows:
    def test_each_face_has_one_and_a_photo_without_a_face_too(self):
        rows = table(face(pose=(20, 0, 0)), face()).to_pandas()
        assert rows["face"].tolist() == [1, 2]
        assert rows["yaw"].tolist() == pytest.approx([20, 0], abs=1e-4)
        assert rows[["width", "height", "seconds"]].to_numpy().tolist() == [[200, 200, 0.25]] * 2
        (empty,) = table().to_pylist()
        assert empty["width"] == 200
        assert empty["face"] is empty["error"] is empty["parameters"] is None

    def test_a_photo_without_a_prediction_has_its_reason(self):
        (row,) = rows_of(Result(unread("caf\udce9.jpg", ValueError("caf\udce9.jpg: broken")), 0.5), "")
        assert row == {"photo": "caf\\udce9.jpg", "seconds": 0.5, "error": "caf\\udce9.jpg: broken"}

    def test_what_the_system_knows_of_its_errors_is_there(self):
        judgement = Assessment(0.25, ("tiny", "blurred"))
        judged = Origin(np.zeros((9, 9, 3), np.uint8), "net", "", lambda faces: [judgement])
        (row,) = table(replace(face(), origin=judged)).to_pylist()
        assert (row["failure_probability"], row["reasons"], row["network"]) == (
            0.25,
            ["tiny", "blurred"],
            "net",
        )

    def test_every_column_is_described(self):
        page = (ROOT / "docs" / "table.md").read_text(encoding="utf-8")
        assert [name for name in SCHEMA.names if f"`{name}`" not in page] == []


class TestFacesFrom:
    def test_they_are_the_faces_that_were_written(self):
        heads = np.random.default_rng(0).normal(0, 0.1, (4, 62)).astype(np.float32) + face().heads.astype(
            np.float32
        )
        before = [face(pose=(20, 5, -3), coefficients=0.5), face(heads=heads)]
        for form in (table(*before), table(*before).to_pandas()):
            after = faces_from(form)
            for one, other in zip(after, before, strict=True):
                assert (one.box, one.crop) == (other.box, other.crop)
                np.testing.assert_allclose(one.vertices, other.vertices, atol=1e-3)
                assert one.pose == pytest.approx(other.pose, abs=1e-3)

    def test_rows_without_a_face_are_left_out_and_chosen_rows_keep_their_order(self):
        rows = pandas.concat([table(face(pose=(30, 0, 0)), face()).to_pandas(), table().to_pandas()])
        assert [round(one.pose.yaw) for one in faces_from(rows.iloc[::-1])] == [0, 30]
        assert faces_from(table()) == []

    def test_the_landmarks_of_a_row_are_those_of_its_face(self):
        rows = table(face(pose=(20, 5, -3)))
        np.testing.assert_allclose(
            np.reshape(rows["landmarks"][0].as_py(), (68, 3)), faces_from(rows)[0].landmarks, atol=1e-3
        )

    def test_another_face_model_is_refused_unless_it_is_given(self):
        rows = table(ellipsoid(yaw=20))
        with pytest.raises(TableError, match="made with the face model"):
            faces_from(rows)
        (one,) = faces_from(rows, model=ellipsoid().model)
        np.testing.assert_allclose(one.vertices, ellipsoid(yaw=20).vertices, atol=1e-3)

    def test_columns_that_lack_are_named(self):
        with pytest.raises(TableError, match="got none named crop_size, parameters"):
            faces_from(table(face()).to_pandas().drop(columns=["crop_size", "parameters"]))

    @pytest.mark.parametrize("wrong", [None, 3, [1]])
    def test_what_is_no_table_is_refused(self, wrong):
        with pytest.raises(TypeError, match="expected a table or its folder"):
            faces_from(wrong)

    def test_a_file_of_something_else_or_another_version_is_refused(self, tmp_path):
        path = tmp_path / "part-00000.parquet"
        with pytest.raises(TableError, match="found no part"):
            faces_from(tmp_path)
        pandas.DataFrame({"a": [1]}).to_parquet(path)
        with pytest.raises(TableError, match="expected a table that tabulate wrote"):
            faces_from(tmp_path)
        rows = table(face()).replace_schema_metadata({face_table.ABOUT: b'{"version": 99, "settings": {}}'})
        pyarrow.parquet.write_table(rows, path)
        with pytest.raises(TableError, match="version 1, got version 99"):
            faces_from(path)
        path.write_bytes(b"PAR1")
        with pytest.raises(TableError, match=r"part-00000\.parquet: expected a part of a table"):
            faces_from(path)

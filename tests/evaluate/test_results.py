"""Files of an evaluation: table, curve, page, and predictions that can be read again."""

import csv
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from m4kit.datasets import DatasetError, read_aflw2000_3d
from m4kit.evaluate import evaluate_landmarks, read_predictions, write_results
from m4kit.evaluate.results import COLUMNS
from m4kit.images import ImageError

from helpers.aflw_like import POSES, knowing_network, write_set


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return read_aflw2000_3d(write_set(tmp_path_factory.mktemp("tiny") / "set"))


@pytest.fixture(scope="module")
def result(samples):
    return evaluate_landmarks(knowing_network(shift=(3, 4), turn=(1, -2, 4)), samples, progress=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, result, samples):
    folder = tmp_path_factory.mktemp("results")
    assert write_results(result, samples, folder / "deep" / "er") == folder / "deep" / "er" / "index.html"
    return folder / "deep" / "er"


def test_the_table_has_one_row_per_face(folder):
    with (folder / "faces.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["name"] for row in rows] == list(POSES)
    for row in rows:
        assert float(row["nme_percent"]) == pytest.approx(100 * 5 / 60, abs=2e-3)
        assert float(row["error_y_percent"]) == pytest.approx(100 * 4 / 60, abs=2e-3)
    assert float(rows[0]["yaw"]) - float(rows[0]["true_yaw"]) == pytest.approx(1, abs=2e-3)


def test_the_page_holds_the_report_and_the_worst_faces_and_needs_no_network(folder):
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "NME balanced: 8.33 %" in page
    assert page.count("data:image/jpeg;base64,") == 3
    assert all(name in page for name in POSES)
    assert "http" not in page


def test_the_page_of_works_of_art_has_a_part_per_artist_the_best_first(result, samples, tmp_path):
    better = replace(
        result,
        artists=("dix", None, "dix"),
        predicted=np.where(np.arange(3)[:, None, None] == 1, result.true[..., :2], result.predicted),
    )
    page = write_results(better, samples, tmp_path).read_text(encoding="utf-8")
    parts = page.split("<h2>")[1:]
    assert [part.split("</h2>")[0] for part in parts] == ["unknown", "dix"]
    assert "1 face, NME 0.00 %" in parts[0] and "2 faces, NME 8.33 % (95 % interval" in parts[1]
    names = list(POSES)
    assert names[1] in parts[0] and names[0] not in parts[0]
    assert names[0] in parts[1] and names[2] in parts[1] and names[1] not in parts[1]
    assert [part.count("data:image/jpeg;base64,") for part in parts] == [1, 2]


def test_the_page_of_a_long_list_of_one_artist_shows_the_worst(result, samples, tmp_path):
    many = 15
    repeated = replace(
        result,
        names=(samples[0].name,) * many,
        artists=("dix",) * many,
        **{
            field: np.repeat(getattr(result, field)[:1], many, axis=0)
            for field in ("predicted", "true", "predicted_poses", "true_poses")
        },
    )
    assert write_results(repeated, samples, tmp_path).read_text(encoding="utf-8").count("<figure>") == 12


def test_the_curve_is_a_picture(folder):
    with Image.open(BytesIO((folder / "error_curve.png").read_bytes())) as picture:
        assert picture.size == (768, 504)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 20


def test_the_curves_of_the_yaw_bins_hold_every_face(result, samples, tmp_path, monkeypatch):
    labels = []
    monkeypatch.setattr(Axes, "step", lambda self, *_, label, **__: labels.append(label))
    monkeypatch.setattr(Axes, "legend", lambda self, **_: None)
    poses = result.true_poses.copy()
    poses[:, 0] = 30, -60, 95
    write_results(replace(result, true_poses=poses), samples, tmp_path)
    assert [label.split(":")[0] for label in labels] == [
        "all faces",
        "|yaw| 0 to 30°",
        "|yaw| 30 to 60°",
        "|yaw| 60 to 90°",
    ]
    assert all(label.endswith("(n = 1)") for label in labels[1:])


def test_predictions_read_back_have_the_same_errors(folder, result, samples):
    again = read_predictions(folder / "predictions.npz", samples)
    np.testing.assert_allclose(again.nme, result.nme, atol=1e-4)
    np.testing.assert_allclose(again.pose_errors, result.pose_errors, atol=1e-4)
    assert again.inputs == "predictions of predictions.npz"


def test_the_page_shows_the_error_in_place_of_a_picture_that_cannot_be_read(result, samples, tmp_path):
    def broken():
        raise ImageError("image00004.jpg: expected a readable image")

    page = write_results(
        result, [samples[0], replace(samples[1], image=broken), samples[2]], tmp_path
    ).read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 2
    assert "<p>image00004.jpg: expected a readable image</p>" in page


class TestForeignPredictions:
    def _write(self, path, **arrays):
        np.savez(path, **arrays)
        return path

    def test_their_order_is_free_and_poses_are_optional(self, tmp_path, samples):
        names = list(reversed(POSES))
        landmarks = np.stack([s.landmarks[:, :2] + [6, 0] for s in reversed(samples)])
        result = read_predictions(self._write(tmp_path / "a.npz", names=names, landmarks=landmarks), samples)
        np.testing.assert_allclose(result.nme, 10, rtol=1e-6)
        assert "pose" not in result.report()

    def test_predictions_with_depth_have_an_error_in_3d(self, tmp_path, samples):
        names = [sample.name for sample in samples]
        landmarks = np.stack([np.add(sample.landmarks, [3, 0, 50]) for sample in samples])
        result = read_predictions(self._write(tmp_path / "a.npz", names=names, landmarks=landmarks), samples)
        # 3 of 60 to the right, and the mean depth does not count.
        assert "3D error balanced, mean depth removed: 5.00 %" in result.report()

    def test_a_face_without_prediction_is_named(self, tmp_path, samples):
        path = self._write(tmp_path / "a.npz", names=["image00002"], landmarks=np.zeros((1, 68, 2)))
        with pytest.raises(DatasetError, match=r"each of 3 faces, 2 have none .*image00004"):
            read_predictions(path, samples)

    @pytest.mark.parametrize("landmarks", [np.zeros((3, 21, 2)), np.full((3, 68, 2), np.nan)])
    def test_landmarks_of_another_shape_or_not_finite_are_errors(self, tmp_path, samples, landmarks):
        path = self._write(tmp_path / "a.npz", names=list(POSES), landmarks=landmarks)
        with pytest.raises(DatasetError, match=r"a\.npz: expected (finite )?landmarks"):
            read_predictions(path, samples)

    def test_another_file_is_an_error_that_says_what_was_expected(self, tmp_path, samples):
        path = self._write(tmp_path / "b.npz", names=list(POSES), points=np.zeros((3, 68, 2)))
        with pytest.raises(DatasetError, match=r"b\.npz: expected landmarks, names, got names, points"):
            read_predictions(path, samples)

    def test_faces_without_true_landmarks_are_named(self, tmp_path, samples):
        path = self._write(tmp_path / "a.npz", names=list(POSES), landmarks=np.ones((3, 68, 2)))
        boxed = [samples[0], replace(samples[1], landmarks=None)]
        with pytest.raises(DatasetError, match=r"landmarks of each of 2 faces, 1 have none .*image00004"):
            read_predictions(path, boxed)

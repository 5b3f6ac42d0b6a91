"""300W-LP in its published layout, and AFLW2000-3D's 21 points."""

import numpy as np
import pytest
import scipy.io

from m4kit.datasets import DatasetError, read_300w_lp, read_aflw2000_3d

from helpers.aflw_like import write_set
from helpers.face_sets import picture, zipped
from helpers.faces import CROP_OF_POINTS, points68
from helpers.paths import shared_file

NAMES = ["AFW/AFW_1", "AFW_Flip/AFW_1", "IBUG/IBUG_image_003_1_0"]


def write_face(folder, name, **labels):
    """Write a face with its labels as in the published files; None removes a label."""
    labels = {
        # The set counts pixels from 1.
        "pt2d": points68().T + 1,
        "Pose_Para": np.radians([[10, -40, 5, 0, 0, 0, 0]]),
        "roi": np.array([[1, 2, 3, 4]]),
    } | labels
    picture(folder / f"{name}.jpg")
    labels = {key: value for key, value in labels.items() if value is not None}
    scipy.io.savemat(folder / f"{name}.mat", labels)


def write_300w_lp(folder):
    for name in NAMES:
        write_face(folder / "300W_LP", name)
    for name in ("landmarks/AFW/AFW_1_pts.mat", "Code/Model_Shape.mat"):
        (folder / "300W_LP" / name).parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(folder / "300W_LP" / name, {"tri": np.eye(3)})
    picture(folder / "300W_LP" / "Code" / "test.jpg")
    return folder


@pytest.mark.parametrize("archived", [False, True])
def test_all_folders_are_read_but_code_and_landmarks(tmp_path, archived):
    place = write_300w_lp(tmp_path / "set")
    samples = read_300w_lp(zipped(place) if archived else place)
    assert [sample.name for sample in samples] == [f"300W_LP/{name}" for name in NAMES]
    assert samples[1].image().shape == (150, 160, 3)


def test_a_face_has_its_points_pose_and_the_crop_of_the_rule(tmp_path):
    sample = read_300w_lp(write_300w_lp(tmp_path / "set"))[0]
    np.testing.assert_allclose(sample.landmarks, points68())
    np.testing.assert_allclose(sample.pose, (-40, 10, 5))
    np.testing.assert_allclose(sample.crop, CROP_OF_POINTS)
    assert sample.points21 is None


def test_landmarks_with_depth_go_before_flat_ones(tmp_path):
    deep = np.column_stack([points68(50, 20), np.linspace(-30, 30, 68)])
    write_face(tmp_path, "a", pt3d_68=np.add(deep, [1, 1, 0]).T)
    np.testing.assert_allclose(read_300w_lp(tmp_path)[0].landmarks, deep)


@pytest.mark.parametrize(
    "broken",
    [
        {"pt2d": None},
        {"pt2d": np.zeros((2, 21))},
        {"pt2d": np.full((2, 68), 3.0)},
        {"pt2d": np.full((2, 68), np.nan)},
        {"Pose_Para": None},
    ],
)
def test_a_face_with_broken_labels_is_left_out_and_named(tmp_path, broken):
    place = write_300w_lp(tmp_path / "set")
    write_face(place / "300W_LP", "AFW/AFW_1", **broken)
    with pytest.warns(UserWarning, match=r"1 face left out: 300W_LP/AFW/AFW_1 \(expected") as caught:
        assert len(read_300w_lp(place)) == 2
    assert caught[0].filename == __file__


def test_a_photo_or_labels_alone_are_named_but_not_photos_of_other_folders(tmp_path):
    place = write_300w_lp(tmp_path / "set")
    (place / "300W_LP/AFW/AFW_1.jpg").unlink()
    (place / "300W_LP/AFW_Flip/AFW_1.mat").rename(place / "300W_LP/AFW_Flip/AFW_2.mat")
    picture(place / "holiday" / "beach.jpg")
    named = r"3 faces left out: .*AFW_1 \(no \.jpg\), .*Flip/AFW_1 \(no \.mat\), .*AFW_2 \(no \.jpg\)$"
    with pytest.warns(UserWarning, match=named):
        assert len(read_300w_lp(place)) == 1


def test_a_place_without_a_pair_is_an_error(tmp_path):
    picture(tmp_path / "a.jpg")
    with pytest.raises(DatasetError, match=r"expected 300W-LP, a folder with NAME\.jpg and NAME\.mat"):
        read_300w_lp(tmp_path)


def test_aflw2000_3d_has_21_points_that_are_nan_where_they_are_not_visible(tmp_path):
    place = write_set(tmp_path / "set")
    mat = place / "AFLW2000" / "image00002.mat"
    labels = {key: scipy.io.loadmat(mat)[key] for key in ("pt3d_68", "Pose_Para")}
    points = np.arange(42.0).reshape(2, 21) + 1
    points[:, 3] = -1
    scipy.io.savemat(mat, labels | {"pt2d": points})
    seen = read_aflw2000_3d(place)[0].points21
    np.testing.assert_array_equal(seen[:3], [[0, 21], [1, 22], [2, 23]])
    assert np.isnan(seen[3]).all() and np.isfinite(np.delete(seen, 3, axis=0)).all()


def test_the_real_21_points_lie_on_the_real_landmarks():
    # Counted from 1, AFLW's point 7 and landmark 37 are the same corner of the eye. One file has 23 points.
    every = read_aflw2000_3d(shared_file("data/aflw2000_3d_dev.zip"))
    samples = [sample for sample in every if sample.points21 is not None]
    assert len(samples) == 499
    corner = np.array([sample.points21[6] - sample.landmarks[36, :2] for sample in samples])
    size = np.array([np.ptp(sample.landmarks[:, :2], axis=0).max() for sample in samples])
    assert np.nanmedian(np.linalg.norm(corner, axis=1) / size) < 0.03

"""AFLW2000-3D in its published layout, from a folder or a zip; broken faces are named and left out."""

import shutil
import struct
import time

import numpy as np
import pytest
import scipy.io

from m4kit.camera import crop_from_landmarks
from m4kit.datasets import DatasetError, PublishedBox, read_aflw2000_3d
from m4kit.images import ImageError

from helpers.aflw_like import BOXES, GREYS, POSES, true_landmarks, write_set


@pytest.fixture(params=["folder", "zip", "inner folder"])
def place(request, tmp_path):
    folder = write_set(tmp_path / "set", crops=True)
    if request.param == "zip":
        shutil.make_archive(str(folder), "zip", folder)
        shutil.rmtree(folder)
        return folder.with_suffix(".zip")
    return folder / "AFLW2000" if request.param == "inner folder" else folder


class TestReading:
    def test_every_face_has_its_labels_and_photo(self, place):
        samples = read_aflw2000_3d(place)
        assert [sample.name for sample in samples] == list(POSES)
        for sample in samples:
            np.testing.assert_allclose(sample.landmarks, true_landmarks(sample.name), rtol=1e-6)
            np.testing.assert_allclose(sample.pose, POSES[sample.name], rtol=1e-5)
            assert sample.image().shape == (180, 200, 3)
            assert abs(int(sample.image()[0, 0, 0]) - GREYS[sample.name]) <= 1

    def test_the_crop_comes_from_the_landmarks_and_not_from_the_files_roi(self, place):
        for sample in read_aflw2000_3d(place):
            assert sample.crop == crop_from_landmarks(sample.landmarks)
            assert sample.crop.size == pytest.approx(80 * np.sqrt(2), rel=1e-5)

    @pytest.mark.parametrize("zipped", [False, True])
    def test_published_crops_come_with_their_boxes(self, tmp_path, zipped):
        place = write_set(tmp_path / "set", crops=True)
        if zipped:
            place = shutil.make_archive(str(place), "zip", place)
        for sample in read_aflw2000_3d(place):
            assert sample.published_box == BOXES[sample.name]
            assert sample.published_crop().shape == (120, 120, 3)

    def test_a_set_without_published_crops_has_none(self, tmp_path):
        samples = read_aflw2000_3d(write_set(tmp_path / "set"))
        assert all(sample.published_crop is None and sample.published_box is None for sample in samples)

    def test_the_boxes_file_can_lie_elsewhere(self, tmp_path):
        place = write_set(tmp_path / "set", crops=True)
        elsewhere = shutil.move(tmp_path / "set.npz", tmp_path / "boxes.npz")
        assert read_aflw2000_3d(place)[0].published_box is None
        assert read_aflw2000_3d(place, published_boxes=elsewhere)[0].published_box is not None

    def test_the_second_annotation_takes_the_landmarks_place_and_leaves_the_crop(self, tmp_path):
        place, others = write_set(tmp_path / "set"), np.arange(3 * 2 * 68.0).reshape(3, 2, 68)
        np.savez(place.with_suffix(".npz"), names=[f"{name}.jpg" for name in POSES], pts68_reannotated=others)
        with pytest.raises(DatasetError, match=r"expected names, roi, got names, pts68_reannotated"):
            read_aflw2000_3d(place, reannotated=True)
        boxes = np.zeros((3, 4))
        arrays = {"names": [f"{name}.jpg" for name in POSES], "roi": boxes}
        np.savez(place.with_suffix(".npz"), **arrays, pts68_reannotated=others)
        for sample, other, plain in zip(
            read_aflw2000_3d(place, reannotated=True), others, read_aflw2000_3d(place), strict=True
        ):
            # The set counts from 1.
            np.testing.assert_array_equal(sample.landmarks, other.T - 1)
            assert sample.crop == plain.crop
        np.savez(place.with_suffix(".npz"), **arrays)
        with pytest.raises(DatasetError, match="pts68_reannotated"):
            read_aflw2000_3d(place, reannotated=True)

    def test_mat_files_of_other_folders_are_passed_over(self, tmp_path):
        place = write_set(tmp_path / "set")
        (place / "Code").mkdir()
        scipy.io.savemat(place / "Code" / "Model_Shape.mat", {"tri": np.eye(3)})
        assert len(read_aflw2000_3d(place)) == 3


class TestPublishedBox:
    def test_a_crop_pixel_is_a_whole_step_of_the_box_without_half_pixels(self):
        # Crop pixels (0, 0), (60, 30) and (120, 120); x = crop_x * width / 120 + left.
        frame = np.array([[-60, 60, 0], [0, 30, 1], [60, -60, -2]])
        photo = PublishedBox(10, 20, 250, 140).to_photo(frame)
        np.testing.assert_allclose(photo, [[10, 20, 0], [130, 50, 2], [250, 140, -4]])

    def test_batches_and_plain_points_are_mapped_alike(self):
        box, frame = PublishedBox(10, 20, 250, 140), np.random.default_rng(0).normal(size=(4, 68, 3))
        np.testing.assert_allclose(box.to_photo(frame)[2], box.to_photo(frame[2]))
        np.testing.assert_allclose(box.to_photo(frame)[..., :2], box.to_photo(frame[..., :2]))


def _matlab_variable(name: str, kind: int, rows: int) -> bytes:
    """A `.mat` of level 5 with one variable (rows, 2) of a class, and no data."""

    def element(number: int, data: bytes) -> bytes:
        return struct.pack("<II", number, len(data)) + data + bytes(-len(data) % 8)

    parts = (6, struct.pack("<II", kind, 0)), (5, struct.pack("<ii", rows, 2)), (1, name.encode())
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    return header + element(14, b"".join(element(*part) for part in parts) + bytes(8))


def relabel(mat, **changes):
    """Write a `.mat` again with other labels; None removes one."""
    labels = {
        key: value for key, value in scipy.io.loadmat(mat).items() if not key.startswith("__")
    } | changes
    scipy.io.savemat(mat, {key: value for key, value in labels.items() if value is not None})


BREAKS = {
    "no photo": lambda mat: mat.with_suffix(".jpg").unlink(),
    "no labels": lambda mat: mat.unlink(),
    "empty labels": lambda mat: mat.write_bytes(b""),
    "truncated labels": lambda mat: mat.write_bytes(mat.read_bytes()[:200]),
    "no landmarks": lambda mat: relabel(mat, pt3d_68=None),
    "21 landmarks": lambda mat: relabel(mat, pt3d_68=np.zeros((3, 21))),
    "landmarks of NaN": lambda mat: relabel(mat, pt3d_68=np.full((3, 68), np.nan)),
    "pose of 3": lambda mat: relabel(mat, Pose_Para=np.zeros((1, 3))),
    "pose of words": lambda mat: relabel(mat, Pose_Para=np.array([["a"] * 7], dtype=object)),
}


class TestBrokenFiles:
    @pytest.mark.parametrize("how", BREAKS)
    def test_a_broken_face_is_left_out_with_one_warning_that_names_it(self, tmp_path, how):
        place = write_set(tmp_path / "set")
        BREAKS[how](place / "AFLW2000" / "image00004.mat")
        with pytest.warns(UserWarning, match=r"set: 1 face left out: image00004 \(") as caught:
            samples = read_aflw2000_3d(place)
        assert [sample.name for sample in samples] == ["image00002", "image00006"]
        assert len(caught) == 1
        assert caught[0].filename == __file__

    @pytest.mark.parametrize("kind", ["cell", "struct", "char", "function"])
    def test_a_variable_that_claims_a_monstrous_size_is_left_out_at_once(self, tmp_path, kind):
        place = write_set(tmp_path / "set")
        # Numbers of MATLAB's classes, and 5 GB of pointers if the size is believed.
        content = _matlab_variable(
            "pt3d_68", {"cell": 1, "struct": 2, "char": 4, "function": 16}[kind], 2**28
        )
        (place / "AFLW2000" / "image00004.mat").write_bytes(content)
        started = time.perf_counter()
        with pytest.warns(UserWarning, match=r"1 face left out: image00004 \(") as caught:
            assert len(read_aflw2000_3d(place)) == 2
        assert len(caught) == 1
        assert time.perf_counter() - started < 2

    def test_a_large_mat_is_left_out_before_it_is_unpacked(self, tmp_path):
        place = write_set(tmp_path / "set")
        relabel(place / "AFLW2000" / "image00004.mat", other=np.zeros(3_000_000))
        shutil.make_archive(str(place), "zip", place)
        assert place.with_suffix(".zip").stat().st_size < 100_000
        with pytest.warns(
            UserWarning, match=r"left out: image00004 \(cannot be read: .*more than 16,777,216 bytes\)"
        ):
            assert len(read_aflw2000_3d(place.with_suffix(".zip"))) == 2

    def test_points_beyond_any_photo_are_left_out(self, tmp_path):
        place = write_set(tmp_path / "set")
        relabel(place / "AFLW2000" / "image00004.mat", pt3d_68=np.eye(3, 68) * 1e200)
        with pytest.warns(UserWarning, match=r"image00004 \(expected points in pixels, got 1e\+200\)"):
            assert len(read_aflw2000_3d(place)) == 2

    def test_many_broken_faces_are_counted_and_the_first_ones_named(self, tmp_path):
        place = write_set(tmp_path / "set")
        for number in range(10, 17):
            (place / "AFLW2000" / f"image000{number}.jpg").touch()
        with pytest.warns(
            UserWarning, match=r"7 faces left out: image00010 \(no \.mat\), .*image00014.*, \.\.\.$"
        ):
            assert len(read_aflw2000_3d(place)) == 3

    def test_a_broken_photo_is_an_image_error_when_it_is_read(self, tmp_path):
        place = write_set(tmp_path / "set")
        photo = place / "AFLW2000" / "image00002.jpg"
        photo.write_bytes(photo.read_bytes()[:300])
        with pytest.raises(ImageError, match=r"AFLW2000/image00002\.jpg: expected"):
            read_aflw2000_3d(place)[0].image()

    def test_a_photo_that_went_away_is_an_image_error_too(self, tmp_path):
        place = write_set(tmp_path / "set")
        samples = read_aflw2000_3d(place)
        (place / "AFLW2000" / "image00002.jpg").unlink()
        with pytest.raises(ImageError, match=r"image00002\.jpg: expected a readable image"):
            samples[0].image()

    def test_a_folder_without_faces_is_an_error(self, tmp_path):
        (tmp_path / "holiday.jpg").touch()
        with pytest.raises(DatasetError, match=r"NAME\.jpg and NAME\.mat side by side"):
            read_aflw2000_3d(tmp_path)

    def test_a_set_of_broken_faces_alone_is_an_error(self, tmp_path):
        place = write_set(tmp_path / "set")
        for file in place.glob("AFLW2000/*.mat"):
            file.write_bytes(b"")
        with (
            pytest.warns(UserWarning, match="3 faces left out"),
            pytest.raises(DatasetError, match="3 files"),
        ):
            read_aflw2000_3d(place)

    def test_boxes_of_another_shape_are_an_error(self, tmp_path):
        place = write_set(tmp_path / "set", crops=True)
        np.savez(tmp_path / "set.npz", names=np.array(["a"]), boxes=np.zeros((1, 4)))
        with pytest.raises(DatasetError, match="expected names, roi, got boxes, names"):
            read_aflw2000_3d(place)

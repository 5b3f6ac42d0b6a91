"""Sets of crops: points in the crop frame agree with the sets' own mapping."""

import numpy as np
import pytest

from m4kit.camera import cut_crop
from m4kit.datasets import DatasetError, read_3ddfa_list, read_aflw_crops, read_youtube_faces
from m4kit.images import load_image

from helpers.face_sets import picture, zipped
from helpers.faces import points68
from helpers.paths import shared_file


def write_aflw(folder, **changes):
    """Two faces, the second one's crop clipped by the photo's edge."""
    points = np.full((2, 2, 21), 200.0)
    points[0, :, 0] = 100, 200
    points[0, :, 1] = 340, 440
    points[:, 0, 2] = -1
    points[1, :, 0] = 60, 80
    arrays = {
        "names": np.array(["image00001.jpg", "image00002.jpg"]),
        "pts21": points.astype(np.float32),
        "roi": np.array([[100, 200, 340, 440], [0, 50, 240, 110]], np.float32),
        "yaw": np.array([12.5, -80], np.float32),
    } | changes
    for number, name in enumerate(arrays["names"]):
        picture(folder / str(name), grey=50 * (number + 1), size=(120, 120))
    np.savez(folder.with_suffix(".npz"), **{k: v for k, v in arrays.items() if v is not None})
    return folder


def write_youtube(folder, **changes):
    arrays = {
        "names": np.array(["training_A_B_01.jpg", "training_A_B_02.jpg", "test_C_D_01.jpg"]),
        "pts68": np.stack([points68(), points68(10, 20, 90, 90), points68(5, 5, 64, 64)]).astype(np.float32),
        "identity": np.array(["A_B", "A_B", "C_D"]),
    } | changes
    for name in arrays["names"]:
        picture(folder / str(name), size=(128, 128))
    np.savez(folder.with_suffix(".npz"), **{k: v for k, v in arrays.items() if v is not None})
    return folder


class TestAflwCrops:
    @pytest.mark.parametrize("archived", [False, True])
    def test_points_land_in_the_crop_frame_by_the_sets_own_mapping(self, tmp_path, archived):
        place = write_aflw(tmp_path / "aflw_train")
        first, second = read_aflw_crops(zipped(place) if archived else place)
        # By hand, (x - left) * 120 / (right - left) from the edge: the box's corners are the frame's.
        np.testing.assert_allclose(first.crop.from_photo(first.points21[:2]), [[-60, 60], [60, -60]])
        # (60 - 0) * 120 / 240 = 30 from the left and (80 - 50) * 120 / 60 = 60 from the top.
        np.testing.assert_allclose(second.crop.from_photo(second.points21[:1]), [[-30, 0]])

    def test_points_are_pixels_of_the_crop_picture_counted_from_0(self, tmp_path):
        second = read_aflw_crops(write_aflw(tmp_path / "set"))[1]
        np.testing.assert_allclose(second.points21[0], [29.5, 59.5])

    def test_a_point_that_is_not_visible_is_nan(self, tmp_path):
        for sample in read_aflw_crops(write_aflw(tmp_path / "set")):
            assert np.isnan(sample.points21[2]).all()
            assert np.isfinite(np.delete(sample.points21, 2, axis=0)).all()

    def test_the_crop_is_the_whole_picture_and_the_yaw_is_all_that_is_known_of_the_pose(self, tmp_path):
        sample = read_aflw_crops(write_aflw(tmp_path / "set"))[1]
        np.testing.assert_array_equal(cut_crop(sample.image(), sample.crop), sample.image())
        assert sample.name == "image00002" and sample.landmarks is None
        np.testing.assert_array_equal(sample.pose, (-80, np.nan, np.nan))

    def test_labels_can_lie_elsewhere_and_lack_the_yaw(self, tmp_path):
        place = write_aflw(tmp_path / "set", yaw=None)
        labels = (tmp_path / "set.npz").rename(tmp_path / "labels.npz")
        assert read_aflw_crops(place, labels=labels)[0].pose is None
        with pytest.raises(FileNotFoundError, match=r"set\.npz: expected a file of arrays"):
            read_aflw_crops(place)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"roi": np.array([[1, 1, 1, 5], [0, 0, 9, 9.0]])}, "expected a box"),
            ({"roi": np.array([[1, 1, np.nan, 5], [0, 0, 9, 9.0]])}, "expected a box"),
            ({"yaw": np.array([np.inf, 0])}, "expected a finite yaw"),
            ({"pts21": np.stack([np.full((2, 21), np.nan), np.zeros((2, 21))])}, "expected finite points"),
            ({"names": np.array(["../a.jpg", "image00002.jpg"])}, "no picture"),
        ],
    )
    def test_a_broken_face_is_left_out_and_named(self, tmp_path, changes, reason):
        place = write_aflw(tmp_path / "set", **changes)
        with pytest.warns(UserWarning, match=rf"1 face left out: .* \({reason}"):
            assert [sample.name for sample in read_aflw_crops(place)] == ["image00002"]

    def test_labels_of_another_shape_are_an_error(self, tmp_path):
        message = r"set\.npz: expected pts21 \(2, 2, 21\) of numbers, got float64 \(2, 21, 2\)"
        with pytest.raises(DatasetError, match=message):
            read_aflw_crops(write_aflw(tmp_path / "set", pts21=np.zeros((2, 21, 2))))

    def test_the_real_crops_map_as_their_description_says(self):
        archive = shared_file("data/aflw_train.zip")
        samples = read_aflw_crops(archive)
        with np.load(archive.with_suffix(".npz")) as arrays:
            points, roi = arrays["pts21"].astype(float), arrays["roi"].astype(float)
        # crop_x = (x - sx) * 120 / (ex - sx), crop_y alike, from the edge.
        left_top, size = roi[:, :2, None], (roi[:, 2:] - roi[:, :2])[:, :, None]
        expected = ((points - left_top) * 120 / size).transpose(0, 2, 1) * [1, -1] + [-60, 60]
        expected[(points == -1).any(axis=1)] = np.nan
        frame = np.stack([sample.crop.from_photo(sample.points21) for sample in samples])
        np.testing.assert_allclose(frame, expected, atol=1e-6)
        assert samples[-1].image().shape == (120, 120, 3)


class TestYoutubeFaces:
    @pytest.mark.parametrize("archived", [False, True])
    def test_points_land_in_the_crop_frame_by_the_sets_own_mapping(self, tmp_path, archived):
        points = np.stack([points68(0, 0, 128, 128), points68(), points68()]).astype(np.float32)
        place = write_youtube(tmp_path / "set", pts68=points)
        sample = read_youtube_faces(zipped(place) if archived else place)[0]
        frame = sample.crop.from_photo(sample.landmarks)
        # By hand: 0 and 128 pixels from the edge are -60 and 60, and between them x * 120 / 128 - 60.
        np.testing.assert_allclose(frame.min(axis=0), [-60, -60], atol=1e-5)
        np.testing.assert_allclose(frame.max(axis=0), [60, 60], atol=1e-5)
        np.testing.assert_allclose(frame[:, 0], points[0, :, 0] * 0.9375 - 60, atol=1e-5)
        np.testing.assert_allclose(frame[:, 1], 60 - points[0, :, 1] * 0.9375, atol=1e-5)

    def test_faces_have_their_person_and_the_whole_picture(self, tmp_path):
        samples = read_youtube_faces(write_youtube(tmp_path / "set"))
        assert [sample.person for sample in samples] == ["A_B", "A_B", "C_D"]
        assert samples[0].crop == (-0.5, -0.5, 128)
        assert samples[0].landmarks.shape == (68, 2) and samples[0].pose is None

    def test_a_face_without_a_picture_or_with_points_of_nan_is_left_out(self, tmp_path):
        points = np.stack([points68(), np.full((68, 2), np.nan), points68()])
        place = write_youtube(tmp_path / "set", pts68=points)
        (place / "test_C_D_01.jpg").unlink()
        named = r"2 faces left out: .*_02\.jpg \(expected finite points.*, test_C_D_01\.jpg \(no picture\)"
        with pytest.warns(UserWarning, match=named):
            assert len(read_youtube_faces(place)) == 1

    def test_labels_without_people_are_an_error(self, tmp_path):
        with pytest.raises(DatasetError, match="expected identity, names, pts68, got names, pts68"):
            read_youtube_faces(write_youtube(tmp_path / "set", identity=None))

    def test_the_real_crops_are_all_read(self):
        samples = read_youtube_faces(shared_file("data/youtube_faces.zip"))
        assert len(samples) == 4232
        assert load_image(samples[0].image()).shape == (128, 128, 3)
        assert all(np.abs(sample.crop.from_photo(sample.landmarks)).max() < 60 for sample in samples)


def write_3ddfa(root, *, name="AFLW2000-3D", deep=True):
    """The layout of 3DDFA's code: pictures and their list in test.data, arrays in test.configs."""
    data, configs = root / "test.data", root / "test.configs"
    for number in (1, 2):
        picture(data / f"{name}_crop" / f"image0000{number}.jpg", size=(120, 120))
    (data / f"{name}_crop.list").write_text("image00001.jpg\nimage00002.jpg\n")
    configs.mkdir(exist_ok=True)
    # Boxes of 240 x 240 and, clipped, of 240 x 60 pixels.
    np.save(configs / f"{name}_crop.roi_box.npy", np.array([[100, 200, 340, 440], [0, 50, 240, 110]]))
    flat = np.stack([points68(100, 200, 240, 240), points68(0, 50, 240, 60)]).transpose(0, 2, 1)
    points = np.concatenate([flat, np.full((2, 1, 68), 20.0)], axis=1) if deep else flat
    np.save(configs / f"{name}.pts68.npy", points.astype(np.float32))
    np.save(configs / f"{name}.pose.npy", np.array([30.0, -60]))
    return root


class Test3ddfaLists:
    @pytest.mark.parametrize("given", ["folder", "zip", "list"])
    def test_points_land_in_the_crop_frame_by_the_sets_own_mapping(self, tmp_path, given):
        place, options = write_3ddfa(tmp_path / "3DDFA"), {}
        if given == "zip":
            place = zipped(place)
        elif given == "list":
            options = {"arrays": place / "test.configs"}
            place = place / "test.data" / "AFLW2000-3D_crop.list"
        samples = read_3ddfa_list(place, **options)
        assert [sample.name for sample in samples] == ["image00001", "image00002"]
        for sample in samples:
            # The points fill the boxes, and 20 pixels of depth are 20 * 120 / 240.
            frame = sample.crop.from_photo(sample.landmarks)
            np.testing.assert_allclose(frame.min(axis=0), [-60, -60, 10], atol=1e-4)
            np.testing.assert_allclose(frame.max(axis=0), [60, 60, 10], atol=1e-4)
            assert sample.image().shape == (120, 120, 3)
        np.testing.assert_array_equal(samples[0].pose, (30, np.nan, np.nan))

    def test_aflws_list_has_21_points_under_names_of_its_own(self, tmp_path):
        write_3ddfa(tmp_path, name="AFLW_GT")
        configs = tmp_path / "test.configs"
        (configs / "AFLW_GT_crop.roi_box.npy").rename(configs / "AFLW_GT_crop_roi_box.npy")
        (configs / "AFLW_GT.pose.npy").rename(configs / "AFLW_GT_crop_yaws.npy")
        (configs / "AFLW_GT.pts68.npy").unlink()
        points = np.full((2, 2, 21), 220.0)
        points[0, :, 5] = -1
        np.save(configs / "AFLW_GT_pts21.npy", points)
        first = read_3ddfa_list(tmp_path)[0]
        # (220 - 100) * 120 / 240 = 60 from the left, (220 - 200) * 120 / 240 = 10 from the top.
        np.testing.assert_allclose(first.crop.from_photo(first.points21)[0], [0, 50])
        assert np.isnan(first.points21[5]).all() and first.landmarks is None and first.pose.yaw == 30

    def test_other_landmarks_can_take_the_place_of_the_lists_own(self, tmp_path):
        write_3ddfa(tmp_path)
        again = tmp_path / "AFLW2000-3D-Reannotated.pts68.npy"
        np.save(again, np.stack([points68(100, 200), points68(0, 50)]).transpose(0, 2, 1))
        assert read_3ddfa_list(tmp_path, landmarks=again)[0].landmarks.shape == (68, 2)

    def test_of_several_lists_one_has_to_be_picked(self, tmp_path):
        write_3ddfa(tmp_path)
        write_3ddfa(tmp_path, name="AFLW_GT", deep=False)
        with pytest.raises(DatasetError, match=r"found 2: .*AFLW2000-3D_crop\.list.*`member`"):
            read_3ddfa_list(tmp_path)
        samples = read_3ddfa_list(tmp_path, member="test.data/AFLW_GT_crop.list")
        assert samples[0].landmarks.shape == (68, 2)
        with pytest.raises(DatasetError, match="found no such file; check `member`"):
            read_3ddfa_list(tmp_path, member="test.data/no.list")

    def test_lines_of_windows_and_pictures_right_beside_the_list_are_read(self, tmp_path):
        write_3ddfa(tmp_path)
        data = tmp_path / "test.data"
        (data / "AFLW2000-3D_crop").rename(data / "pictures")
        (data / "AFLW2000-3D_crop.list").write_bytes(
            b"\xef\xbb\xbfpictures\\image00001.jpg\r\npictures/image00002.jpg\r\n"
        )
        assert len(read_3ddfa_list(tmp_path)) == 2

    def test_a_face_without_a_picture_is_left_out(self, tmp_path):
        write_3ddfa(tmp_path)
        (tmp_path / "test.data" / "AFLW2000-3D_crop" / "image00001.jpg").unlink()
        with pytest.warns(UserWarning, match=r"1 face left out: image00001\.jpg \(no picture\)"):
            assert [sample.name for sample in read_3ddfa_list(tmp_path)] == ["image00002"]

    def test_arrays_of_another_length_than_the_list_are_an_error(self, tmp_path):
        write_3ddfa(tmp_path)
        np.save(tmp_path / "test.configs" / "AFLW2000-3D.pose.npy", np.zeros(3))
        with pytest.raises(DatasetError, match=r"expected yaw \(2,\) of numbers, got float64 \(3,\)"):
            read_3ddfa_list(tmp_path)

    # numpy reports the second one's open brackets as an error of Python's tokens.
    @pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00\x10\x00{'descr': (((   \n"])
    def test_a_broken_array_is_an_error_that_names_it(self, tmp_path, content):
        (write_3ddfa(tmp_path) / "test.configs" / "AFLW2000-3D.pts68.npy").write_bytes(content)
        with pytest.raises(DatasetError, match=r"AFLW2000-3D\.pts68\.npy: expected numpy arrays"):
            read_3ddfa_list(tmp_path)

    @pytest.mark.parametrize(
        ("gone", "found"),
        [("*.npy", "found none"), ("*roi*", "found pts68, yaw"), ("[A]*3D.p*", "found roi")],
    )
    def test_a_list_without_the_arrays_it_needs_is_an_error(self, tmp_path, gone, found):
        write_3ddfa(tmp_path)
        for file in (tmp_path / "test.configs").glob(gone):
            file.unlink()
        with pytest.raises(
            DatasetError, match=rf"expected AFLW2000-3D\.pts68\.npy.*{found}; give the folder"
        ):
            read_3ddfa_list(tmp_path)

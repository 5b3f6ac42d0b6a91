"""Camera, head pose and crops: by axioms, by geometry, by hand, and on real faces."""

from itertools import permutations

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from m4kit import camera
from m4kit.camera import (
    CROP_SIZE,
    Crop,
    HeadPose,
    box_from_crop,
    crop_from_box,
    crop_from_landmarks,
    cut_crop,
    decompose,
    euler_from_rotation,
    head_pose,
    head_poses,
    rotation_from_euler,
)
from m4kit.face_model import FaceModel
from m4kit.metrics import rotation_error

from helpers.paths import shared_file

NOSE, CROWN, PERSONS_LEFT = np.eye(3)[[2, 1, 0]]


def scaled(rotation, scale=1.0, translation=(0, 0, 0)):
    return np.column_stack([scale * rotation, translation])


class TestRotation:
    def test_angles_come_back_from_their_rotation(self):
        angles = np.random.default_rng(0).uniform([-89.9, -180, -180], [89.9, 180, 180], (500, 3))
        back = [euler_from_rotation(rotation_from_euler(*row)) for row in angles]
        np.testing.assert_allclose(back, angles, atol=1e-6)

    def test_rotations_come_back_from_their_angles(self):
        for rotation in Rotation.random(500, random_state=0).as_matrix():
            np.testing.assert_allclose(
                rotation_from_euler(*euler_from_rotation(rotation)), rotation, atol=1e-7
            )

    @pytest.mark.parametrize("distance", [1.0, 1e-2, 1e-4, 1e-6, 1e-8, 1e-12, 0.0])
    @pytest.mark.parametrize("sign", [-1, 1])
    def test_rotations_come_back_near_the_gimbal_edge_and_on_it(self, sign, distance):
        rotation = rotation_from_euler(sign * (90 - distance), 25, -70)
        pose = euler_from_rotation(rotation)
        assert pose.yaw == pytest.approx(sign * (90 - distance), abs=1e-5)
        np.testing.assert_allclose(rotation_from_euler(*pose), rotation, atol=1e-6)

    @pytest.mark.parametrize(("yaw", "pitch"), [(90, 25 - (-70)), (-90, 25 + (-70))])
    def test_on_the_gimbal_edge_pitch_takes_what_is_determined_and_roll_is_0(self, yaw, pitch):
        assert euler_from_rotation(rotation_from_euler(yaw, 25, -70)) == pytest.approx((yaw, pitch, 0))

    def test_entries_a_hair_above_1_are_read(self):
        rotation = rotation_from_euler(90, 0, 0)
        rotation[0, 2] = np.float32(-1.0000001)
        assert euler_from_rotation(rotation) == pytest.approx((90, 0, 0))

    def test_it_is_scipys_with_every_sign_turned(self):
        for yaw, pitch, roll in np.random.default_rng(2).uniform(-180, 180, (50, 3)):
            theirs = Rotation.from_euler("XYZ", [-pitch, -yaw, -roll], degrees=True).as_matrix()
            np.testing.assert_allclose(rotation_from_euler(yaw, pitch, roll), theirs, atol=1e-12)

    def test_the_factors_are_multiplied_in_the_order_of_the_data_set(self):
        """Yaw and pitch of 30 and roll of 60 degrees, multiplied by hand."""
        root = np.sqrt(3)
        by_hand = [
            [root / 4, 3 / 4, -1 / 2],
            [-5 / 8, 3 * root / 8, root / 4],
            [3 * root / 8, 1 / 8, 3 / 4],
        ]
        np.testing.assert_allclose(rotation_from_euler(30, 30, 60), by_hand, atol=1e-12)

    def test_a_pose_is_three_plain_numbers(self):
        for yaw in (0, 40, 90, -90):
            pose = euler_from_rotation(rotation_from_euler(yaw, 10, 0))
            assert isinstance(pose, HeadPose)
            assert [type(angle) for angle in pose] == [float] * 3


def test_positive_angles_turn_the_nose_to_the_photos_left_and_up_and_the_head_clockwise():
    def in_photo(point, **angles):
        angles = {"yaw": 0, "pitch": 0, "roll": 0} | angles
        return Crop(0, 0, 240).to_photo(50 * rotation_from_euler(**angles) @ point)

    assert in_photo(NOSE, yaw=20)[0] < in_photo(NOSE)[0]
    assert in_photo(NOSE, pitch=20)[1] < in_photo(NOSE)[1]
    assert in_photo(CROWN, roll=20)[0] > in_photo(CROWN)[0]
    assert in_photo(PERSONS_LEFT, roll=20)[1] > in_photo(PERSONS_LEFT)[1]


@pytest.fixture(scope="module")
def real_faces():
    """Landmarks (n, 68, 2) in photo pixels and angles of the development faces that are not upside down."""
    with np.load(shared_file("data/aflw2000_3d_dev.npz"), allow_pickle=False) as file:
        pitch, yaw, roll = np.degrees(file["pose_para"][:, :3].astype(float)).T
        upright = (np.abs([yaw, pitch, roll]) < [[99], [99], [45]]).all(0)
        return file["pts68"].transpose(0, 2, 1)[upright, :, :2], yaw[upright], pitch[upright], roll[upright]


class TestRealFaces:
    def test_the_nose_of_a_turned_face_lies_where_its_yaw_says(self, real_faces):
        landmarks, yaw, pitch, roll = real_faces
        turned = np.abs(yaw) > 10
        assert turned.sum() > 300
        nose_beside = landmarks[:, 30, 0] - landmarks[:, [0, 16], 0].mean(1)
        angles = np.column_stack([yaw, pitch, roll])
        expected = np.array([(rotation_from_euler(*row) @ NOSE)[0] for row in angles])
        assert (np.sign(nose_beside) == np.sign(expected))[turned].mean() > 0.97

    def test_the_eyes_of_a_frontal_face_are_tilted_by_its_roll(self, real_faces):
        landmarks, yaw, _, roll = real_faces
        frontal = np.abs(yaw) < 20
        across = landmarks[:, 42:48].mean(1) - landmarks[:, 36:42].mean(1)
        tilt = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
        assert frontal.sum() > 150
        assert np.abs(tilt - roll)[frontal].mean() < 3
        assert np.abs(tilt + roll)[frontal].mean() > 8

    def test_the_true_angles_turn_the_mean_face_to_the_landmarks_in_one_order_only(self):
        with np.load(shared_file("data/aflw2000_3d_dev.npz"), allow_pickle=False) as file:
            points = file["pts68"].transpose(0, 2, 1)[:100].astype(float) * [1, -1, 1]
            angles = np.degrees(file["pose_para"][:100, [1, 0, 2]].astype(float))
        mean_face = FaceModel.load().landmarks()
        nearest = [
            Rotation.align_vectors(*(p - p.mean(axis=0) for p in (face, mean_face)))[0] for face in points
        ]
        turns = np.array([rotation.as_matrix() for rotation in nearest])
        mean_errors = {}
        for order in permutations(range(3)):
            factors = [[rotation_from_euler(*row * np.eye(3)[axis]) for axis in order] for row in angles]
            composed = np.array([a @ b @ c for a, b, c in factors])
            mean_errors[order] = rotation_error(turns, composed).mean()
        pitch_yaw_roll = (1, 0, 2)
        assert mean_errors.pop(pitch_yaw_roll) < 2.5
        assert min(mean_errors.values()) > 7


class TestDecompose:
    def test_a_scaled_rotation_is_taken_apart_exactly(self):
        for number, angles in enumerate(np.random.default_rng(3).uniform(-80, 80, (20, 3))):
            camera = scaled(rotation_from_euler(*angles), 0.3 + number, (1, -2, number))
            scale, rotation, translation = decompose(camera)
            assert scale == pytest.approx(0.3 + number)
            np.testing.assert_allclose(rotation, rotation_from_euler(*angles), atol=1e-12)
            assert translation.tolist() == [1, -2, number]
            assert head_pose(camera) == pytest.approx(tuple(angles))

    def test_the_poses_of_many_cameras_are_those_of_each(self):
        angles = [(20, 10, -5), (90, 30, 0), (-90, -30, 0), (-70, 0, 40)]
        cameras = np.array([scaled(rotation_from_euler(*one), 2, (1, 2, 3)) for one in angles])
        np.testing.assert_allclose(head_poses(cameras), angles, atol=1e-6)

    def test_of_a_noisy_camera_the_rotation_is_the_nearest(self):
        random = np.random.default_rng(4)
        for _ in range(20):
            true = rotation_from_euler(*random.uniform(-60, 60, 3))
            camera = scaled(true, 2.0) + random.normal(0, 0.1, (3, 4))
            scale, rotation, _ = decompose(camera)
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
            assert np.linalg.det(rotation) == pytest.approx(1)
            assert scale == pytest.approx(2, abs=0.2)
            distance = np.linalg.norm(camera[:2, :3] - rotation[:2])
            for other in Rotation.from_rotvec(random.normal(0, 0.02, (20, 3))).as_matrix():
                assert np.linalg.norm(camera[:2, :3] - (other @ rotation)[:2]) > distance

    def test_only_what_the_picture_shows_counts(self):
        camera = scaled(rotation_from_euler(20, 10, -5), 0.5)
        camera[2, :3] = 7.0
        assert head_pose(camera) == pytest.approx((20, 10, -5))

    def test_another_scale_is_the_same_pose(self):
        camera = np.random.default_rng(5).normal(size=(3, 4))
        scale, rotation, translation = decompose(camera)
        larger_scale, same_rotation, larger_translation = decompose(10 * camera)
        assert larger_scale == pytest.approx(10 * scale)
        np.testing.assert_allclose(same_rotation, rotation, atol=1e-12)
        np.testing.assert_allclose(larger_translation, 10 * translation)


class TestCrop:
    def test_points_come_back_from_the_photo(self):
        random = np.random.default_rng(6)
        for dimensions in (2, 3):
            points = random.normal(size=(5, 68, dimensions)) * 40
            crop = Crop(*random.uniform(-100, 100, 2), 333.0)
            np.testing.assert_allclose(crop.from_photo(crop.to_photo(points)), points, atol=1e-9)
            np.testing.assert_allclose(crop.to_photo(crop.from_photo(points)), points, atol=1e-9)

    def test_the_frames_origin_is_the_crops_centre_and_y_turns_round(self):
        crop = Crop(10, 20, 240)
        frame = [[0, 0, 0], [-60, 60, 0], [60, -60, 5]]
        assert crop.to_photo(np.array(frame)).tolist() == [[130, 140, 0], [10, 20, 0], [250, 260, 10]]

    def test_the_callers_points_are_not_changed(self):
        points = np.ones((68, 2))
        Crop(1, 2, 300).to_photo(points)
        Crop(1, 2, 300).from_photo(points)
        assert (points == 1).all()

    @pytest.mark.parametrize(
        ("box", "crop"),
        [
            # Mean side 100 each: the square is 158 wide, its centre 14 below the box's.
            ((100, 50, 200, 150), (150 - 79, 100 + 14 - 79, 158)),
            ((0, 0, 80, 120), (40 - 79, 60 + 14 - 79, 158)),
            ((-300, 10, -180, 90, 0.7), (-240 - 79, 50 + 14 - 79, 158)),
        ],
    )
    def test_a_boxs_crop_follows_the_rule_of_3ddfa_v2(self, box, crop):
        assert crop_from_box(np.array(box)) == pytest.approx(crop)

    def test_the_box_of_a_crop_has_that_crop(self):
        crop = Crop(-12.5, 30.0, 217.0)
        left, top, right, bottom = box_from_crop(crop)
        assert right - left == pytest.approx(bottom - top)
        assert crop_from_box(box_from_crop(crop)) == pytest.approx(crop)

    @pytest.mark.parametrize("dimensions", [2, 3])
    def test_the_crop_of_landmarks_is_centred_and_root_2_times_their_longer_side(self, dimensions):
        landmarks = np.full((68, 3), [60.0, 50.0, 1e6])
        landmarks[:4, :2] = [[10, 50], [110, 60], [40, 30], [50, 90]]
        side = 100 * np.sqrt(2)
        crop = crop_from_landmarks(landmarks[:, :dimensions])
        assert crop == pytest.approx((60 - side / 2, 60 - side / 2, side))


def photo_of(values):
    """A photo (H, W, 3) of grey values (H, W)."""
    return np.repeat(np.asarray(values).round().astype(np.uint8)[..., None], 3, axis=2)


class TestCutCrop:
    def test_the_whole_photo_at_its_own_size_is_reproduced_bit_for_bit(self):
        photo = np.random.default_rng(7).integers(0, 256, (CROP_SIZE, CROP_SIZE, 3), np.uint8)
        np.testing.assert_array_equal(cut_crop(photo, Crop(-0.5, -0.5, CROP_SIZE)), photo)

    def test_a_crop_at_whole_pixels_is_a_part_of_the_photo(self):
        photo = np.random.default_rng(8).integers(0, 256, (200, 170, 3), np.uint8)
        crop = cut_crop(photo, Crop(9.5, 63.5, CROP_SIZE))
        np.testing.assert_array_equal(crop, photo[64:184, 10:130])

    @pytest.mark.parametrize("size", [30, 75, 120, 180, 360])
    @pytest.mark.parametrize("along", [0, 1])
    def test_a_ramp_has_in_each_crop_pixel_the_value_at_its_centre(self, size, along):
        scale = size / CROP_SIZE
        slope = 1.9 / scale
        # OpenCV rounds places to 1/32 pixel; these need no rounding.
        left, top = 5.25, 4.875
        steps = np.arange(int(size) + 12)
        ramp = np.broadcast_to(slope * (steps - 4), (len(steps), len(steps)))
        ramp = np.clip(ramp, 0, 255)
        crop = cut_crop(photo_of(ramp if along == 0 else ramp.T), Crop(left, top, size))[..., 0]
        centres = (left, top)[along] + (np.arange(CROP_SIZE) + 0.5) * scale
        error = (crop if along == 0 else crop.T)[60] - slope * (centres - 4)
        within = slice(2, 118)
        # Half a crop pixel would be 0.95; this is rounding to whole grey values.
        assert abs(error[within].mean()) < 0.4
        assert np.abs(error[within]).max() < 1.5

    @pytest.mark.parametrize("crop", [Crop(7.2, 3.1, 30), Crop(-4.4, -9.0, 52.0), Crop(12.25, 10.25, 13)])
    def test_a_bright_pixel_lands_where_its_place_in_the_photo_maps_to(self, crop):
        photo = np.zeros((40, 40, 3), np.uint8)
        photo[14, 19] = 255
        light = cut_crop(photo, crop)[..., 0].astype(float)
        y, x = np.mgrid[:CROP_SIZE, :CROP_SIZE]
        centre = np.array([(light * (x - 59.5)).sum(), (light * (59.5 - y)).sum()]) / light.sum()
        np.testing.assert_allclose(centre, crop.from_photo([19, 14]), atol=0.1)

    def test_pixels_of_a_large_face_are_averaged_in_whole_blocks(self):
        photo = np.random.default_rng(9).integers(0, 256, (400, 400, 3), np.uint8)
        crop = cut_crop(photo, Crop(9.5, 19.5, 360))
        blocks = photo[20:380, 10:370].reshape(120, 3, 120, 3, 3).mean((1, 3))
        assert np.abs(crop - blocks).max() <= 0.5 + 1e-6

    def test_outside_the_photo_is_black(self):
        photo = np.full((100, 100, 3), 200, np.uint8)
        crop = cut_crop(photo, Crop(-100.5, 39.5, 240))
        rows, columns = np.zeros(CROP_SIZE, bool), np.zeros(CROP_SIZE, bool)
        rows[:30], columns[50:100] = True, True
        inside = rows[:, None] & columns
        assert (crop[inside] == 200).all()
        assert (crop[~inside] == 0).all()

    @pytest.mark.parametrize("scale", [1.25, 1.5, 1.9, 1.99, 2.2, 2.8, 3.5, 4.5, 7.3])
    def test_a_fine_checkerboard_turns_grey_instead_of_aliasing(self, scale):
        side = int(CROP_SIZE * scale) + 40
        y, x = np.mgrid[:side, :side]
        crop = cut_crop(photo_of((x + y) % 2 * 255), Crop(10.3, 10.6, CROP_SIZE * scale))
        grey = crop[2:-2, 2:-2].astype(float)
        assert grey.mean() == pytest.approx(127.5, abs=1)
        # The standard deviation of the checkerboard itself is 127.5.
        assert grey.std() < 14

    @pytest.mark.parametrize("scale", [1.3, 2.0, 3.7, 6.1])
    def test_the_mean_brightness_is_kept(self, scale):
        side = int(CROP_SIZE * scale) + 1
        photo = np.random.default_rng(10).integers(0, 256, (side, side, 3), np.uint8)
        covered = cv2.copyMakeBorder(photo, 3, 3, 3, 3, cv2.BORDER_REFLECT)
        crop = cut_crop(covered, Crop(2.5, 2.5, CROP_SIZE * scale))
        np.testing.assert_allclose(crop.mean((0, 1)), photo.mean((0, 1)), atol=1)

    def test_it_is_the_networks_input_whatever_the_crop(self):
        photo = np.full((50, 80, 3), 200, np.uint8)
        for crop in (Crop(0, 0, 1e-9), Crop(-30, -30, 999), Crop(500, 500, 100), Crop(-5e5, -5e5, 1e6)):
            pixels = cut_crop(photo, crop)
            assert (pixels.shape, pixels.dtype) == ((CROP_SIZE, CROP_SIZE, 3), np.uint8)

    @pytest.mark.parametrize("corner", [(400.2, 20.3), (-310.6, 20.3), (20.4, 400.1), (20.4, -310.7)])
    def test_a_crop_that_shrinks_beside_the_photo_is_black(self, corner):
        photo = np.full((300, 320, 3), 200, np.uint8)
        assert not cut_crop(photo, Crop(*corner, 250.5)).any()

    @pytest.mark.parametrize("size", [130.4, 201.7, 340.1, 480.0, 733.3, 1150.9])
    def test_a_crop_that_shrinks_is_that_of_fine_samples_at_their_exact_places(self, size, monkeypatch):
        random = np.random.default_rng(12)
        photo = cv2.GaussianBlur(random.normal(128, 500, (1400, 1300, 3)), (0, 0), 2.5)
        photo = np.clip(photo, 0, 255).astype(np.uint8)
        crops = [Crop(*random.uniform(-60, 200, 2), size) for _ in range(4)]
        found = [cut_crop(photo, crop).astype(float) for crop in crops]
        monkeypatch.setattr(camera, "_shrunk", lambda *_: None)
        for pixels, crop in zip(found, crops, strict=True):
            exact = cut_crop(photo, crop)
            assert np.abs(pixels - exact).mean() < 1
            assert np.abs(pixels - exact).max() < 16

    def test_a_huge_face_is_averaged_too(self):
        photo = np.random.default_rng(11).integers(0, 256, (6000, 4800, 3), np.uint8)
        photo[:, 2400:] //= 2
        crop = cut_crop(photo, Crop(-0.5, -0.5, 4800)).astype(float)
        # The noise is of deviation 74, and 1,024 samples are averaged.
        assert crop[:, :59].std() < 74 / 32 + 1
        assert crop[:, :59].mean() == pytest.approx(127.5, abs=1)
        assert crop[:, 61:].mean() == pytest.approx(63.5, abs=1)

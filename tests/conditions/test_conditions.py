"""The seven conditions: no change at severity 0, worse with each step, the same for the same seed and any size."""

import cv2
import numpy as np
import pytest

from m4kit import predict
from m4kit.conditions import CONDITIONS, degrade, ground_depth, landmark_depth, scene_depth
from m4kit.conditions.degradation import STRENGTHS
from m4kit.conditions.exposure import KINDS
from m4kit.conditions.linear_light import clouds, convolved, to_linear, to_srgb
from m4kit.conditions.optics import _disc, _path
from m4kit.images import load_image

from helpers.faces import face as drawn_face
from helpers.paths import SAMPLES


@pytest.fixture(scope="module")
def photo():
    return cv2.resize(load_image(SAMPLES / "grace_hopper.jpg"), (320, 400), interpolation=cv2.INTER_AREA)


def difference(a, b):
    return float(np.abs(a.astype(float) - b).mean())


def sharpness(image):
    return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).std())


class TestEveryCondition:
    @pytest.mark.parametrize("condition", CONDITIONS)
    def test_severity_0_gives_the_photo_back_bit_for_bit(self, photo, condition):
        same = degrade(photo, condition, 0, seed=3)
        np.testing.assert_array_equal(same, photo)
        assert same is not photo

    @pytest.mark.parametrize("condition", CONDITIONS)
    def test_each_step_is_worse(self, photo, condition):
        # Averaged over seeds, since where a flake or a drop falls is chance.
        changes = [
            np.mean([difference(degrade(photo, condition, s, seed=k), photo) for k in range(6)])
            for s in (0.005, 1, 2, 3, 4, 5)
        ]
        assert (np.diff(changes) > 0.3).all(), changes
        assert changes[0] < 3
        assert changes[-1] > 8

    @pytest.mark.parametrize("condition", CONDITIONS)
    def test_a_seed_gives_one_picture(self, photo, condition):
        before = photo.copy()
        first, again = (degrade(photo, condition, 3, seed=5) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(photo, before)
        if condition != "focus":
            assert difference(first, degrade(photo, condition, 3, seed=6)) > 0.5

    @pytest.mark.parametrize("condition", CONDITIONS)
    def test_a_large_photo_suffers_like_a_small_one(self, photo, condition):
        large = cv2.resize(photo, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
        small_change, large_change = (
            np.mean([difference(degrade(image, condition, 4, seed=k), image) for k in range(4)])
            for image in (photo, large)
        )
        assert large_change == pytest.approx(small_change, rel=0.4)

    @pytest.mark.parametrize("condition", CONDITIONS)
    @pytest.mark.parametrize("shape", [(1, 1), (1, 300), (200, 3), (17, 19)])
    def test_tiny_and_narrow_photos_work(self, condition, shape):
        image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
        worse = degrade(image, condition, 5, seed=0)
        assert worse.shape == image.shape
        assert worse.dtype == np.uint8

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"condition": "fog"}, "a condition out of focus, haze, .*got 'fog'"),
            ({"condition": ["haze"]}, r"a condition out of .*, got \['haze'\]"),
            ({"severity": -0.1}, "severity from 0 to 5, got -0.1"),
            ({"severity": 5.5}, "severity from 0 to 5, got 5.5"),
            ({"severity": float("nan")}, "severity from 0 to 5, got nan"),
            ({"severity": "3"}, "severity from 0 to 5, got '3'"),
            ({"severity": None}, "severity from 0 to 5, got None"),
            ({"seed": -1}, "a whole number of at least 0, got -1"),
            ({"seed": 1.5}, r"a whole number of at least 0, got 1\.5"),
            ({"depth": "far"}, r"finite depth in metres \(40, 30\), got 'far'"),
            ({"depth": np.ones((3, 3))}, r"finite depth in metres \(40, 30\), got shape \(3, 3\)"),
            ({"depth": np.full((40, 30), "a")}, r"finite depth in metres \(40, 30\), got an array"),
            ({"depth": np.full((40, 30), np.nan)}, r"finite depth in metres \(40, 30\), got NaN"),
            ({"depth": np.full((40, 30), -1)}, "metres from 0, got -1 to -1; scene_depth estimates one"),
            ({"depth": np.full((40, 30), 1e300)}, r"metres from 0, got 1e\+300 to"),
            ({"depth": np.ma.array(np.ones((40, 30)), mask=True)}, "got a masked array"),
            ({"image": np.zeros((4, 4, 3))}, r"\(H, W, 3\) uint8 RGB .*, got float64"),
            ({"image": np.zeros((1, 40_000, 3), np.uint8)}, "at most 32,766 pixels, got 40000 x 1; scale"),
        ],
    )
    def test_odd_arguments_are_errors_that_say_what_came(self, photo, changed, message):
        given = {"image": photo[:40, :30], "condition": "haze", "severity": 1, "seed": 0} | changed
        with pytest.raises((TypeError, ValueError), match=f"^(degrade|seed|depth): expected .*{message}"):
            degrade(**given)


class TestLinearLight:
    def test_the_round_trip_changes_no_value(self):
        every = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
        np.testing.assert_array_equal(to_srgb(to_linear(every)), every)

    def test_known_values_of_the_standard(self):
        # IEC 61966-2-1: code 128 is 21.586 % of full light, code 10 is on the straight part (10 / 255 / 12.92).
        light = to_linear(np.array([[[128, 10, 255]]], np.uint8))
        np.testing.assert_allclose(light[0, 0], [0.21586, 0.0030353, 1], rtol=1e-4)

    def test_clouds_are_smooth_and_fill_their_range(self):
        noise = clouds((120, 200, 3), np.random.default_rng(0))
        assert noise.shape == (120, 200)
        assert noise.min() == pytest.approx(0, abs=0.05)
        assert noise.max() == pytest.approx(1, abs=0.05)
        assert np.abs(np.diff(noise, axis=1)).max() < 0.15


class TestOptics:
    @pytest.mark.parametrize("radius", [0.3, 2.0, 7.5])
    def test_a_point_out_of_focus_is_a_disc_of_its_light(self, radius):
        kernel = _disc(radius)
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        if radius > 1:
            assert 1 / kernel.max() == pytest.approx(np.pi * radius**2, rel=0.08)

    def test_a_path_has_its_length_and_direction(self):
        kernel = _path(20.0, np.pi / 2, 0.0)
        rows, columns = np.nonzero(kernel > 1e-3)
        assert np.ptp(columns) <= 1
        assert np.ptp(rows) == pytest.approx(20, abs=1)
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        bent = _path(20.0, np.pi / 2, 1.5)
        assert np.ptp(np.nonzero(bent > 1e-3)[1]) > 2

    @pytest.mark.parametrize("kernel", [_path(20.0, 0.4, 1.5), _path(0.7, 2.0, -1.5), _disc(7.5), _disc(0.3)])
    def test_no_blur_moves_what_it_blurs(self, kernel):
        rows, columns = np.indices(kernel.shape) - len(kernel) // 2
        assert (kernel * rows).sum() == pytest.approx(0, abs=1e-4)
        assert (kernel * columns).sum() == pytest.approx(0, abs=1e-4)

    @pytest.mark.parametrize("radius", [0.1, 0.3, 0.5])
    def test_a_disc_smaller_than_a_pixel_blurs_as_far_as_it_reaches(self, radius):
        kernel = _disc(radius)
        rows, _ = np.indices(kernel.shape) - len(kernel) // 2
        # Shared between neighbours, a place off a pixel's middle lies up to one pixel from it: E|x| = 4 r / (3 pi).
        assert (kernel * rows**2).sum() == pytest.approx(4 * radius / (3 * np.pi), rel=0.1)

    def test_large_kernels_give_nearly_the_result_at_full_size(self):
        light = to_linear(np.random.default_rng(1).integers(0, 256, (200, 240, 3), np.uint8))
        light = cv2.GaussianBlur(light, (0, 0), 3)
        direct = cv2.filter2D(light, -1, _disc(9.0), borderType=cv2.BORDER_REPLICATE)
        np.testing.assert_allclose(convolved(light, lambda k: _disc(9.0 * k), 19), direct, atol=0.015)

    def test_blur_takes_detail_and_keeps_light(self, photo):
        for condition in ("focus", "motion"):
            worse = [degrade(photo, condition, s, seed=1) for s in (1, 3, 5)]
            assert sharpness(photo) > sharpness(worse[0]) > sharpness(worse[1]) > sharpness(worse[2])
            mean = to_linear(photo).mean()
            assert to_linear(worse[2]).mean() == pytest.approx(mean, rel=0.06)


class TestWeather:
    def test_haze_follows_koschmiders_law(self):
        image = np.full((60, 80, 3), 40, np.uint8)
        depth = np.full((60, 80), 3.0)
        depth[:, 40:] = 9.0
        hazy = to_linear(degrade(image, "haze", 2, seed=0, depth=depth)).mean(axis=(0, 2))
        black = to_linear(degrade(0 * image, "haze", 5, seed=0, depth=depth * 100)).mean()
        # What is left of the contrast to the air is exp(-beta d): three times as far is its third power.
        near, far = (
            (black - hazy[part].mean()) / (black - to_linear(image).mean())
            for part in (slice(40), slice(40, 80))
        )
        assert near == pytest.approx(np.exp(-0.09 * 2 * 3 * STRENGTHS["haze"]), abs=0.06)
        assert far == pytest.approx(near**3, abs=0.05)

    def test_a_face_keeps_the_same_light_in_all_its_parts_however_large_it_is(self):
        promised = 0.18 * 5 * STRENGTHS["haze"]
        for size in (120, 240):
            landmarks = size / 240 * drawn_face(pose=(15, 10, 5)).landmarks[:, :2]
            shape = (size, size, 3)
            depth = landmark_depth(shape, [landmarks])
            lost = []
            # Averaged over seeds, since the fog lies in banks.
            for seed in range(16):
                black, white = (
                    to_linear(degrade(np.full(shape, grey, np.uint8), "haze", 5, seed=seed, depth=depth))
                    for grey in (0, 255)
                )
                lost.append(-np.log((white - black).mean(axis=2)))
            lost = np.mean(lost, axis=0)
            brow, nose, mouth, chin, cheek = (
                lost[round(y), round(x)] for x, y in landmarks[[19, 30, 62, 8, 14]]
            )
            assert [brow, nose, mouth, chin, cheek] == pytest.approx([promised] * 5, rel=0.08)
            assert lost[2, 2] > 2.5 * promised

    def test_snow_is_bright_and_rain_leaves_streaks(self):
        dark = np.full((300, 400, 3), 30, np.uint8)
        flakes = degrade(dark, "snow", 4, seed=0, depth=np.zeros((300, 400))).max(axis=2) > 150
        assert 0.01 < flakes.mean() < 0.4
        streaks = degrade(dark, "rain", 4, seed=0, depth=np.zeros((300, 400))).mean(axis=2)
        # Along a streak little changes, across it much.
        assert np.abs(np.diff(streaks, axis=1)).mean() > 1.5 * np.abs(np.diff(streaks, axis=0)).mean()


class TestIllumination:
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_changes_the_light(self, photo, kind):
        light = to_linear(photo)
        worse = to_srgb(KINDS[kind](light, 3.0, np.random.default_rng(0), None))
        assert difference(worse, photo) > 8

    def test_too_much_light_is_clipped_and_too_little_is_noisy(self, photo):
        light = to_linear(photo)
        over = to_srgb(KINDS["over"](light, 4.0, np.random.default_rng(0), None))
        assert (over == 255).mean() > 3 * (photo == 255).mean() + 0.05
        flat = np.full((100, 100, 3), 0.2, np.float32)
        under = KINDS["under"](flat, 4.0, np.random.default_rng(0), None)
        assert under.mean() < 0.6 * flat.mean()
        assert under.std() / under.mean() > 0.05

    def test_too_little_light_is_brightened_again_by_a_part_of_the_stops(self):
        flat = np.full((200, 200, 3), 0.2, np.float32)
        for severity in (1.0, 3.0):
            under = KINDS["under"](flat, severity, np.random.default_rng(0), None)
            stops = np.log2(flat.mean() / under.mean())
            assert stops == pytest.approx(0.95 * severity * (1 - 0.3), abs=0.02)

    def test_side_light_follows_the_surface(self):
        # A ball of half a metre, two metres away.
        y, x = np.mgrid[-100:100, -100:100] / 100
        inside = np.clip(1 - x**2 - y**2, 0, None)
        depth = (2.3 - 0.4 * np.sqrt(inside)).astype(np.float32)
        light = np.full((200, 200, 3), 0.4, np.float32)
        lit = KINDS["side"](light, 4.0, np.random.default_rng(2), depth).mean(axis=2)
        left, right = lit[100, 30:60].mean(), lit[100, 140:170].mean()
        assert max(left, right) > 3 * min(left, right)


class TestDepth:
    def test_the_ground_comes_nearer_downwards(self):
        depth = ground_depth((100, 50))
        assert depth.shape == (100, 50)
        assert (np.diff(depth[:, 0]) <= 0).all()
        assert depth[-1, 0] == pytest.approx(2.0, rel=1e-3)
        assert depth[0, 0] == 6.0

    def test_a_face_stands_before_its_background_and_the_nose_before_the_cheek(self):
        prediction = predict(SAMPLES / "grace_hopper.jpg")
        face = prediction[0]
        depth = scene_depth(prediction.image.shape, prediction.faces)
        assert np.isfinite(depth).all()
        (nose_x, nose_y), (jaw_x, jaw_y) = (np.round(face.landmarks[k, :2]).astype(int) for k in (30, 3))
        # A nose stands out some centimetres.
        assert 0.02 < depth[jaw_y, jaw_x] - depth[nose_y, nose_x] < 0.2
        assert 0.3 < depth[nose_y, nose_x] < 3
        assert depth[5, 5] > 2 * depth[nose_y, nose_x]
        hazy = degrade(prediction.image, "haze", 3, seed=0, depth=depth)
        left, top, right, bottom = (int(v) for v in np.asarray(face.box)[:4])
        assert hazy[top:bottom, left:right].std() > 1.3 * hazy[:40, :40].std()

    def test_true_landmarks_give_the_depth_of_their_face(self):
        face = drawn_face(pose=(30, -10, 5))
        depth, known = landmark_depth((240, 240), [face.landmarks[:, :2]]), scene_depth((240, 240), [face])
        inside = np.zeros((240, 240), np.uint8)
        cv2.fillConvexPoly(inside, cv2.convexHull(face.landmarks[:, :2].astype(np.float32)).astype(int), 1)
        # A camera with a focal length of 1.2 * 240 pixels sees a millimetre as one pixel from 0.288 metres.
        assert np.median(depth[inside > 0]) == pytest.approx(0.288, abs=0.03)
        assert np.abs(depth - known)[inside > 0].mean() < 0.01

    def test_no_faces_is_plain_ground(self):
        assert landmark_depth((40, 60), []) is None
        np.testing.assert_array_equal(scene_depth((40, 60), []), ground_depth((40, 60)))

"""The formulas against closed forms."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from m4kit.camera import rotation_from_euler
from m4kit.metrics import (
    DISTANCES,
    balanced_mean,
    bootstrap,
    correlation,
    depth_errors,
    distances,
    mean_error_vector,
    nme,
    nme_3d,
    nme_without_offset,
    pose_error,
    reliability,
    rotation_error,
    yaw_bin,
)


def _landmarks(width: float = 80, height: float = 20) -> np.ndarray:
    """68 points (68, 2) whose box is width x height: two corners and 66 points in between."""
    return np.linspace([3, 7], [3 + width, 7 + height], 68)


class TestNme:
    def test_a_shift_is_its_length_over_the_size_of_the_box(self):
        # The box is 80 x 20, of size sqrt(1600) = 40, and the shift 3-4-5 long.
        assert nme(np.add(_landmarks(), [3, 4]), _landmarks()) == pytest.approx(100 * 5 / 40)

    def test_it_is_the_mean_over_the_landmarks(self):
        predicted = _landmarks()
        predicted[:17, 0] += 8
        assert nme(predicted, _landmarks()) == pytest.approx(100 * 17 / 68 * 8 / 40)

    def test_a_perfect_prediction_has_none(self):
        assert nme(_landmarks(), _landmarks()) == 0

    def test_the_box_is_the_true_one(self):
        true, predicted = _landmarks(), _landmarks(8, 2)
        expected = 100 * np.linalg.norm(predicted - true, axis=1).mean() / 40
        assert nme(predicted, true) == pytest.approx(expected)

    def test_depth_does_not_count(self):
        true = np.column_stack([_landmarks(), np.zeros(68)])
        predicted = np.column_stack([np.add(_landmarks(), [3, 4]), np.full(68, 1000)])
        assert nme(predicted, true) == nme(predicted[:, :2], true) == nme(predicted, true[:, :2])
        assert nme(predicted, true) == pytest.approx(12.5)

    def test_a_batch_gives_one_error_a_face(self):
        true = np.stack([_landmarks(), _landmarks(40, 40), _landmarks(10, 10)])
        errors = nme(np.add(true, [[[3, 4]], [[0, 2]], [[0, 0]]]), true)
        np.testing.assert_allclose(errors, [12.5, 5, 0])

    def test_it_does_not_change_with_scale_position_or_quarter_turns(self):
        random = np.random.default_rng(0)
        true = random.normal(size=(5, 68, 2)) * 30
        predicted = true + random.normal(size=true.shape)
        np.testing.assert_allclose(nme(7 * predicted + [5, -3], 7 * true + [5, -3]), nme(predicted, true))
        turn = np.array([[0, 1], [-1, 0]])
        np.testing.assert_allclose(nme(predicted @ turn, true @ turn), nme(predicted, true))

    @pytest.mark.parametrize("shape", [(68,), (21, 2), (68, 4), (2, 68)])
    def test_other_shapes_are_an_error(self, shape):
        with pytest.raises(ValueError, match="predicted landmarks: expected"):
            nme(np.zeros(shape), _landmarks())

    def test_faces_that_do_not_pair_are_an_error(self):
        with pytest.raises(ValueError, match="as many predicted as true faces"):
            nme(np.zeros((2, 68, 2)), _landmarks()[None])

    @pytest.mark.parametrize(
        "true", [np.zeros((68, 2)), np.full((68, 2), np.nan), np.eye(68, 2)[::-1] * [0, 1]]
    )
    def test_true_landmarks_that_span_no_box_are_an_error(self, true):
        with pytest.raises(ValueError, match="span a box"):
            nme(_landmarks(), true)


class TestMeanErrorVector:
    def test_it_is_the_common_shift(self):
        noise = np.tile([[2.0, -5.0], [-2.0, 5.0]], (34, 1))
        vector = mean_error_vector(np.add(_landmarks(), [3, 4]) + noise, _landmarks())
        np.testing.assert_allclose(vector, [100 * 3 / 40, 100 * 4 / 40])

    def test_a_batch_gives_one_vector_a_face(self):
        true = np.stack([_landmarks(), _landmarks(40, 40)])
        np.testing.assert_allclose(mean_error_vector(np.add(true, [4, 0]), true), [[10, 0], [10, 0]])


class TestWithoutOffset:
    def test_a_common_shift_counts_for_nothing_and_the_rest_stays(self):
        true = np.stack([_landmarks(), _landmarks(40, 40)])
        assert np.allclose(nme_without_offset(np.add(true, [4, -2]), true), 0)
        apart = np.stack([np.add(true[0], [4, 0]), np.add(true[1], [-4, 0])])
        np.testing.assert_allclose(nme_without_offset(apart, true), nme(apart, true))

    def test_faces_of_another_size_share_the_offset_in_percent(self):
        true = np.stack([_landmarks(), _landmarks() * 3])
        predicted = np.stack([np.add(true[0], [2, 1]), np.add(true[1], [6, 3])])
        assert np.allclose(nme_without_offset(predicted, true), 0)


class TestDepth:
    def _faces(self):
        random = np.random.default_rng(0)
        true = np.column_stack([_landmarks(), random.normal(size=68)])
        return true + random.normal(size=true.shape), true

    def test_a_point_nearer_to_the_camera_is_a_positive_error(self):
        true = np.column_stack([_landmarks(), np.zeros(68)])
        predicted = np.add(true, [0, 0, 5])
        predicted[30, 2] += 4
        errors = depth_errors(predicted, true)
        # 4 of a size of 40, and the mean is taken away.
        assert errors[30] == pytest.approx(10 * 67 / 68)
        np.testing.assert_allclose(np.delete(errors, 30), -10 / 68)

    def test_the_distance_of_the_face_does_not_count(self):
        predicted, true = self._faces()
        moved = np.add(predicted, [0, 0, 100]), np.subtract(true, [0, 0, 7])
        np.testing.assert_allclose(nme_3d(*moved), nme_3d(predicted, true))

    def test_without_an_error_in_depth_it_is_the_nme(self):
        predicted, true = self._faces()
        predicted[:, 2] = true[:, 2]
        assert nme_3d(predicted, true) == pytest.approx(nme(predicted, true))

    def test_it_is_the_length_of_the_error_in_space(self):
        true = np.column_stack([_landmarks(), np.zeros(68)])
        # 4 to the right, and in turn 3 too near and 3 too far: 5 of 40.
        assert nme_3d(true + np.tile([[4, 0, 3], [4, 0, -3]], (34, 1)), true) == pytest.approx(12.5)

    def test_landmarks_without_depth_are_an_error(self):
        predicted, true = self._faces()
        with pytest.raises(ValueError, match=r"true landmarks: expected depth, .* got \(68, 2\)"):
            nme_3d(predicted, true[:, :2])


class TestDistances:
    def _face(self) -> np.ndarray:
        """A face (68, 2) with a lip gap of 3, eyes of 10 x 3 and 20 x 4, a nose of 12 and a width of 90."""
        points = np.zeros((68, 2))
        points[[62, 66]] = [[5, 70], [5, 73]]
        # The heights of the first eye are 2 and 4, those of the second both 4.
        points[36:42] = [[0, 0], [3, -1], [6, -2], [10, 0], [6, 2], [3, 1]]
        points[42:48] = [[30, 0], [36, -2], [44, -2], [50, 0], [44, 2], [36, 2]]
        points[[31, 35]] = [[-6, 30], [6, 30]]
        points[[0, 16]] = [[-45, 10], [45, 10]]
        return points

    def test_each_is_measured_between_its_landmarks(self):
        assert DISTANCES == ("lip gap", "eye aspect ratio", "nose width", "face width")
        assert distances(self._face(), 60) == pytest.approx([5, (0.3 + 0.2) / 2, 20, 150])

    def test_they_do_not_change_with_place_roll_and_scale_and_depth_does_not_count(self):
        turn = Rotation.from_euler("z", 40, degrees=True).as_matrix()[:2, :2]
        moved = np.column_stack([7 * self._face() @ turn + [3, -8], np.arange(68)])
        both = distances(np.stack([moved, 14 * moved]), np.array([420, 14 * 420]))
        np.testing.assert_allclose(both, [distances(self._face(), 60)] * 2)


class TestCorrelation:
    def test_it_is_pearsons_of_each_column(self):
        random = np.random.default_rng(0)
        true = random.normal(size=(40, 2))
        predicted = true * [1, -1] + random.normal(size=(40, 2))
        expected = [np.corrcoef(predicted[:, column], true[:, column])[0, 1] for column in (0, 1)]
        np.testing.assert_allclose(correlation(predicted, true), expected)

    def test_a_constant_and_a_factor_above_0_do_not_count(self):
        true = np.arange(6.0)
        assert correlation(3 * true + 7, true) == pytest.approx(1)
        assert correlation(-true, true) == pytest.approx(-1)

    def test_where_nothing_varies_it_is_nan_without_a_warning(self):
        assert np.isnan(correlation(np.ones(3), np.arange(3.0)))
        assert np.isnan(correlation(np.ones((1, 2)), np.ones((1, 2)))).all()


class TestYawBin:
    def test_30_and_60_belong_to_the_lower_bin_and_turns_beyond_90_to_the_last(self):
        yaw = [0, -30, 30.001, 60, -60.001, 90, 170, np.nan, np.inf]
        assert yaw_bin(yaw).tolist() == [0, 0, 1, 1, 2, 2, 2, -1, -1]

    def test_it_keeps_the_shape(self):
        assert yaw_bin(np.zeros((2, 3))).shape == (2, 3)
        assert yaw_bin(45.0) == 1


class TestBalancedMean:
    def test_the_bins_weigh_alike_whatever_their_counts(self):
        result = balanced_mean(np.array([1.0, 1, 1, 1, 2, 2, 6]), np.array([0, 1, 2, 3, 45, 45, 80]))
        assert result.mean == pytest.approx(3)
        np.testing.assert_allclose(result.bins, [1, 2, 6])
        assert result.counts.tolist() == [4, 2, 1]

    def test_an_empty_bin_makes_it_nan_without_a_warning(self):
        result = balanced_mean(np.array([1.0, 2.0]), np.array([0, 45]))
        assert np.isnan(result.mean)
        np.testing.assert_array_equal(result.bins, [1, 2, np.nan])

    def test_errors_and_angles_must_pair(self):
        with pytest.raises(ValueError, match=r"got \(3,\) and \(2,\)"):
            balanced_mean(np.ones(3), np.ones(2))
        with pytest.raises(ValueError, match="finite yaw"):
            balanced_mean(np.ones(1), np.array([np.nan]))


class TestPoseError:
    @pytest.mark.parametrize(
        ("predicted", "true", "expected"),
        [(10, 4, 6), (4, 10, 6), (179, -179, 2), (-179, 179, 2), (180, -180, 0), (90, -90, 180), (370, 5, 5)],
    )
    def test_angles_differ_by_the_short_way_round(self, predicted, true, expected):
        assert pose_error(predicted, true) == pytest.approx(expected)

    def test_every_angle_of_every_face_has_its_own(self):
        predicted, true = np.array([[1, 2, 3], [-170, 0, 10]]), np.array([[0, 0, 0], [170, 5, -10]])
        np.testing.assert_allclose(pose_error(predicted, true), [[1, 2, 3], [20, 5, 20]])

    def test_shapes_must_agree(self):
        with pytest.raises(ValueError, match="one shape"):
            pose_error(np.zeros((2, 3)), np.zeros(3))


class TestRotationError:
    def _some(self, count: int, seed: int) -> np.ndarray:
        return Rotation.random(count, random_state=seed).as_matrix()

    def test_it_is_the_angle_of_the_turn_between_them(self):
        start = self._some(50, 0)
        for angle in (0, 1e-6, 3, 90, 179.9, 180):
            axes = np.random.default_rng(1).normal(size=(50, 3))
            axes *= np.radians(angle) / np.linalg.norm(axes, axis=1, keepdims=True)
            turned = Rotation.from_rotvec(axes).as_matrix() @ start
            np.testing.assert_allclose(rotation_error(turned, start), angle, rtol=1e-5, atol=1e-9)

    def test_it_is_a_distance_that_no_common_turn_changes(self):
        a, b, c = (self._some(100, seed) for seed in (1, 2, 3))
        np.testing.assert_allclose(rotation_error(a, b), rotation_error(b, a))
        np.testing.assert_allclose(rotation_error(c @ a, c @ b), rotation_error(a, b))
        assert (rotation_error(a, c) <= rotation_error(a, b) + rotation_error(b, c) + 1e-9).all()

    def test_near_a_yaw_of_90_degrees_angles_far_apart_may_be_one_rotation(self):
        predicted, true = (89.5, -60, 0), (89.5, 0, 60)
        assert pose_error(np.array(predicted), np.array(true)).tolist() == [0, 60, 60]
        turned = rotation_error(rotation_from_euler(*predicted), rotation_from_euler(*true))
        assert turned == pytest.approx(0.5, abs=1e-3)


class TestBootstrap:
    def test_it_agrees_with_the_normal_interval_of_a_mean(self):
        values = np.random.default_rng(1).normal(10, 2, 2000)
        low, high = bootstrap(values, resamples=2000)
        half = 1.96 * values.std() / np.sqrt(2000)
        assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
        assert high == pytest.approx(values.mean() + half, abs=0.1 * half)

    def test_equal_values_leave_no_doubt(self):
        assert bootstrap(np.full(20, 3.5)).tolist() == [3.5, 3.5]

    def test_a_seed_fixes_it(self):
        values = np.arange(30.0)
        assert (bootstrap(values, seed=4) == bootstrap(values, seed=4)).all()
        assert (bootstrap(values, seed=4) != bootstrap(values, seed=5)).any()

    def test_less_confidence_is_a_narrower_interval(self):
        values = np.random.default_rng(2).normal(size=200)
        wide, narrow = bootstrap(values), bootstrap(values, confidence=0.5)
        assert wide[0] < narrow[0] < narrow[1] < wide[1]

    def test_rows_are_drawn_together_for_a_statistic_of_several_columns(self):
        rows = np.column_stack([np.arange(50.0), 2 * np.arange(50.0)])
        low, high = bootstrap(rows, statistic=lambda drawn: drawn[:, 1].sum() / drawn[:, 0].sum())
        assert low == high == pytest.approx(2)

    def test_draws_without_a_value_are_left_out(self):
        rows = np.array([[1.0, 0], [1, 45], [1, 80]])
        interval = bootstrap(rows, statistic=lambda drawn: balanced_mean(*drawn.T).mean)
        assert interval.tolist() == [1, 1]

    def test_a_statistic_that_never_has_a_value_has_no_interval(self):
        assert np.isnan(bootstrap(np.ones(3), statistic=lambda drawn: np.nan)).all()

    def test_no_values_are_an_error(self):
        with pytest.raises(ValueError, match="at least one value"):
            bootstrap(np.zeros(0))

    def test_a_statistic_of_several_numbers_has_as_many_intervals_from_the_same_draws(self):
        values = np.random.default_rng(3).normal(size=(40, 3))
        both = bootstrap(values)
        assert both.shape == (2, 3)
        np.testing.assert_allclose(both[:, 1], bootstrap(values[:, 1]))

    def test_groups_are_drawn_as_a_whole(self):
        # Two photos of 0 and 1: each draw is all 0, all 1, or half of each.
        values, photos = np.repeat([0.0, 1.0], 50), np.repeat(["a", "b"], 50)
        means = []
        bootstrap(values, groups=photos, statistic=lambda drawn: means.append(drawn.mean()) or 0.0)
        assert set(means) == {0, 0.5, 1}

    def test_groups_of_one_change_nothing(self):
        values = np.random.default_rng(5).normal(size=30)
        assert (bootstrap(values, groups=np.arange(30)) == bootstrap(values)).all()


class TestReliability:
    def test_bins_hold_equally_many_faces_with_wilsons_interval(self):
        """40 faces in any order: none of the 20 least probable ones failed, and half of the others."""
        order = np.random.default_rng(0).permutation(40)
        probability, failed = np.linspace(0.0, 0.39, 40)[order], np.repeat([False, True], [30, 10])[order]
        found = reliability(probability, failed, bins=2)
        np.testing.assert_allclose(found.predicted, [0.095, 0.295])
        np.testing.assert_allclose(found.failed, [0.0, 0.5])
        z = 1.959964
        half = z * np.sqrt(0.25 / 20 + z**2 / (4 * 20**2)) / (1 + z**2 / 20)
        np.testing.assert_allclose(found.low, [0.0, 0.5 - half], atol=1e-6)
        np.testing.assert_allclose(found.high, [z**2 / (20 + z**2), 0.5 + half], atol=1e-6)

    def test_equal_probabilities_still_fill_all_bins(self):
        found = reliability(np.zeros(30), np.arange(30) < 3, bins=3)
        np.testing.assert_allclose(found.failed, [0.3, 0, 0])

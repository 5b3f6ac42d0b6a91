"""The accuracy under any weights, read off a study's record."""

import numpy as np
import pytest

from m4kit.ablation import HeadStudy, RecordError, accuracy_at, simplex
from m4kit.ablation.heads.accuracy import check_heads_of

from helpers.head_records import LEARNED, SLOPE, judgement, linear_study


def random_weights(n=500):
    return np.random.default_rng(0).dirichlet(np.full(4, 0.6), n)


def test_what_is_linear_in_the_weights_is_interpolated_exactly():
    weights = random_weights()
    found = accuracy_at(linear_study(), weights)
    np.testing.assert_allclose(found.nme, weights @ SLOPE, atol=1e-6)
    np.testing.assert_allclose(found.interval, (weights @ SLOPE)[:, None] + [-0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(found.difference[:, 0], weights @ SLOPE - 1, atol=1e-6)
    assert not found.measured.any()


def test_a_convex_error_is_never_understated_and_met_where_it_was_measured():
    def error(weights):
        return 2 + np.square(weights - [0.15, 0.2, 0.3, 0.35]).sum(axis=-1)

    record, weights = linear_study(error=error), random_weights()
    assert (accuracy_at(record, weights).nme >= error(weights) - 1e-9).all()
    found = accuracy_at(record, simplex(0.1))
    assert found.measured.all()
    np.testing.assert_allclose(found.nme, error(simplex(0.1)), atol=1e-9)


def test_corners_edges_and_sums_that_rounding_pushes_beyond_them_are_known():
    weights = np.array(
        [[1, 0, 0, 0], [0, 0, 0, 1], [0.5, 0, 0.5, 0], [0.1 + 0.2, 0.3, 0.4, 0], [0, 1 / 3, 1 / 3, 1 / 3]]
    )
    np.testing.assert_allclose(accuracy_at(linear_study(), weights).nme, weights @ SLOPE, atol=1e-6)


def test_between_finer_steps_the_finer_ones_count():
    fine = np.array([[0.15, 0.25, 0.3, 0.3], [0.15, 0.2, 0.35, 0.3], [0.15, 0.2, 0.3, 0.35]])

    def error(weights):
        return np.where((abs(weights[..., None, :] - fine).max(axis=-1) < 1e-9).any(axis=-1), 7.0, 2.0)

    record = linear_study(error=error, extra=[fine])
    assert accuracy_at(record, fine[0]).nme == pytest.approx(7)
    assert bool(accuracy_at(record, fine[0]).measured)
    # All coarse neighbours of this point have an error of 2.
    middle = accuracy_at(record, fine[:2].mean(axis=0))
    assert middle.nme == pytest.approx(7)
    assert not middle.measured


def test_learned_weights_between_the_steps_are_measured_not_interpolated():
    def error(weights):
        return np.where(abs(weights - LEARNED).max(axis=-1) < 1e-9, 5.0, 2.0)

    record = linear_study(error=error)
    found = accuracy_at(record, np.float32(LEARNED))
    assert found.nme == 5
    assert bool(found.measured)


def test_any_shape_of_weights_is_taken_but_not_another_number_of_heads():
    found = accuracy_at(linear_study(), random_weights(6).reshape(2, 3, 4))
    assert (found.nme.shape, found.interval.shape, found.difference.shape) == ((2, 3), (2, 3, 2), (2, 3, 3))
    with pytest.raises(ValueError, match=r"expected weights \(\.\.\., 4\), got \(3,\)"):
        accuracy_at(linear_study(), np.full(3, 1 / 3))


def test_a_study_without_a_grid_is_an_error():
    few = np.full((1, 4), 0.25)
    record = linear_study(
        grid=judgement(few, few @ SLOPE),
        grid_intervals=np.zeros((1, 2)),
        grid_differences=np.zeros((1, 3)),
        chosen_on="others",
    )
    with pytest.raises(
        RecordError, match=r"in steps of 0\.1, got 1 weights, because the best were chosen on others"
    ):
        accuracy_at(record, few[0])


@pytest.mark.parametrize(
    ("network", "heads", "message"),
    [
        ("other heads", 4, r"fingerprint other heads\), got one of made-up \(these heads\); make one with"),
        ("", 4, "expected a prediction with the fingerprint"),
        ("these heads", 3, "expected the 4 heads of the study .* got a face with 3"),
    ],
)
def test_a_record_of_other_heads_is_refused(network, heads, message):
    with pytest.raises(RecordError, match=message):
        check_heads_of(linear_study(), network=network, heads=heads)
    check_heads_of(linear_study(), network="these heads", heads=4)


def test_the_record_keeps_its_network_and_the_grids_intervals(tmp_path):
    record = linear_study()
    again = HeadStudy.load(record.save(tmp_path / "record.parquet"))
    assert again.network == "these heads"
    np.testing.assert_array_equal(again.grid_intervals, record.grid_intervals)

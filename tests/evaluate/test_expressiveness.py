"""What a face model can say of true landmarks, and what a network missed beyond it."""

import numpy as np
import pytest

from m4kit import metrics
from m4kit.cli import main
from m4kit.evaluate import expressiveness, expressiveness_table
from m4kit.face_model import packaged_model

from helpers import faces
from helpers.aflw_like import write_set

MODEL = packaged_model()


def people(count, *, spread=1.0):
    """Landmarks (count, 68, 2) of random people of the model, in photo pixels."""
    values = np.random.default_rng(3).normal(0, spread, (count, 50))
    values[:, 40:] = 0
    return np.stack([faces.face(pose=(10, 5, 0), coefficients=one).landmarks[:, :2] for one in values])


@pytest.fixture(scope="module")
def noisy():
    true = people(4) + np.random.default_rng(4).normal(0, 2, (4, 68, 2))
    return expressiveness(MODEL, true, predicted=true + np.array([3, 0]))


def test_people_of_the_model_have_nearly_no_floor_and_noise_has_one(noisy):
    result = expressiveness(MODEL, people(4))
    assert result.floor.max() < 0.5 < noisy.floor.min()


def test_floor_and_missed_add_up_to_the_network_s_error(noisy):
    network = metrics.nme(noisy.predicted, noisy.true)
    np.testing.assert_allclose(noisy.floor + noisy.missed, network)


def test_people_far_from_the_mean_need_a_larger_distance():
    near, far = (expressiveness(MODEL, people(4, spread=spread)).distance[:, 0] for spread in (0.5, 2))
    assert far.min() > near.max()


def test_shares_of_the_modes_add_up_and_the_largest_are_named(noisy):
    shares = noisy.mode_shares
    assert shares.shape == (50,) and shares.sum() == pytest.approx(1)
    first = noisy.main_modes(1)
    word, number = first.split(" (")[0].split()
    assert int(number) - 1 + 40 * (word == "expression") == shares.argmax()


def test_landmarks_that_are_left_out_do_not_shape_their_own_prediction():
    true = people(1)
    moved = true.copy()
    moved[0, 8] += [0, 15]
    before, after = (expressiveness(MODEL, points) for points in (true, moved))
    for name in ("left_out", "left_out_followed"):
        # The noise of a fit is relative to the box of all points, so a little changes.
        shift = np.abs(getattr(after, name) - getattr(before, name))[0, 8].max()
        assert shift < 1.5
    assert np.abs(after.followed - before.followed)[0, 8].max() > 3


def test_a_free_form_comes_closer_than_the_model_alone(noisy):
    assert (metrics.nme(noisy.followed, noisy.true) < noisy.floor).all()


def test_the_table_has_every_measure_of_every_set_with_its_interval(noisy):
    table = expressiveness_table({"a": noisy, "b": expressiveness(MODEL, people(3))})
    assert set(table[table["set"] == "a"]["measure"]) == set(noisy.measures)
    assert ((table["low"] <= table["mean"]) & (table["mean"] <= table["high"])).all()
    floor = table[(table["set"] == "a") & (table["measure"] == "NME floor")].iloc[0]
    assert floor["mean"] == pytest.approx(noisy.floor.mean()) and floor["faces"] == 4
    assert not any("network" in name for name in table[table["set"] == "b"]["measure"])


def test_bad_input():
    with pytest.raises(ValueError, match="expected predictions of all 2 faces, got 1"):
        expressiveness(MODEL, people(2), predicted=people(1))
    with pytest.raises(ValueError, match="missed: expected a network's landmarks"):
        _ = expressiveness(MODEL, people(1)).missed


def test_the_command_prints_a_column_per_set(tmp_path, capsys):
    folder = str(write_set(tmp_path / "tiny"))
    command = ["evaluate", "expressiveness", "--weights", "m4net-small", "--quiet"]
    assert main([*command, "--set", "aflw2000-3d", folder, "--set", "aflw2000-3d", folder]) == 0
    text = capsys.readouterr().out
    assert "tiny, 3 faces" in text and f"{folder}, 3 faces" in text
    assert "NME floor" in text and "modes that carry most of the distance, tiny: " in text


def test_an_unknown_layout_is_an_error(tmp_path, capsys):
    assert main(["evaluate", "expressiveness", "--set", "cats", str(tmp_path)]) == 2
    assert "layout: expected one of" in capsys.readouterr().err

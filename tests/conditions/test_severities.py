"""The script that measures what each condition costs a network, on made-up answers with known costs."""

import numpy as np
import pandas as pd
import pytest

from m4kit.camera import rotation_from_euler
from m4kit.conditions import CONDITIONS

from helpers.faces import face
from helpers.paths import script_fixture

script = script_fixture("severities", folder="benchmarks")


def network(*answers):
    """A network that gives these landmarks (n, 68, 3), call after call, and cameras of upright heads."""
    answers = iter(answers)

    def predict_crops(crops):
        return next(answers), np.tile(np.hstack([np.eye(3), np.zeros((3, 1))]), (len(crops), 1, 1))

    return predict_crops


@pytest.fixture(scope="module")
def landmarks():
    """Landmarks (3, 68, 3) of heads in the crop frame."""
    heads = [face(pose=pose) for pose in ((0, 0, 0), (25, 5, 0), (-50, 0, 10))]
    return np.stack(
        [np.column_stack([head.crop.from_photo(head.landmarks[:, :2]), np.zeros(68)]) for head in heads]
    )


def test_the_cost_is_what_an_answer_loses_and_a_habit_costs_nothing(script, landmarks):
    habit = np.array([2.0, 1.0])
    faces = script.Faces(np.zeros((3, 120, 120, 3), np.uint8), landmarks[..., :2] - habit, np.eye(68))
    moved = landmarks + np.array([3, 4, 0])
    cost = script.Cost(faces, network(landmarks, landmarks, moved))
    np.testing.assert_allclose(cost.clean_error, 0, atol=1e-9)
    size = np.sqrt(np.ptp(landmarks[..., :2], axis=1).prod(axis=1))
    added, drift = cost.measure("haze", 1.0, seed=0)
    np.testing.assert_allclose([added, drift], 0, atol=1e-9)
    added, drift = cost.measure("focus", 1.0, seed=0)
    np.testing.assert_allclose([added, drift], [100 * 5 / size] * 2)


def test_habits_belong_to_the_head_and_missing_points_do_not_count(script):
    frames = np.stack([rotation_from_euler(*pose) for pose in ((0, 0, 0), (40, 0, 0), (-30, 20, 0))])[:, :2]
    habit = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]])
    offsets = np.einsum("nij,pj->npi", frames, habit)
    known = offsets.copy()
    known[:2, 1] = np.nan
    found = script._habits(known, frames)
    np.testing.assert_allclose(found[:, 0], offsets[:, 0])
    # One face tells nothing about a habit in depth.
    np.testing.assert_array_equal(found[:, 1], 0)


@pytest.mark.parametrize(
    ("cost", "strength"), [(0.5, 0.5), (1.0, 1.0), (2.0, 3.5), (3.0, 4.0), (3.1, np.nan)]
)
def test_the_strength_lies_between_measured_ones(script, cost, strength):
    found = script.strength_for(
        cost, np.array([0.0, 1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 0.7, 1.0, 3.0])
    )
    assert found == pytest.approx(strength, nan_ok=True)


def test_conditions_of_one_cost_keep_their_strengths(script):
    rows = [(name, s, 0.3 * s, 0.1, 1.0) for name in CONDITIONS for s in script.SEVERITIES]
    table = pd.DataFrame(rows, columns=["condition", "severity", "added", "error", "drift"])
    now, needed = script.report(table, None, clean=np.full(4, 3.0)).splitlines()[-2:]
    assert now.split()[-7:] == needed.split()[-7:]
    assert "common cost is 0.90 %" in script.report(table, None, clean=np.full(4, 3.0))

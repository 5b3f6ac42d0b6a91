"""The script that measures how well the models fit groups of people, on made-up people with known answers."""

import cv2
import numpy as np
import pytest

from m4kit import FaceModel
from m4kit.camera import rotation_from_euler
from m4kit.parameters import join

from helpers.paths import script_fixture

script = script_fixture("measure_people")


def test_a_person_of_the_model_is_fitted_exactly_wherever_they_stand(script):
    model = FaceModel.load()
    identity = model.sample(1, seed=0)[0]
    person = model.vertices(identity[0])
    moved = 1.3 * person @ rotation_from_euler(30, -10, 5).T + [10, 20, 30]
    distance, fitted = script.fitted(model, moved[None], np.ones(len(person), bool))
    assert distance[0] < 1e-3
    np.testing.assert_allclose(fitted[0], identity[0], atol=0.01)


@pytest.mark.parametrize("angle", [-40, 20, 55])
def test_the_angle_of_a_skin_is_that_of_its_colour(script, angle):
    model = FaceModel.load()
    lab = np.float32([[[50 + 18 * np.tan(np.radians(angle)), 12, 18]]])
    colour = np.rint(255 * cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)).astype(np.uint8)
    camera = np.hstack([0.5 * np.eye(3), np.zeros((3, 1))])
    found = script.skin_angle(model, np.tile(colour, (120, 120, 1)), join(camera, np.zeros(50)))
    assert found == pytest.approx(angle, abs=2)


def test_missing_points_do_not_count(script):
    predicted = np.zeros((2, 21, 2))
    points = np.full((2, 21, 2), np.nan)
    points[0, 7:9] = [3, 4]
    assert script.point_errors(predicted, points)[0] == 5
    assert np.isnan(script.point_errors(predicted, points)[1])


def test_a_face_is_as_far_from_the_mean_as_its_mode_moves_the_skin(script):
    model = FaceModel.load()
    identity = np.zeros((2, 3, 2, 40))
    identity[1, 2, 0, 4] = -2
    table = script.distance_table(model, identity)
    skin = ~(model.regions["mouth_inside"] | model.regions["eyeballs"])
    moved = np.linalg.norm(model.identity_modes[4][skin], axis=1)
    assert table.loc["male, caucasian", "25 years"] == pytest.approx(2 * np.sqrt((moved**2).mean()), rel=1e-5)
    assert (table.to_numpy() > 0).sum() == 1

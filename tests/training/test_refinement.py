"""Labels follow the points that people annotated, as far as each can be trusted, and no further."""

import numpy as np
from scipy.spatial.transform import Rotation

from m4kit.training.refinement import (
    annotation,
    annotation_offsets,
    draw_to_annotation,
    place_annotated,
    refine,
)

N = 40
INNER = slice(6, 12)
"""AFLW's points on the eyes."""


def faces(seed, *, n=N, turn=30.0):
    """Raw parameters of random people, turned up to `turn` degrees to either side."""
    random = np.random.default_rng(seed)
    angles = np.column_stack(
        [random.uniform(-turn / 3, turn / 3, n), random.uniform(-turn, turn, n), np.zeros(n)]
    )
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    camera = np.concatenate([0.55 * rotation, random.normal(size=(n, 3, 1)) * [[3], [3], [0]]], axis=2)
    return np.concatenate([camera.reshape(n, 12), 0.7 * random.normal(size=(n, 50))], axis=1)


def moved(parameters, seed):
    """The same faces as a teacher might see them: turned, larger or smaller, shifted, of another shape."""
    random, changed = np.random.default_rng(seed), parameters.copy()
    camera = changed[:, :12].reshape(-1, 3, 4)
    turn = Rotation.from_rotvec(random.normal(size=(len(camera), 3)) * np.radians(1.5)).as_matrix()
    camera[:, :, :3] = turn @ camera[:, :, :3] * np.exp(0.03 * random.normal(size=(len(camera), 1, 1)))
    camera[:, :2, 3] += 1.5 * random.normal(size=(len(camera), 2))
    changed[:, 12:] += 0.3 * random.normal(size=(len(camera), 50))
    return changed


def annotated(model, parameters, *, visible=21):
    """What annotators who make no mistake write down of the first of AFLW's points."""
    points21 = place_annotated(model, parameters)[:, :21]
    points21[:, visible:] = np.nan
    return annotation(points21, np.full((len(parameters), 68, 2), np.nan))


def distance(model, parameters, truth):
    return np.linalg.norm(place_annotated(model, parameters) - place_annotated(model, truth), axis=-1)


class TestRefine:
    def test_without_annotation_the_teacher_is_believed(self, model):
        teacher = faces(0)
        points, trust = annotated(model, teacher, visible=0)
        np.testing.assert_allclose(refine(model, teacher, points, trust), teacher, atol=1e-9)

    def test_a_teacher_that_is_right_stays_as_it_is(self, model):
        truth = faces(1)
        np.testing.assert_allclose(refine(model, truth, *annotated(model, truth)), truth, atol=1e-6)

    def test_points_that_were_not_annotated_profit_too(self, model):
        truth = faces(2)
        teacher = moved(truth, 3)
        refined = refine(model, teacher, *annotated(model, truth))
        before, after = (distance(model, face, truth) for face in (teacher, refined))
        assert after[:, INNER].mean() < 0.35 * before[:, INNER].mean()
        # The 68 landmarks are known from nothing but AFLW's 21.
        assert after[:, 21 + 17 :].mean() < 0.6 * before[:, 21 + 17 :].mean()

    def test_a_wrong_click_hardly_pulls(self, model):
        truth = faces(4)
        points, trust = annotated(model, truth)
        points[:, 7] += [30, -20]
        refined = refine(model, truth, points, trust)
        assert distance(model, refined, truth)[:, 21:].max() < 0.5

    def test_the_camera_stays_a_scaled_rotation_without_depth(self, model):
        truth = faces(7)
        for camera in refine(model, moved(truth, 8), *annotated(model, truth))[:, :12].reshape(-1, 3, 4):
            scale = np.linalg.norm(camera[0, :3])
            np.testing.assert_allclose(camera[:, :3] @ camera[:, :3].T, scale**2 * np.eye(3), atol=1e-9)
            assert np.linalg.det(camera[:, :3]) > 0
            assert camera[2, 3] == 0


class TestHabits:
    def test_where_annotators_click_is_found_in_millimetres(self, model):
        truth = faces(9, n=200, turn=60)
        habit = np.zeros((89, 3))
        habit[6], habit[14] = [-3.0, 0.5, -1.0], [0.2, -0.4, 2.0]
        points = place_annotated(model, truth, habit)
        found = annotation_offsets(model, truth, points, annotated(model, truth)[1])
        np.testing.assert_allclose(found[:21], habit[:21], atol=1e-3)

    def test_a_habit_is_not_followed_but_what_differs_from_face_to_face_is(self, model):
        truth = faces(10, n=200, turn=40)
        habit = np.zeros((89, 3))
        habit[INNER, 1] = 2.5
        _, trust = annotated(model, truth)
        clicked = place_annotated(model, truth, habit)
        drawn, habits = draw_to_annotation(model, truth, clicked, trust)
        np.testing.assert_allclose(habits[:21], habit[:21], atol=1e-3)
        np.testing.assert_allclose(drawn, truth, atol=1e-3)
        teacher = moved(truth, 11)
        drawn, habits = draw_to_annotation(model, teacher, clicked, trust)
        np.testing.assert_allclose(habits[INNER], habit[INNER], atol=0.6)
        before, after = (distance(model, face, truth)[:, 21:].mean() for face in (teacher, drawn))
        assert after < 0.7 * before

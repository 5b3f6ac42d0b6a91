"""Faces beyond the face model: they follow landmarks smoothly, exaggerate, and leave the mesh's edge alone."""

from dataclasses import replace

import numpy as np
import pytest

from m4kit import metrics
from m4kit.exaggeration import (
    PLAUSIBLE,
    edge_distortion,
    edge_fade,
    exaggerate,
    fit_face,
    follow,
    free_form,
)
from m4kit.face_model import packaged_model

from helpers import faces

MODEL = packaged_model()


@pytest.fixture
def face():
    values = np.zeros(50)
    values[[0, 3, 42]] = 1.5, -1, 0.6
    return faces.face(pose=(20, -5, 8), coefficients=values)


def caricature(face):
    """The face's landmarks (68, 2) with a nose that is half as large again, which no coefficients give."""
    points = face.landmarks[:, :2]
    tip = points[30]
    near = np.exp(-np.square(np.linalg.norm(points - tip, axis=1) / 25))
    return tip + (points - tip) * (1 + 0.5 * near[:, None])


class TestFitFace:
    def test_it_finds_the_landmarks_of_a_face_that_the_model_can_say(self, face):
        fit = fit_face(MODEL, face.landmarks, noise=1e-4)
        assert metrics.nme(fit.landmarks, face.landmarks) < 0.1
        assert fit.pose.yaw == pytest.approx(face.pose.yaw, abs=1.5)

    def test_its_landmarks_are_those_of_the_fit_of_the_model(self, face):
        fit = MODEL.fit(face.landmarks[:, :2] * [1, -1])
        expected = fit.landmarks[0, :, :2] * [1, -1]
        np.testing.assert_allclose(fit_face(MODEL, face.landmarks).landmarks[:, :2], expected, atol=1e-3)


class TestExaggerate:
    def test_1_is_the_face_itself_and_0_the_mean_face_inside_the_edge(self, face):
        np.testing.assert_allclose(exaggerate(face, 1).shape, face.shape, atol=1e-4)
        inside = edge_fade(MODEL) == 1
        neutral = MODEL.vertices(None, face.expression)
        np.testing.assert_allclose(exaggerate(face, 0).shape[inside], neutral[inside], atol=1e-4)

    def test_the_edge_stays_and_the_middle_goes_k_times_as_far(self, face):
        moved, fade = exaggerate(face, 4).shape - face.shape, edge_fade(MODEL)
        np.testing.assert_allclose(moved[fade == 0], 0, atol=1e-4)
        neutral = MODEL.vertices(None, face.expression)
        inside = fade == 1
        np.testing.assert_allclose(moved[inside], 3 * (face.shape - neutral)[inside], atol=1e-3)

    def test_only_the_outer_edge_fades(self):
        fade = edge_fade(MODEL)
        border = np.flatnonzero(fade == 0)
        assert 100 < len(border) < 300
        assert not (MODEL.regions["eyeballs"] & (fade < 1)).any()

    def test_another_reference_scales_what_tells_the_face_from_it(self, face):
        same = exaggerate(face, 5, reference=face.shape)
        np.testing.assert_allclose(same.shape, face.shape, atol=1e-4)

    def test_the_whole_head_moves_too(self, face):
        head = exaggerate(face.head, 3)
        assert head.shape.shape == face.head.shape.shape
        eyes = MODEL.head.regions["eyeballs"]
        assert np.linalg.norm((head.shape - face.head.shape)[eyes], axis=1).min() > 0

    def test_bad_input(self, face):
        with pytest.raises(ValueError, match="k"):
            exaggerate(face, np.nan)
        with pytest.raises(ValueError, match="reference"):
            exaggerate(face, 2, reference=np.zeros((3, 3)))


class TestFollow:
    def test_it_comes_closer_to_a_caricature_than_any_coefficients_and_bends_less(self, face):
        points = caricature(face)
        best, plausible = (fit_face(MODEL, points, noise=noise) for noise in (0.01, PLAUSIBLE))
        followed = follow(plausible, points)
        assert metrics.nme(followed.landmarks, points) < 0.8 * metrics.nme(best.landmarks, points)
        distortion = [edge_distortion(one.shape, MODEL.mean, one.triangles) for one in (followed, best)]
        assert distortion[0] < distortion[1]

    def test_vertices_keep_their_depth_in_the_photo(self, face):
        moved = follow(face, caricature(face)).vertices - face.vertices
        assert np.abs(moved[:, 2]).max() < 1e-2 < np.abs(moved[:, :2]).max()

    def test_a_stiff_mesh_stays(self, face):
        followed = follow(face, caricature(face), stiffness=1e9)
        np.testing.assert_allclose(followed.shape, face.shape, atol=1e-3)

    def test_landmarks_of_another_shape_are_refused(self, face):
        with pytest.raises(ValueError, match="landmarks"):
            follow(face, np.zeros((5, 2)))


class TestFreeForm:
    def test_landmarks_move_as_told_when_nothing_is_stiff(self):
        moves = np.random.default_rng(0).normal(0, 2, (68, 2))
        moved = free_form(MODEL, moves, stiffness=1e-6)
        weights = MODEL.landmark_weights[..., None]
        shown = (moved[MODEL.landmark_vertices] * weights).sum(1)
        np.testing.assert_allclose(shown, moves, atol=1e-2)

    def test_it_minimises_its_energy(self):
        """Against the normal equations, with the derivative by a random direction."""
        from m4kit.exaggeration import REACH, _laplacian, _surface

        moves, stiffness = np.random.default_rng(1).normal(0, 2, (68, 1)), 30.0
        found = free_form(MODEL, moves, stiffness=stiffness)
        mean, surface, _ = _surface(MODEL)
        laplacian, areas = _laplacian(mean, MODEL.triangles)
        laplacian, areas = laplacian[surface][:, surface], areas[surface]

        def energy(moved):
            bent = (laplacian @ moved[surface])[:, 0] / areas + moved[surface][:, 0] / REACH**2
            weights = MODEL.landmark_weights[..., None]
            missed = (moved[MODEL.landmark_vertices] * weights).sum(1) - moves
            return stiffness * (areas * bent**2).sum() + (missed**2).sum()

        other = free_form(MODEL, np.roll(moves, 9, axis=0))
        least = energy(found)
        for step in (-0.1, 0.1):
            assert energy(found + step * other) > least

    def test_the_laplacian_knows_no_planes(self):
        from m4kit.exaggeration import _laplacian

        x, y = (axis.ravel() for axis in np.meshgrid(np.arange(5.0), np.arange(4.0)))
        corner = np.array([row * 5 + column for row in range(3) for column in range(4)])
        triangles = np.concatenate([corner[:, None] + [0, 1, 5], corner[:, None] + [1, 6, 5]])
        laplacian, areas = _laplacian(np.stack([x, y, 0 * x], axis=1), triangles)
        inside = (x > 0) & (x < 4) & (y > 0) & (y < 3)
        np.testing.assert_allclose((laplacian @ (2 * x - 3 * y + 1))[inside], 0, atol=1e-9)
        np.testing.assert_allclose((laplacian @ x**2)[inside] / areas[inside], -2, rtol=1e-9)
        assert areas.sum() == pytest.approx(12)

    def test_eyeballs_move_as_a_whole(self):
        moved = free_form(MODEL, np.random.default_rng(2).normal(0, 3, (68, 2)))
        left = MODEL.regions["eyeballs"] & (MODEL.mean[:, 0] < 0)
        assert np.ptp(moved[left], axis=0).max() < 1e-9


def test_edge_distortion_is_the_mean_logarithm_of_the_lengths():
    mean, triangles = MODEL.mean, MODEL.triangles
    assert edge_distortion(mean, mean, triangles) == 0
    assert edge_distortion(np.e * mean, mean, triangles) == pytest.approx(1, rel=1e-5)
    assert edge_distortion(mean / np.e, mean, triangles) == pytest.approx(1, rel=1e-5)


def test_a_face_that_moved_is_not_judged_by_the_network_s_score(face):
    from m4kit.prediction import Assessment, Origin

    origin = Origin(
        np.zeros((240, 240, 3), np.uint8), "net", "box", lambda faces: [Assessment(0.4) for _ in faces]
    )
    judged = replace(face, origin=origin)
    assert judged.failure_probability == 0.4
    assert exaggerate(judged, 2).failure_probability is None
    assert exaggerate(judged, 2).origin.image is not None

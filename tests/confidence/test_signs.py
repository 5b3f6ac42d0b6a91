"""The signs: formulas against known answers."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from m4kit import predict
from m4kit.camera import Crop
from m4kit.confidence import signs
from m4kit.evaluate import crop_predictor
from m4kit.images import load_image
from m4kit.landmarks import MIRROR_68
from m4kit.network import M4Net
from m4kit.parameters import head_spread
from m4kit.visualize import draw_landmarks

from helpers.paths import SAMPLES


@pytest.fixture(scope="module")
def prediction():
    return predict(SAMPLES / "grace_hopper.jpg")


@pytest.fixture(scope="module")
def photo():
    return cv2.resize(load_image(SAMPLES / "grace_hopper.jpg"), (320, 400), interpolation=cv2.INTER_AREA)


def spread(faces):
    heads, weights = (np.stack([getattr(face, name) for face in faces]) for name in ("heads", "head_weights"))
    return head_spread(faces[0].model, heads, weights)


def edges(face, image):
    """The edge agreement of a face that lies in another photo."""
    inside = replace(face, origin=replace(face.origin, image=image))
    return signs.of_faces([inside])[0]["edge_agreement"]


def size(landmarks):
    return np.sqrt(np.ptp(landmarks[:, :2], axis=0).prod())


def answering(points):
    """A network that answers with the same landmarks whatever it sees, and what it was shown."""
    shown = []

    def predict_crops(crops):
        shown.append(crops)
        return np.repeat(points[None], len(crops), axis=0), np.zeros((len(crops), 3, 4))

    return predict_crops, shown


def test_faces_of_several_photos_have_together_the_signs_that_each_has_alone(prediction, photo):
    small, dark = predict(photo)[0], predict((0.2 * prediction.image).astype(np.uint8))[0]
    faces = [prediction[0], replace(small, heads=np.zeros((4, 62))), dark, small]
    together, alone = signs.of_faces(faces), [signs.of_faces([face])[0] for face in faces]
    assert together[0]["size"] != together[3]["size"]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-6)
    assert signs.of_faces([]) == []


class TestHeads:
    def test_heads_that_agree_have_no_spread(self, prediction):
        face = prediction[0]
        agreed = replace(face, heads=np.repeat(face.parameters[None], 4, axis=0))
        assert spread([agreed])[0] == pytest.approx(0, abs=1e-4)

    def test_one_head_apart_is_three_eighths_of_its_distance(self, prediction):
        face = prediction[0]
        heads = np.repeat(face.parameters[None], 4, axis=0)
        heads[2, 3] += 8
        apart = replace(face, heads=heads)
        in_crop = face.crop.from_photo(face.landmarks)
        # It lies 3/4 of 8 pixels from the mean, the other three 1/4.
        assert spread([apart])[0] == pytest.approx(100 * 8 * 3 / 8 / size(in_crop), rel=1e-3)


class TestConsistency:
    def test_an_answer_that_mirrors_with_the_picture_is_consistent(self, prediction):
        face = prediction[0]
        own = face.crop.from_photo(face.landmarks)
        predict_crops, shown = answering(own[MIRROR_68] * [-1, 1, 1])
        assert signs.flip_consistency([face], predict_crops)[0] == pytest.approx(0, abs=1e-9)
        np.testing.assert_array_equal(shown[0][0][:, ::-1], signs.cut_crop(prediction.image, face.crop))

    def test_an_answer_that_stays_when_the_picture_is_mirrored_is_not(self, prediction):
        face = prediction[0]
        own = face.crop.from_photo(face.landmarks)
        predict_crops, _ = answering(own + np.array([3, 0, 0]))
        moved = own[MIRROR_68] * [-1, 1, 1] - [3, 0, 0] - own
        expected = 100 * np.linalg.norm(moved[:, :2], axis=1).mean() / size(own)
        assert signs.flip_consistency([face], predict_crops)[0] == pytest.approx(expected)

    def test_an_answer_that_moves_with_the_crop_is_as_inconsistent_as_the_crop_moves(self, prediction):
        face = prediction[0]
        own = face.crop.from_photo(face.landmarks)
        predict_crops, shown = answering(own)
        # Four crops move all points by 4 % of their side, two scale them around the centre.
        by_scale = [abs(s - 1) * np.linalg.norm(own[:, :2], axis=1).mean() for s in (1.07, 1 / 1.07)]
        expected = 100 * np.mean([0.04 * 120] * 4 + by_scale) / size(own)
        assert signs.jitter_consistency([face], predict_crops)[0] == pytest.approx(expected)
        assert shown[0].shape == (6, 120, 120, 3)

    def test_a_clear_face_is_consistent_and_a_place_without_a_face_is_not(self, prediction):
        network = crop_predictor(M4Net.load(), prediction[0].model)
        nowhere = predict(prediction.image, boxes=[[0, 380, 120, 500]])[0]
        for sign in (signs.flip_consistency, signs.jitter_consistency):
            clear, lost = sign([prediction[0], nowhere], network)
            assert clear < 1.5
            assert lost > 3 * clear
        clear, lost = spread([prediction[0], nowhere])
        assert lost > 2 * clear


class TestPlausibility:
    def test_random_faces_of_the_model_lie_at_one_and_the_mean_face_at_zero(self, prediction):
        identity, _ = prediction[0].model.sample(500, seed=0)
        distances = signs.mahalanobis(identity)
        assert distances.mean() == pytest.approx(1, abs=0.02)
        # chi-squared with 40 degrees of freedom: its standard deviation is sqrt(80), of 40.
        assert (distances**2).std() == pytest.approx(80**0.5 / 40, rel=0.15)
        assert signs.mahalanobis(np.zeros(10)) == 0


class TestEdges:
    def test_contours_that_are_drawn_are_edges_and_beside_them_is_none(self, prediction):
        face = prediction[0]
        drawn = draw_landmarks(np.full_like(prediction.image, 120), face)
        beside = replace(face, crop=Crop(face.crop.left + 12, face.crop.top + 9, face.crop.size))
        assert edges(face, drawn) > 1.5
        assert edges(beside, drawn) < 1.3

    def test_a_picture_without_edges_gives_one(self, prediction):
        flat = np.full_like(prediction.image, 90)
        assert edges(prediction[0], flat) == pytest.approx(1, abs=1e-6)

    def test_landmarks_in_their_place_agree_better_than_moved_ones(self):
        better = []
        for name in ("grace_hopper", "astronaut", "painted_young_man", "drawn_princess"):
            found = predict(SAMPLES / f"{name}.jpg")
            crop = found[0].crop
            for x, y in ((0.06, 0), (-0.06, 0), (0, 0.06), (0, -0.06)):
                image = cv2.warpAffine(
                    found.image,
                    np.array([[1, 0, x * crop.size], [0, 1, y * crop.size]]),
                    found.image.shape[1::-1],
                    borderMode=cv2.BORDER_REPLICATE,
                )
                better.append(edges(found[0], found.image) > edges(found[0], image))
        assert np.mean(better) > 0.8


def test_a_face_that_collapsed_to_a_point_is_judged_like_any_other(prediction):
    """As a network without training may answer."""
    collapsed = replace(prediction[0], heads=np.zeros((4, 62)))
    assert 0 < collapsed.failure_probability < 1
    assert "tiny" in collapsed.reasons


def test_the_region_of_a_face_has_no_background(prediction):
    in_crop = prediction[0].crop.from_photo(prediction[0].landmarks)[:, :2] * [1, -1] + 59.5
    region = signs.face_region(in_crop)
    assert 0.1 < region.mean() < 0.5
    assert not region[[0, -1]].any()
    columns, rows = np.round(in_crop).astype(int).T
    assert region[rows, columns].all()

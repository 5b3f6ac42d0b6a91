"""A face's geometry and how it follows from the heads; a prediction as a sequence."""

from collections.abc import Sequence
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from m4kit.camera import Crop, rotation_from_euler
from m4kit.face_model import FaceModel
from m4kit.prediction import Face, FaceBox, Prediction

ANGLES = ((5, -3, 2), (25, 4, -6), (-40, 12, 15), (60, -20, 30))


@pytest.fixture(scope="module")
def model():
    return FaceModel.load()


def raw_parameters(angles, *, seed, scale=0.5, shift=(2.0, -3.0, 0.0)):
    """A camera and 50 coefficients, (62,)."""
    camera = np.column_stack([scale * rotation_from_euler(*angles), shift])
    coefficients = np.random.default_rng(seed).normal(size=50)
    return np.concatenate([camera.ravel(), coefficients]).astype(np.float32)


@pytest.fixture
def face(model):
    return Face(
        box=FaceBox(100, 80, 300, 310, 0.9),
        crop=Crop(60.0, 50.0, 360.0),
        heads=np.stack([raw_parameters(angles, seed=seed) for seed, angles in enumerate(ANGLES)]),
        head_weights=np.array([0.1, 0.2, 0.3, 0.4], np.float32),
        model=model,
    )


def one_hot(number):
    return np.eye(4)[number]


class TestGeometry:
    def test_the_parameters_are_the_heads_weighted_sum(self, face):
        expected = sum(weight * head for weight, head in zip(face.head_weights, face.heads, strict=True))
        np.testing.assert_allclose(face.parameters, expected, rtol=1e-5, atol=1e-6)
        parts = [face.camera.ravel(), face.identity, face.expression]
        assert [part.shape for part in parts] == [(12,), (40,), (10,)]
        np.testing.assert_array_equal(np.concatenate(parts), face.parameters)

    def test_landmarks_are_the_meshes_barycentric_points(self, face, model):
        corners = face.vertices[model.landmark_vertices]
        weights = model.landmark_weights.numpy()
        by_hand = (corners * weights[..., None]).sum(axis=1)
        assert face.landmarks.shape == (68, 3)
        # The weights are rounded, which the camera's shift shows.
        np.testing.assert_allclose(face.landmarks, by_hand, atol=0.1)
        assert np.ptp(face.landmarks, axis=0).min() > 50

    def test_the_mesh_is_the_models_shape_before_the_camera_in_the_crop(self, face, model):
        """Photo pixels by hand: the crop of 360 pixels enlarges by 3 and has its centre at (240, 230)."""
        shape = model.vertices(face.identity, face.expression).numpy()
        np.testing.assert_array_equal(face.shape, shape)
        x, y, z = face.camera[:, :3] @ shape.T + face.camera[:, 3:]
        by_hand = np.column_stack([240 + 3 * x, 230 - 3 * y, 3 * z])
        np.testing.assert_allclose(face.vertices, by_hand, atol=1e-3)
        np.testing.assert_array_equal(face.triangles, model.triangles)

    @pytest.mark.parametrize("number", range(4))
    def test_the_pose_is_that_of_the_camera(self, face, number):
        assert face.with_head_weights(one_hot(number)).pose == pytest.approx(ANGLES[number], abs=1e-3)

    def test_a_face_looks_out_of_the_photo_with_the_forehead_up(self, face):
        frontal = face.with_head_weights(one_hot(0))
        landmarks = frontal.landmarks
        assert landmarks[:, 2].argmax() in range(28, 34)
        assert landmarks[17:27, 1].max() < landmarks[31:36, 1].min() < landmarks[8, 1]
        assert landmarks[36, 0] < landmarks[45, 0]

    def test_nothing_of_a_face_can_be_assigned(self, face):
        with pytest.raises(FrozenInstanceError):
            face.crop = Crop(0, 0, 1)
        with pytest.raises(FrozenInstanceError):
            face.box.left = 0


class TestHeadWeights:
    @pytest.mark.parametrize("number", range(4))
    def test_a_single_head_speaks_for_itself(self, face, number):
        alone = face.with_head_weights(one_hot(number))
        np.testing.assert_array_equal(alone.parameters, face.heads[number])
        np.testing.assert_array_equal(alone.identity, face.heads[number, 12:52])
        assert (alone.box, alone.crop, alone.model) == (face.box, face.crop, face.model)

    def test_the_face_itself_stays_as_it_was(self, face):
        before = face.landmarks.copy(), face.pose
        other = face.with_head_weights([1, 0, 0, 0])
        assert np.abs(other.landmarks - face.landmarks).max() > 5
        np.testing.assert_array_equal(face.landmarks, before[0])
        assert face.pose == before[1]
        assert face.head_weights.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])

    def test_the_same_weights_give_the_same_face(self, face):
        again = face.with_head_weights(face.head_weights)
        np.testing.assert_allclose(again.vertices, face.vertices, atol=1e-2)

    def test_heads_that_agree_agree_with_every_mean_of_them(self, face):
        heads = face.heads[:1].repeat(4, axis=0)
        same = Face(
            box=face.box, crop=face.crop, heads=heads, head_weights=face.head_weights, model=face.model
        )
        for weights in ([0.25] * 4, [0.7, 0.1, 0.1, 0.1]):
            np.testing.assert_allclose(same.with_head_weights(weights).parameters, heads[0], rtol=1e-5)

    @pytest.mark.parametrize(
        "weights",
        [
            *([1, 0, 0], [0.2] * 5, [[0.25] * 4], 1.0, []),
            *([1, 0, 0, float("nan")], [float("inf"), 0, 0, 0]),
            *([1, 1, 1, 1], [0.2] * 4),
        ],
    )
    def test_other_than_one_weight_a_head_with_a_sum_of_1_is_refused(self, face, weights):
        with pytest.raises(ValueError, match="one weight for each of the 4 heads with a sum of 1, got"):
            face.with_head_weights(weights)


class TestFaceBox:
    def test_its_size_is_in_photo_pixels(self):
        box = FaceBox(10, 20, 40, 70)
        assert (box.width, box.height, box.score) == (30, 50, 1)

    def test_it_is_an_array_of_five(self):
        box = FaceBox(10, 20, 40, 70, 0.5)
        assert np.asarray(box).tolist() == [10, 20, 40, 70, 0.5]
        assert np.asarray(box, dtype=np.float32).dtype == np.float32
        assert np.stack([box, box]).shape == (2, 5)


class TestPrediction:
    @pytest.fixture
    def faces(self, face):
        return tuple(face.with_head_weights(one_hot(number)) for number in range(3))

    @pytest.fixture
    def prediction(self, faces):
        return Prediction(image=np.zeros((400, 500, 3), np.uint8), faces=faces, source="group.jpg")

    def test_it_is_a_sequence_of_its_faces(self, prediction, faces):
        assert isinstance(prediction, Sequence)
        assert len(prediction) == 3
        assert list(prediction) == list(faces)
        assert prediction[0] is faces[0]
        assert prediction[-1] is faces[2]
        assert prediction[1:] == faces[1:]
        assert list(reversed(prediction)) == list(faces[::-1])
        with pytest.raises(IndexError):
            prediction[3]

    def test_a_face_is_found_in_it(self, prediction, faces, face):
        """Also where faces share a box: arrays are not compared."""
        assert faces[2] in prediction
        assert prediction.index(faces[1]) == 1
        assert face not in prediction
        assert len({*prediction, faces[0]}) == 3

    def test_without_a_face_it_is_empty_and_false(self):
        nothing = Prediction(image=np.zeros((4, 4, 3), np.uint8), faces=())
        assert not nothing
        assert list(nothing) == []
        assert nothing.source == "<array>"

    def test_its_text_is_short(self, prediction):
        assert "group.jpg" in repr(prediction)
        assert len(repr(Prediction(image=np.zeros((400, 500, 3), np.uint8), faces=()))) < 100


def test_geometry_needs_no_gradient(face):
    assert not torch.tensor(face.vertices).requires_grad
    assert face.vertices.dtype.kind == face.landmarks.dtype.kind == "f"

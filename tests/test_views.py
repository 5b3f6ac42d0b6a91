"""Test-time augmentation: the views of a crop, and how their predictions are transformed back and averaged."""

from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch

from m4kit.camera import cut_crop, rotation_from_euler
from m4kit.landmarks import MIRROR_68
from m4kit.network import M4Net, to_input
from m4kit.parameters import landmarks_in_crop
from m4kit.predictor import Predictor
from m4kit.views import VIEWS, crop_predictor, of_side, regress, view_matrices, view_pictures
from m4kit.weights import WeightsError

from helpers.faces import ellipsoid_model
from helpers.seen_views import MIRRORED, seen_in


@pytest.fixture(scope="module")
def network():
    return M4Net.load("m4net-small")


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).integers(0, 255, (3, 120, 120, 3), np.uint8)


class _Knowing:
    """Stands for the engine of an M4Net that gives prepared parameters (n, 4, 62) for any crops."""

    notes: ClassVar = {"crop_size": "120"}
    batch = 24

    def __init__(self, heads):
        self.heads = heads.astype(np.float32)

    def __call__(self, crops):
        assert len(crops) == len(self.heads)
        return self.heads, np.full((len(crops), 4), 0.25, np.float32)


def faces(count):
    """Random parameters (n, 4, 62), another face for each head."""
    random = np.random.default_rng(1)
    result = random.normal(size=(count, 4, 62))
    for row in result.reshape(-1, 62):
        camera = np.column_stack(
            [0.5 * rotation_from_euler(*random.uniform(-45, 45, 3)), random.uniform(-6, 6, 3)]
        )
        row[:12] = camera.ravel()
    return result


def perfect(view, parameters, model):
    """The parameters that a perfect network predicts for a view of faces (n, 4, 62)."""
    cameras = parameters[..., :12].reshape(-1, 4, 3, 4)
    cameras, coefficients = seen_in(view, cameras, parameters[..., 12:], model.symmetry)
    return np.concatenate([cameras.reshape(-1, 4, 12), coefficients], axis=-1)


@pytest.mark.parametrize("views", [1, 2, 6])
def test_views_that_agree_give_exactly_one_face(model, crops, views):
    true = faces(len(crops))
    answers = np.stack([perfect(view, true, model) for view in range(views)], axis=1)
    heads, weights = regress(_Knowing(answers.reshape(-1, 4, 62)), model, crops, views=views)
    np.testing.assert_allclose(heads, true, atol=1e-4)
    assert weights.tolist() == [[0.25] * 4] * 3


def test_each_view_has_the_same_weight(model, crops):
    answers = np.stack([perfect(view, faces(3), model) for view in range(2)], axis=1)
    answers[:, 0, :, 3] += 4
    heads, _ = regress(_Knowing(answers.reshape(-1, 4, 62)), model, crops, views=2)
    np.testing.assert_allclose(heads[..., 3], faces(3)[..., 3] + 2, atol=1e-4)


class TestMatrices:
    def test_the_first_view_is_the_crop_and_the_second_its_mirror_image(self):
        first, second = view_matrices()[:2]
        np.testing.assert_allclose(first, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(second, [[-1, 0, 119], [0, 1, 0], [0, 0, 1]], atol=1e-12)

    def test_every_view_keeps_the_centre_and_shapes(self):
        for matrix, (mirrored, _, shrink) in zip(view_matrices(), VIEWS, strict=True):
            np.testing.assert_allclose(matrix @ [59.5, 59.5, 1], [59.5, 59.5, 1])
            linear = matrix[:2, :2]
            np.testing.assert_allclose(linear @ linear.T, np.eye(2) / shrink**2, atol=1e-12)
            assert np.sign(np.linalg.det(linear)) == (-1 if mirrored else 1)


def test_pictures_move_as_the_matrices_do():
    crop = np.zeros((120, 120, 3), np.uint8)
    crop[40:43, 80:83] = 255
    pictures = view_pictures(crop[None])
    assert pictures.shape == (6, 120, 120, 3)
    np.testing.assert_array_equal(pictures[0], crop)
    np.testing.assert_array_equal(pictures[1], crop[:, ::-1])
    for picture, matrix in zip(pictures, view_matrices(), strict=True):
        y, x = np.mgrid[:120, :120]
        light = picture[..., 0] / picture[..., 0].sum()
        expected = matrix @ [81, 41, 1]
        np.testing.assert_allclose([(x * light).sum(), (y * light).sum()], expected[:2], atol=0.3)


def test_a_single_view_gives_the_networks_own_outputs(network, model, crops):
    heads, weights = regress(network, model, crops)
    with torch.inference_mode():
        side = network.crop_size
        outputs = network.outputs(to_input(of_side(crops, side), crop_size=side))
    np.testing.assert_allclose(heads, outputs.heads.numpy(), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(weights, outputs.weights.numpy(), atol=1e-5)


def test_a_network_for_smaller_crops_sees_them_at_its_own_size(model, crops):
    torch.manual_seed(0)
    network = M4Net("small", "elu", crop_size=64).eval()
    small = np.stack([cv2.resize(crop, (64, 64), interpolation=cv2.INTER_AREA) for crop in crops])
    with torch.no_grad():
        expected = network.outputs(to_input(small, crop_size=64)).heads.numpy()
    for seen in (crops, small):
        np.testing.assert_allclose(regress(network, model, seen)[0], expected, atol=1e-5)
    photo = np.zeros((150, 150, 3), np.uint8)
    (face,) = Predictor(network=network, model=model, passes=1)(photo, boxes=[[30, 20, 110, 110]])
    np.testing.assert_allclose(
        face.heads, regress(network, model, cut_crop(photo, face.crop)[None])[0][0], atol=1e-5
    )


def test_with_its_mirror_image_a_mirrored_crop_gives_the_mirrored_face(network, model, crops):
    heads, _ = regress(network, model, crops, views=2)
    mirrored, _ = regress(network, model, np.ascontiguousarray(crops[:, :, ::-1]), views=2)
    for head in range(4):
        points = landmarks_in_crop(model, heads[:, head])
        again = landmarks_in_crop(model, mirrored[:, head])[:, MIRROR_68] @ MIRRORED
        np.testing.assert_allclose(again, points, atol=0.2)


def test_no_crops_give_empty_arrays(network, model):
    heads, weights = regress(network, model, [], views=6)
    assert heads.shape == (0, 4, 62) and weights.shape == (0, 4)


def test_other_numbers_of_views_and_models_without_symmetry_are_refused(network, model, crops):
    with pytest.raises(ValueError, match="views: expected 1, 2, 6, got 3"):
        regress(network, model, crops, views=3)
    with pytest.raises(ValueError, match="views: expected 1, 2, 6, got 0"):
        Predictor(network=network, model=model, views=0)

    class Lopsided:
        symmetry = np.zeros(0)

    with pytest.raises(ValueError, match="has no symmetry"):
        regress(network, Lopsided(), crops, views=2)


def test_predict_averages_over_views(network, model):
    photo = np.random.default_rng(2).integers(0, 255, (150, 150, 3), np.uint8)
    box = [[30, 20, 110, 110]]
    faces = [Predictor(network=network, model=model, views=n, passes=1)(photo, boxes=box)[0] for n in (1, 6)]
    assert faces[0].crop == faces[1].crop
    expected, _ = regress(network, model, cut_crop(photo, faces[1].crop)[None], views=6)
    np.testing.assert_allclose(faces[1].heads, expected[0], atol=1e-5)
    assert np.abs(faces[0].heads - faces[1].heads).max() > 1e-3


def test_a_network_and_another_face_model_make_no_function(network):
    with pytest.raises(WeightsError, match=f"got the face model {ellipsoid_model().fingerprint}"):
        crop_predictor(network, ellipsoid_model())

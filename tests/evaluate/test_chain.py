"""Evaluation of the whole chain, on a photo whose truth is the face that repeated cropping converges to."""

import numpy as np
import pytest

from m4kit import metrics
from m4kit.camera import Crop, box_from_crop, crop_from_landmarks
from m4kit.datasets import DatasetError, Sample
from m4kit.evaluate import crop_predictor, evaluate_chain
from m4kit.face_model import FaceModel
from m4kit.images import ImageError, load_image
from m4kit.network import M4Net
from m4kit.predictor import Predictor

from helpers.paths import SAMPLES

PHOTO = SAMPLES / "grace_hopper.jpg"


@pytest.fixture(scope="module")
def found():
    return Predictor(passes=4)(PHOTO)[0]


@pytest.fixture(scope="module")
def network():
    return crop_predictor(M4Net.load(), FaceModel.load())


def sample_of(face, *, image=lambda: load_image(PHOTO), name="face"):
    return Sample(
        name=name,
        image=image,
        landmarks=face.landmarks,
        pose=face.pose,
        crop=crop_from_landmarks(face.landmarks),
    )


def broken():
    raise ImageError("broken.jpg: expected a photo, got nothing")


def test_a_found_face_has_errors_of_one_crop_of_two_and_of_the_true_one(found, network):
    result = evaluate_chain(network, [sample_of(found)], progress=False)
    assert result.recall(0.3) == 1
    assert 0 < result.true_crop[0] < result.two_crops[0] + 0.5 < 2
    assert result.one_crop[0] > result.two_crops[0]
    assert result.yaw.tolist() == [found.pose.yaw]


def test_its_landmarks_equal_those_of_a_predictor_with_this_network(found, network):
    sample = sample_of(found)
    result = evaluate_chain(network, [sample], progress=False)
    for passes, error in ((1, result.one_crop), (2, result.two_crops)):
        face = Predictor(network=M4Net.load(), passes=passes)(PHOTO)[0]
        assert error[0] == pytest.approx(
            metrics.nme(face.landmarks[:, :2], sample.landmarks[:, :2]), abs=1e-4
        )


def test_a_face_that_the_detector_misses_counts_for_the_recall_alone(found, network):
    elsewhere = np.array([[0, 0, 40, 40, 0.9]])
    result = evaluate_chain(network, [sample_of(found)], detector=lambda image: elsewhere, progress=False)
    assert result.iou.tolist() == [0]
    assert len(result.one_crop) == len(result.true_crop) == len(result.yaw) == 0
    assert "recall 0.0 % at IoU 0.3" in result.report()


def test_a_detector_that_finds_nothing_at_all_is_no_error(found, network):
    nothing = evaluate_chain(
        network, [sample_of(found)], detector=lambda image: np.zeros((0, 5)), progress=False
    )
    assert nothing.recall(0.3) == 0


def test_the_detection_with_the_best_overlap_is_the_face_and_the_report_sums_up(found, network):
    low, high = found.landmarks[:, :2].min(axis=0), found.landmarks[:, :2].max(axis=0)
    boxes = np.array([[0, 0, 60, 60, 0.99], [*low, *high, 0.6]])
    result = evaluate_chain(network, [sample_of(found)] * 2, detector=lambda image: boxes, progress=False)
    np.testing.assert_allclose(result.iou, 1, atol=1e-6)
    lines = result.report().splitlines()
    assert lines[0] == "whole chain: 2 faces, recall 100.0 % at IoU 0.3, 100.0 % at 0.5"
    assert lines[1].startswith("NME balanced of the 2 faces found: one crop ")


def test_crops_are_compared_with_the_true_ones(found, network):
    """A box 1.5 times as large as that of the true crop, moved to the right by a quarter of a side."""
    true = crop_from_landmarks(found.landmarks)
    box = box_from_crop(Crop(true.left, true.top - 0.25 * true.size, 1.5 * true.size))
    found_so = np.array([[*box, 0.9]])
    result = evaluate_chain(network, [sample_of(found)], detector=lambda image: found_so, progress=False)
    np.testing.assert_allclose(result.crop_scale, [1.5], atol=1e-6)
    np.testing.assert_allclose(result.crop_shift, [[0.25, 0.0]], atol=1e-6)
    assert "1.50 times as large" in result.report() and "+0.250 sides to the right" in result.report()


def test_an_unreadable_photo_is_left_out_with_a_warning(found, network):
    samples = [sample_of(found), sample_of(found, image=broken, name="lost")]
    with pytest.warns(UserWarning, match=r"1 face left out: lost \("):
        result = evaluate_chain(network, samples, progress=False)
    assert len(result.iou) == 1
    assert "left out, unreadable: 1" in result.report()


def test_no_readable_photo_and_faces_without_truth_are_errors(found, network):
    with (
        pytest.warns(UserWarning, match="1 face left out"),
        pytest.raises(DatasetError, match=r"none of \d could be read"),
    ):
        evaluate_chain(network, [sample_of(found, image=broken)], progress=False)
    with pytest.raises(DatasetError, match=r"true 68 landmarks of each of 1 faces, .*the first: x"):
        evaluate_chain(network, [Sample(name="x", image=lambda: load_image(PHOTO))], progress=False)

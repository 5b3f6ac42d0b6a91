"""Predictions written to a file and read again, pickled and copied."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest

import m4kit
from m4kit.face_model import FaceModel
from m4kit.prediction_file import PredictionFileError

from helpers.faces import ellipsoid
from helpers.paths import SAMPLES
from helpers.synthetic import prediction


@pytest.fixture(scope="module")
def group():
    return m4kit.predict(SAMPLES / "group.jpg")


def assert_same(one, other, *, photo=True):
    assert len(one) == len(other) > 0
    assert (one.source, one.network) == (other.source, other.network)
    if photo:
        np.testing.assert_array_equal(one.image, other.image)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.heads, b.heads)
        np.testing.assert_array_equal(a.head_weights, b.head_weights)
        assert (a.box, a.crop) == (b.box, b.crop)
        np.testing.assert_array_equal(a.vertices, b.vertices)
        assert (a.origin.network, a.origin.detector) == (b.origin.network, b.origin.detector)
        if photo:
            assert (a.failure_probability, a.reasons) == (b.failure_probability, b.reasons)


def test_faces_of_several_face_models_are_not_mixed_in_a_file(group, tmp_path):
    other = FaceModel.load().with_mean(FaceModel.load().mean + 1)
    mixed = m4kit.Prediction(group.image, (group[0], dataclasses.replace(group[1], model=other)))
    with pytest.raises(PredictionFileError, match="expected faces of one face model, got several"):
        mixed.save(tmp_path / "mixed.npz")


@pytest.mark.parametrize("photo", ["png", "jpeg"])
def test_what_is_saved_is_loaded_again(group, tmp_path, photo):
    path = group.save(tmp_path / "group.m4kit.npz", photo=photo)
    assert_same(group, m4kit.load(path), photo=photo == "png")
    assert path.stat().st_size < {"png": 1_100_000, "jpeg": 400_000}[photo]


def test_a_prediction_without_a_face_is_loaded_again(tmp_path):
    empty = prediction(source="none.jpg")
    again = m4kit.load(empty.save(tmp_path / "none.npz"))
    assert (len(again), again.source) == (0, "none.jpg")
    np.testing.assert_array_equal(again.image, empty.image)


def test_pickles_and_copies_are_the_same_and_small(group, tmp_path):
    saved = group.save(tmp_path / "group.npz").stat().st_size
    content = pickle.dumps(group)
    assert len(content) < 2 * saved
    assert_same(group, pickle.loads(content))
    assert_same(group, copy.deepcopy(group))
    alone = pickle.loads(pickle.dumps(group[2]))
    np.testing.assert_array_equal(alone.landmarks, group[2].landmarks)


def test_a_face_model_of_ones_own_travels_with_a_pickle_and_is_given_to_load(tmp_path):
    made = prediction(ellipsoid(yaw=20))
    path = made.save(tmp_path / "own.npz")
    with pytest.raises(PredictionFileError, match=r"own\.npz: .* give that one as model="):
        m4kit.load(path)
    for again in (m4kit.load(path, model=made[0].model), pickle.loads(pickle.dumps(made))):
        np.testing.assert_array_equal(again[0].landmarks, made[0].landmarks)
        assert again[0].origin is None


@pytest.mark.parametrize(
    "changed",
    [
        {"boxes": np.zeros((6, 4))},
        {"boxes": np.zeros((5, 5))},
        {"boxes": np.zeros(())},
        {"boxes": np.full((6, 5), "a")},
        {"crops": np.full((6, 3), np.nan)},
        {"crops": np.zeros((6, 2))},
        {"heads": np.zeros((6, 3, 61))},
        {"heads": np.full((6, 5, 62), np.inf)},
        {"head_weights": np.zeros((6, 99))},
        {"photo": np.frombuffer(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", np.uint8)},
        {"photo": np.zeros(0, np.uint8)},
        {"about": np.array("[]")},
        {"about": np.array("{")},
        {"about": np.array("[" * 100_000)},
        {"about": np.zeros(3)},
    ],
)
def test_odd_contents_are_an_error_that_names_the_file(group, tmp_path, changed):
    with np.load(group.save(tmp_path / "group.npz")) as file:
        arrays = dict(file)
    assert len(arrays["boxes"]) == 6
    np.savez(tmp_path / "odd.npz", **arrays | changed)
    with pytest.raises(PredictionFileError, match=r"odd\.npz: .* reading it failed \(.+\); save it again"):
        m4kit.load(tmp_path / "odd.npz")


def test_a_single_array_and_a_device_are_no_predictions(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(PredictionFileError, match=r"array\.npy: .* save it again"):
        m4kit.load(tmp_path / "array.npy")
    with pytest.raises(PredictionFileError, match=r"/dev/zero: reading failed .*a device or a pipe"):
        m4kit.load("/dev/zero")


def test_what_is_no_prediction_is_an_error_that_names_the_file(group, tmp_path):
    path = group.save(tmp_path / "cut.npz")
    path.write_bytes(path.read_bytes()[:1000])
    model = tmp_path / "model.npz"
    FaceModel.load().save(model)
    for file, words in (
        (path, "save it again"),
        (model, "save it again"),
        (tmp_path / "no.npz", "check the path"),
    ):
        with pytest.raises(PredictionFileError, match=rf"{file.name}: .*{words}"):
            m4kit.load(file)
    with pytest.raises(PredictionFileError, match=r"ends in \.npz"):
        group.save(tmp_path / "group.zip")
    with pytest.raises(PredictionFileError, match="writing failed"):
        group.save(tmp_path / "missing" / "group.npz")
    with pytest.raises(PredictionFileError, match='expected "png" or "jpeg"'):
        group.save(tmp_path / "group.npz", photo="webp")

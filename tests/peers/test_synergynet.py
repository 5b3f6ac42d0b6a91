"""SynergyNet from a checkpoint in its published layout, with random numbers."""

import re

import numpy as np
import pytest
import torch

from m4kit.face_model import FaceModelError
from m4kit.peers import SynergyNet, load_peer
from m4kit.peers.synergynet import CHECKPOINT, MODEL_FOLDER, read_checkpoint
from m4kit.prediction import Prediction
from m4kit.weights import WeightsError

from helpers.paths import SAMPLES
from helpers.peer_files import published_landmarks, write_synergynet


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synergynet")
    return folder, write_synergynet(folder)


@pytest.fixture(scope="module")
def peer(files):
    return load_peer("synergynet", files[0])


@pytest.fixture
def state(files):
    return dict(torch.load(files[0] / CHECKPOINT, weights_only=True)["state_dict"])


def test_the_names_are_those_of_the_published_layout(state):
    """Some that its repository's `mobilenetv2_backbone.py` makes, with their shapes."""
    shapes = {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.1.conv.2.running_mean": (16,),
        "features.2.conv.1.0.weight": (96, 1, 3, 3),
        "features.17.conv.2.weight": (320, 960, 1, 1),
        "features.17.conv.3.num_batches_tracked": (),
        "features.18.0.weight": (1280, 320, 1, 1),
        "features.18.1.running_var": (1280,),
        "classifier_ori.1.weight": (12, 1280),
        "classifier_shape.1.bias": (40,),
        "classifier_exp.1.weight": (10, 1280),
    }
    for name, shape in shapes.items():
        assert state[f"module.I2P.backbone.{name}"].shape == shape
    # torchvision's MobileNet-V2 has as many tensors: 52 convolutions with batch norms, and here three linear layers.
    backbone = [name for name in state if ".backbone." in name]
    assert len(backbone) == 52 * 6 + 3 * 2


def test_its_landmarks_are_those_of_the_published_code_in_pixels_from_0(files, peer):
    crops = np.random.default_rng(0).integers(0, 255, (2, 120, 120, 3), dtype=np.uint8)
    _, points = published_landmarks(files[1], crops[1])
    # Their code counts from 1: x, and 121 - y.
    x, y = points[0] - 1, 121 - points[1] - 1
    landmarks, _ = peer.predict_crops(crops)
    np.testing.assert_allclose(landmarks[1, :, 0] + 60, x, atol=0.02)
    np.testing.assert_allclose(60 - landmarks[1, :, 1], y, atol=0.02)


def test_a_photo_gives_a_prediction_as_ours(peer):
    prediction = peer(SAMPLES / "grace_hopper.jpg")
    assert isinstance(prediction, Prediction)
    assert prediction[0].triangles[0].tolist() == [1, 2, 0]


def test_the_first_names_that_do_not_fit_are_told(state, tmp_path):
    state["module.I2P.backbone.classifier.1.weight"] = state.pop(
        "module.I2P.backbone.classifier_ori.1.weight"
    )
    torch.save({"state_dict": state}, tmp_path / CHECKPOINT)
    expected = "1 missing (classifier_ori.1.weight); 1 unknown (classifier.1.weight)"
    with pytest.raises(WeightsError, match=re.escape(expected)):
        read_checkpoint(tmp_path / CHECKPOINT)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / CHECKPOINT)
    with pytest.raises(WeightsError, match="expected SynergyNet's checkpoint with a state_dict"):
        read_checkpoint(tmp_path / CHECKPOINT)


@pytest.mark.parametrize("name", ["u_shp.npy", "w_exp_sim.npy", "tri.mat"])
@pytest.mark.parametrize("change", ["missing", "other size"])
def test_a_face_model_that_is_incomplete_or_of_other_size_is_refused(tmp_path, name, change):
    write_synergynet(tmp_path)
    path = tmp_path / MODEL_FOLDER / name
    path.unlink()
    if change == "other size" and name != "tri.mat":
        np.save(path, np.zeros((300, 10 if "exp" in name else 1)))
    with pytest.raises(FaceModelError, match=r"3dmm_data: expected SynergyNet's face model"):
        SynergyNet(tmp_path)

"""3DDFA-V2 from files in its published layout, with made-up numbers; `tests/evaluate` has the true one's figures."""

import pickle

import cv2
import numpy as np
import pytest
import torch

from m4kit.face_model import FaceModelError
from m4kit.network import to_input
from m4kit.peers import TddfaV2, load_peer
from m4kit.peers.tddfa_v2 import BFM, NETWORKS, WHITENING, read_network
from m4kit.prediction import Prediction
from m4kit.weights import WeightsError

from helpers.paths import SAMPLES
from helpers.peer_files import basel_like, published_landmarks, write_tddfa_v2


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("3ddfa_v2")
    return folder, write_tddfa_v2(folder)


@pytest.fixture(scope="module")
def peer(files):
    return load_peer("3ddfa-v2-mb05", files[0])


@pytest.fixture
def copy(files, tmp_path):
    """A folder with the same files, for changes."""
    for file in files[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.fixture(scope="module")
def crops():
    coarse = np.random.default_rng(0).integers(0, 255, (3, 15, 15, 3), dtype=np.uint8)
    return np.stack([cv2.resize(crop, (120, 120)) for crop in coarse])


class TestNetwork:
    def test_the_checkpoint_loads_and_its_landmark_layer_is_dropped(self, files, crops):
        folder, network = files
        loaded = read_network(folder / NETWORKS["mb05"])
        with torch.no_grad():
            torch.testing.assert_close(loaded(to_input(crops)), network(to_input(crops)), rtol=0, atol=0)

    def test_the_first_names_that_do_not_fit_are_told(self, copy):
        path = copy / NETWORKS["mb05"]
        state = torch.load(path, weights_only=True)["state_dict"]
        state["module.conv9.weight"] = state.pop("module.dw2_1.conv_dw.weight")
        torch.save({"state_dict": state}, path)
        with pytest.raises(
            WeightsError, match=r"1 missing \(backbone.dw2_1.conv_dw.weight\).*backbone.conv9"
        ):
            TddfaV2(copy, "mb05")

    @pytest.mark.parametrize("content", [b"no", pickle.dumps({"state_dict": 1})])
    def test_a_broken_file_is_named_with_the_remedy(self, copy, content):
        (copy / NETWORKS["mb05"]).write_bytes(content)
        with pytest.raises(WeightsError, match=r"mb05_120x120.pth: expected 3DDFA-V2's .*fetch it again"):
            TddfaV2(copy, "mb05")

    def test_an_unknown_network_is_refused(self, copy):
        with pytest.raises(ValueError, match="network: expected mb1 or mb05, got 'mb2'"):
            TddfaV2(copy, "mb2")


class TestFiles:
    @pytest.mark.parametrize("name", [NETWORKS["mb05"], WHITENING, BFM])
    def test_a_missing_file_is_named(self, copy, name):
        (copy / name).unlink()
        with pytest.raises(ValueError, match=f"{name}: .*no such file"):
            TddfaV2(copy, "mb05")

    def test_a_whitening_of_another_network_is_refused(self, copy):
        (copy / WHITENING).write_bytes(pickle.dumps({"mean": np.zeros(12), "std": np.ones(12)}))
        with pytest.raises(
            WeightsError, match=r"param_mean_std.*expected a pickle with mean and std of the 62"
        ):
            TddfaV2(copy, "mb05")

    def test_a_face_model_with_other_modes_is_refused(self, copy):
        arrays = basel_like()
        (copy / BFM).write_bytes(pickle.dumps(arrays | {"w_shp": np.repeat(arrays["w_shp"], 2, axis=1)}))
        with pytest.raises(FaceModelError, match=r"got 80 and 10; give 3DDFA-V2's bfm_noneck_v3.pkl"):
            TddfaV2(copy, "mb05")

    def test_the_face_model_may_be_elsewhere(self, copy):
        elsewhere = (copy / BFM).rename(copy / "mine.pkl")
        assert len(TddfaV2(copy, "mb05", bfm=elsewhere).model.mean) == 70

    def test_an_unknown_peer_is_refused(self, copy):
        with pytest.raises(ValueError, match=r"peers: expected 3ddfa-v2-mb1, .*got 'other'"):
            load_peer("other", copy)
        with pytest.raises(ValueError, match="network: expected mb1 or mb05, got 'mb2'"):
            TddfaV2(copy, "mb2")


class TestTddfaV2:
    def test_its_landmarks_are_those_of_the_published_code(self, files, peer, crops):
        """Their `similar_transform` leads on to pixels of the crop."""
        camera, points = published_landmarks(files[1], crops[1])
        x, y = points[0] - 1, 120 - points[1]
        landmarks, cameras = peer.predict_crops(crops)
        np.testing.assert_allclose(landmarks[1, :, 0] + 60, x, atol=0.02)
        np.testing.assert_allclose(60 - landmarks[1, :, 1], y, atol=0.02)
        np.testing.assert_allclose(cameras[1, :, :3], 1000 * camera[:, :3], rtol=1e-3, atol=1e-5)

    def test_a_landmark_whose_depth_is_of_another_vertex_stays_so(self, copy):
        arrays = basel_like()
        arrays["keypoints"][134] = 5
        (copy / BFM).write_bytes(pickle.dumps(arrays))
        model = TddfaV2(copy, "mb05").model
        x, y, z = arrays["keypoints"][132:135]
        np.testing.assert_allclose(model.landmarks()[44], arrays["u"][[x, y, z], 0] / 1000, rtol=1e-5)

    def test_a_photo_gives_a_prediction_as_ours(self, peer):
        prediction = peer(SAMPLES / "grace_hopper.jpg")
        assert isinstance(prediction, Prediction)
        (face,) = prediction
        assert face.model is peer.model
        assert face.landmarks.shape == (68, 3)
        assert face.vertices.shape == (70, 3)
        assert face.image.shape == (120, 120, 3)
        assert (face.failure_probability, face.reasons) == (None, ())
        assert np.isfinite(prediction.to_dataframe()[["yaw", "pitch", "roll"]]).all(axis=None)
        prediction.plot()
        assert prediction.to_html().startswith("<!DOCTYPE html>")

    def test_given_boxes_are_kept_largest_first(self, peer):
        boxes = [[10, 10, 60, 60], [50, 40, 200, 220]]
        faces = peer(SAMPLES / "grace_hopper.jpg", boxes=boxes)
        assert [face.box.left for face in faces] == [50, 10]
        assert not peer(np.zeros((90, 90, 3), np.uint8), boxes=np.zeros((0, 4)))

    def test_its_number_of_weights_is_that_of_the_file(self, files, peer):
        assert peer.weights == sum(weight.numel() for weight in files[1].parameters())

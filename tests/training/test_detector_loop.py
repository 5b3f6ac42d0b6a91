"""The detector's training on made-up pictures: matching, loss, scenes, and resuming."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from m4kit.detector import Detector
from m4kit.faceboxes import FaceBoxes, encode, load_network
from m4kit.priors import prior_boxes
from m4kit.training import TrainingError
from m4kit.training import detector_loop as training
from m4kit.training.detector_loop import Settings, calibrate, detection_loss, match, mix
from m4kit.training.detector_material import BoxRule, Material, Photo
from m4kit.training.detector_scenes import FAULTS, HIDDEN, degrade, make_scene, paste_faces, spoil


def made_up_photo(name, size, box):
    picture = np.random.default_rng(len(name)).integers(0, 255, (size, size, 3), dtype=np.uint8)
    _, jpeg = cv2.imencode(".jpg", picture)
    return Photo(name, jpeg.tobytes(), np.array([[*box, 1.0]]))


@pytest.fixture
def material():
    return Material(
        (made_up_photo("crop", 120, (20, 10, 95, 105)),), (made_up_photo("photo", 300, (80, 60, 200, 210)),)
    )


def test_each_face_has_a_prior_and_far_priors_have_none():
    priors = torch.tensor(prior_boxes(256, 256))
    faces = torch.tensor([[100.0, 100, 130, 140, 1], [20, 30, 180, 230, 1]])
    labels, boxes = match(faces, priors)
    for face in faces:
        assert ((boxes == face[:4]).all(dim=1) & (labels == 1)).any()
    far = (priors[:, :2] > 220).all(dim=1) & (priors[:, 2] == 32)
    assert (labels[far] == 0).all()


def test_faces_that_need_not_be_found_have_no_label():
    labels, _ = match(torch.tensor([[100.0, 100, 130, 140, 0]]), torch.tensor(prior_boxes(256, 256)))
    assert (labels == -1).any()
    assert not (labels == 1).any()


def test_the_loss_of_right_answers_is_nearly_zero():
    priors = torch.tensor(prior_boxes(256, 256))
    faces = torch.tensor([[100.0, 100, 130, 140, 1]])
    labels, boxes = match(faces, priors)
    right = torch.where(labels == 1, 20.0, -20.0)[None]
    moves = torch.where((labels == 1)[:, None], encode(boxes, priors), 0)[None]
    taught = (moves, right.sigmoid())
    good = detection_loss((moves, right), (faces,), priors, taught, distillation=1)
    bad = detection_loss((moves + 1, -right), (faces,), priors, taught, distillation=1)
    assert good < 1e-3
    assert bad > 1


def test_a_face_that_only_the_teacher_sees_is_no_negative():
    priors = torch.tensor(prior_boxes(128, 128))
    logits = torch.full((1, len(priors)), -20.0)
    logits[0, 5] = 20
    taught = torch.zeros_like(logits)
    moves = torch.zeros(1, len(priors), 4)
    alone = detection_loss((moves, logits), (torch.zeros(0, 5),), priors, (moves, taught), distillation=0)
    taught[0, 5] = 0.9
    shared = detection_loss((moves, logits), (torch.zeros(0, 5),), priors, (moves, taught), distillation=0)
    assert alone > 10
    assert shared < 1e-3


def test_calibration_leaves_no_more_false_alarms_than_the_official_weights_have():
    torch.manual_seed(0)
    network, official = FaceBoxes().eval(), FaceBoxes().eval()
    for head in official.scores:
        head.bias.data[1::2] -= 10
    noise = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    scenes = [(picture, np.zeros((0, 5))) for picture in noise]
    assert len(Detector(network)(noise[0])) > 0
    assert calibrate(network, official, scenes) > 0
    assert [len(Detector(network)(picture)) for picture in noise] == [0, 0, 0]
    assert calibrate(network, official, scenes) == 0


def test_a_mixture_lies_between_its_networks():
    trained, official = FaceBoxes(), FaceBoxes()
    before, start = (network.digest1.conv.weight.detach().clone() for network in (trained, official))
    mix(trained, official, 0.75)
    torch.testing.assert_close(trained.digest1.conv.weight.detach(), 0.75 * before + 0.25 * start)


def test_box_rule_learns_a_linear_rule_with_hidden_landmarks():
    rng = np.random.default_rng(0)
    landmarks = rng.uniform(0, 1, (500, 5, 2))
    boxes = np.column_stack([landmarks.mean(axis=1) - 0.5, landmarks.mean(axis=1) + 0.5])
    boxes[::50] += 3
    np.testing.assert_allclose(BoxRule(landmarks, boxes)(landmarks[1:50]), boxes[1:50], atol=0.02)


def test_a_scene_follows_from_its_seed(material):
    for seed in range(12):
        first, again = (make_scene(material, 160, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])
        assert first[0].shape == (160, 160, 3)
        assert first[0].dtype == np.uint8


def test_a_face_that_is_pasted_over_need_not_be_found():
    _, white = cv2.imencode(".png", np.full((120, 120, 3), 255, np.uint8))
    crop = Photo("white", white.tobytes(), np.array([[22.0, 22, 98, 98, 1]]))
    black, face = np.zeros((200, 200, 3), np.uint8), np.array([[60.0, 50, 130, 140, 1]])
    hidden = 0
    for seed in range(60):
        picture, faces = paste_faces(Material((crop,), ()), black, face, np.random.default_rng(seed))
        share = (picture[50:140, 60:130] > 127).mean()
        # Near the threshold, soft edges over soft edges count a little otherwise.
        if abs(share - HIDDEN) > 0.03:
            assert (faces[0, 4] == 0) == (share > HIDDEN)
            hidden += share > HIDDEN
    assert 5 < hidden < 55


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("face_side", [12.0, 400.0])
def test_faults_and_conditions_keep_a_picture_a_picture(fault, face_side):
    picture = np.random.default_rng(0).integers(0, 255, (90, 130, 3), dtype=np.uint8)
    bad = spoil(picture, fault, face_side, np.random.default_rng(1))
    assert bad.shape == picture.shape
    assert bad.dtype == np.uint8
    assert degrade(picture, face_side, np.random.default_rng(2)).shape == picture.shape


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path, material, monkeypatch):
    official = tmp_path / training.OFFICIAL
    official.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(FaceBoxes().state_dict(), official)
    monkeypatch.setattr(training, "read_material", lambda *_: (material, material))
    scenes = [(np.full((64, 64, 3), 128, np.uint8), np.zeros((0, 5)))]
    checks = {"photos": scenes, "photos in bad conditions": scenes}
    monkeypatch.setattr(training, "validation_scenes", lambda _: checks)
    settings = Settings(steps=3, batch=2, sizes=(64,), check_every=1)
    run = {"settings": settings, "workers": 0, "progress": False}
    whole = training.train(tmp_path, tmp_path / "whole", **run)

    def stop_after_the_first_step(_, line):
        if line.startswith("step 1"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "_log", stop_after_the_first_step)
        training.train(tmp_path, tmp_path / "parts", **run)
    parts = training.train(tmp_path, tmp_path / "parts", **run)
    first, second = (load_network(path).state_dict() for path in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(TrainingError, match="belongs to a run with another steps;"):
        training.train(
            tmp_path, tmp_path / "parts", settings=dataclasses.replace(settings, steps=5), progress=False
        )
    checkpoint = tmp_path / "parts" / "checkpoint.pth"
    state = torch.load(checkpoint, weights_only=True)
    torch.save(state | {"version": 1}, checkpoint)
    with pytest.raises(
        TrainingError, match=r"expected a checkpoint of version 2, got version 1; .*another folder"
    ):
        training.train(tmp_path, tmp_path / "parts", **run)

import dataclasses
import zipfile

import numpy as np
import pytest

from m4kit.camera import head_pose
from m4kit.face_model import FaceModel
from m4kit.light import Lamp, Light
from m4kit.parameters import landmarks_in_crop, split
from m4kit.training import turned
from m4kit.training.data import Labels, decoded_crops
from m4kit.training.synthetic import random_look, random_parameters, write_set
from m4kit.training.synthetic_head import Head, draw
from m4kit.training.turned import Move, moved, random_move

GREY = np.full((120, 120, 3), 90, np.uint8)
FLAT = Light(
    key=Lamp((0, 0, 1), (0, 0, 0)), fill=Lamp((0, 0, 1), (0, 0, 0)), sky=(1, 1, 1), ground=(1, 1, 1), cavity=0
)


@pytest.fixture(scope="module")
def model():
    return FaceModel.load()


@pytest.fixture(scope="module")
def drawing(model):
    """Draws a bald grey face with red lips and blue eyes from raw parameters (62,)."""
    look = dataclasses.replace(
        random_look(np.random.default_rng(0)),
        skin=np.full(3, 128.0),
        lips=np.array([255.0, 0, 0]),
        iris=np.array([0.0, 0, 255]),
        clothes=np.full(3, 128.0),
        gaze=np.array([0.0, 0, 1]),
        hair=None,
        beard=0.0,
        flush=0.0,
        light=FLAT,
    )
    head = Head(model)
    return lambda parameters: draw(head, parameters, look, GREY)


def face_at(model, yaw):
    """Raw parameters (62,) of a random person with that yaw, upright and neutral."""
    for seed in range(1000):
        parameters = random_parameters(np.random.default_rng(seed), model)
        pose = head_pose(split(parameters).camera)
        if abs(pose.yaw - yaw) < 4 and abs(pose.pitch) < 6 and abs(pose.roll) < 6:
            parameters[52:] = 0
            return parameters
    raise AssertionError


def middle_of(red_or_blue, crop):
    """Centre (2,) and size of the area where red, or blue, is far above the other channels."""
    values = crop.astype(int)
    other = values[..., [1, 2] if red_or_blue == 0 else [0, 1]].max(axis=2)
    rows, columns = np.nonzero(values[..., red_or_blue] > other + 50)
    return np.array([columns.mean(), rows.mean()]), len(rows)


@pytest.mark.parametrize("yaw, turn", [(0, 25), (0, -25), (20, 30), (-35, -30)])
def test_a_turned_crop_is_like_a_drawing_of_the_turned_head(model, drawing, yaw, turn):
    parameters = face_at(model, yaw)
    move = Move(turn, 5.0, split(parameters).identity)
    crop, new = moved(model.head, drawing(parameters), parameters, move)
    again = drawing(new)
    for colour in (0, 2):
        (place, size), (true, true_size) = middle_of(colour, crop), middle_of(colour, again)
        # Pixels; the nose hides a part of the far iris.
        assert np.linalg.norm(place - true) < 3.0
        assert 0.6 < size / true_size < 1.6


def test_another_identity_moves_the_picture_with_the_label(model, drawing):
    parameters = face_at(model, 10)
    identity = split(parameters).identity + np.random.default_rng(6).normal(scale=3, size=40)
    crop, new = moved(model.head, drawing(parameters), parameters, Move(0.0, 0.0, identity))
    np.testing.assert_allclose(split(new).identity, identity, rtol=1e-5)
    away, _ = middle_of(0, drawing(parameters))
    place, _ = middle_of(0, crop)
    true, _ = middle_of(0, drawing(new))
    assert np.linalg.norm(place - true) < 1.5
    assert np.linalg.norm(away - true) > 3


def test_no_move_changes_almost_nothing(model, drawing):
    parameters = face_at(model, 15)
    crop, new = moved(model.head, drawing(parameters), parameters, Move(0.0, 0.0, split(parameters).identity))
    assert np.abs(crop.astype(int) - drawing(parameters)).mean() < 1.5
    np.testing.assert_allclose(
        landmarks_in_crop(model, new)[:, :2], landmarks_in_crop(model, parameters)[:, :2], atol=1e-3
    )


def test_the_pose_changes_by_the_turn(model, drawing):
    parameters = face_at(model, 0)
    before = head_pose(split(parameters).camera)
    _, new = moved(model.head, GREY, parameters, Move(40.0, 0.0, split(parameters).identity))
    assert head_pose(split(new).camera).yaw - before.yaw == pytest.approx(40, abs=2)


def test_faces_are_turned_further_away_and_never_past_the_profile(model):
    for seed in range(40):
        random = np.random.default_rng(seed)
        parameters = random_parameters(random, model)
        yaw = head_pose(split(parameters).camera).yaw
        turn = random_move(random, parameters).turn
        assert abs(turn) <= 50
        if abs(yaw) > 8:
            assert np.sign(turn) == np.sign(yaw)
            assert abs(yaw + turn) <= 90


def test_the_command_adds_turned_faces_to_those_of_a_training(tmp_path, model, capsys):
    labels = Labels.load(write_set(tmp_path / "data", faces=12, seed=3, progress=False))
    arguments = ["--data", str(tmp_path / "data"), "--labels", str(tmp_path / "data/labels.npz")]
    turned.main([*arguments, "--out", str(tmp_path / "out"), "--quiet"])
    both = Labels.load(tmp_path / "out/labels.npz")
    new = both.subset(np.arange(len(labels), len(both)))
    yaw = np.array([head_pose(camera).yaw for camera in split(labels.parameters).camera])
    assert len(new) == np.count_nonzero(~labels.validation & (np.abs(yaw) < turned.LARGEST_YAW)) > 0
    assert not new.validation.any()
    with zipfile.ZipFile(tmp_path / "out/turned_synthetic.zip") as archive:
        assert sorted(archive.namelist()) == sorted(new.names)
    (tmp_path / "out/synthetic.zip").symlink_to(tmp_path / "data/synthetic.zip")
    crops = np.load(decoded_crops(both, data=tmp_path / "out", cache=tmp_path, progress=False))
    assert crops.shape == (len(both), 120, 120, 3)
    # A second run replaces the first one's files with the same.
    turned.main([*arguments, "--out", str(tmp_path / "out"), "--quiet"])
    np.testing.assert_array_equal(Labels.load(tmp_path / "out/labels.npz").parameters, both.parameters)


def test_the_command_names_labels_that_it_cannot_read(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        turned.main(
            ["--data", str(tmp_path), "--labels", str(tmp_path / "no.npz"), "--out", str(tmp_path / "out")]
        )
    assert stopped.value.code == 2
    assert "no.npz: expected a labels file" in capsys.readouterr().err


def test_holes_are_filled_smoothly():
    random = np.random.default_rng(0)
    known = random.random((64, 50)) < 0.1
    known[20:30, 10:40] = False
    slope = np.tile(np.linspace(0, 10, 50, dtype=np.float32)[None, :, None], (64, 1, 2))
    filled = turned._filled(np.where(known[..., None], slope, 0).astype(np.float32), known)
    assert np.abs(filled - slope).max() < 2.5
    assert np.abs(filled - slope)[known].max() == 0

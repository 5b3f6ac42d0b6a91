import shutil
import zipfile

import numpy as np
import pytest

from m4kit.camera import head_pose
from m4kit.parameters import landmarks_in_crop, split
from m4kit.training import bent
from m4kit.training.bent import Move, moved, random_move
from m4kit.training.data import Labels, decoded_crops
from m4kit.training.synthetic import random_parameters, write_set
from m4kit.training.synthetic_head import Head, draw

from helpers.training import plain_look

GREY = np.full((120, 120, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def drawing(model):
    """Draws a bald grey face with red lips and blue eyes from raw parameters (62,)."""
    look, head = plain_look(), Head(model)
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


@pytest.mark.parametrize("yaw, turn", [(0, 12), (0, -12), (20, 10), (-35, -8)])
def test_a_turned_crop_is_like_a_drawing_of_the_turned_head(model, drawing, yaw, turn):
    parameters = face_at(model, yaw)
    move = Move(turn, 5.0, *split(parameters)[1:])
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
    crop, new = moved(
        model.head, drawing(parameters), parameters, Move(0.0, 0.0, identity, split(parameters).expression)
    )
    np.testing.assert_allclose(split(new).identity, identity, rtol=1e-5)
    away, _ = middle_of(0, drawing(parameters))
    place, _ = middle_of(0, crop)
    true, _ = middle_of(0, drawing(new))
    assert np.linalg.norm(place - true) < 1.5
    assert np.linalg.norm(away - true) > 3


def test_no_move_changes_almost_nothing(model, drawing):
    parameters = face_at(model, 15)
    crop, new = moved(model.head, drawing(parameters), parameters, Move(0.0, 0.0, *split(parameters)[1:]))
    assert np.abs(crop.astype(int) - drawing(parameters)).mean() < 1.5
    np.testing.assert_allclose(
        landmarks_in_crop(model, new)[:, :2], landmarks_in_crop(model, parameters)[:, :2], atol=1e-3
    )


def test_the_pose_changes_by_the_turn(model, drawing):
    parameters = face_at(model, 0)
    before = head_pose(split(parameters).camera)
    _, new = moved(model.head, GREY, parameters, Move(12.0, 0.0, *split(parameters)[1:]))
    assert head_pose(split(new).camera).yaw - before.yaw == pytest.approx(12, abs=1)


def test_an_open_mouth_moves_the_picture_with_the_label(model, drawing):
    parameters = face_at(model, 5)
    identity = split(parameters).identity
    expression = np.zeros(10)
    expression[0] = -2.0
    crop, new = moved(model.head, drawing(parameters), parameters, Move(0.0, 0.0, identity, expression))
    opened, before = (landmarks_in_crop(model, one)[:, :2] for one in (new, parameters))
    assert np.linalg.norm(opened[57] - opened[51]) > 1.3 * np.linalg.norm(before[57] - before[51])
    place, _ = middle_of(0, crop)
    true, _ = middle_of(0, drawing(new))
    assert np.linalg.norm(place - true) < 3


def test_shapes_reach_far_beyond_those_of_photos_and_heads_turn_little(model):
    moves = [
        random_move(random, random_parameters(random, model))
        for random in map(np.random.default_rng, range(300))
    ]
    length = np.array([np.linalg.norm(move.identity) for move in moves])
    assert (length > 11).mean() > 0.2
    assert np.median(length) < 15
    assert max(abs(move.turn) for move in moves) <= bent.TURN
    assert max(abs(move.nod) for move in moves) <= bent.NOD


def write_sources(folder):
    """Write two sets of twelve drawn faces each, in the layout of the training data."""
    drawn = Labels.load(write_set(folder, faces=12, seed=3, progress=False))
    people = np.array([f"person {number // 2}" for number in range(12)])
    np.savez(
        folder / "aflw_train.npz",
        names=drawn.names,
        pts21=np.full((12, 2, 21), -1.0),
        roi=np.tile([0, 0, 120, 120], (12, 1)),
    )
    np.savez(
        folder / "youtube_faces.npz", names=drawn.names, pts68=np.full((12, 68, 2), 60.0), identity=people
    )
    for name in bent.SOURCES:
        shutil.copy(folder / "synthetic.zip", folder / f"{name}.zip")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two small sets in the layout of the training data, and what the command makes of them."""
    folder = tmp_path_factory.mktemp("bent")
    write_sources(folder / "data")
    bent.main(
        ["--data", str(folder / "data"), "--weights", "m4net-small", "--out", str(folder / "out"), "--quiet"]
    )
    return folder


def test_the_command_bends_each_face_and_keeps_the_photos(made, model):
    labels = Labels.load(made / "out/labels.npz")
    counts = dict(zip(*np.unique(labels.source, return_counts=True), strict=True))
    assert counts["youtube_faces"] == counts["aflw_train"] == 12
    assert 0 < counts["bent_aflw_train"] <= 12
    for name in bent.SOURCES:
        with zipfile.ZipFile(made / f"out/bent_{name}.zip") as archive:
            assert sorted(archive.namelist()) == sorted(labels.names[labels.source == f"bent_{name}"])
        (made / f"out/{name}.zip").symlink_to(made / f"data/{name}.zip")
    crops = np.load(decoded_crops(labels, data=made / "out", cache=made, progress=False))
    assert crops.shape == (len(labels), 120, 120, 3)
    assert np.isnan(labels.points21).all()


def test_the_command_names_data_that_it_cannot_read(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        bent.main(["--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert "youtube_faces.npz" in capsys.readouterr().err


def test_holes_are_filled_smoothly():
    random = np.random.default_rng(0)
    known = random.random((64, 50)) < 0.1
    known[20:30, 10:40] = False
    slope = np.tile(np.linspace(0, 10, 50, dtype=np.float32)[None, :, None], (64, 1, 2))
    filled = bent._filled(np.where(known[..., None], slope, 0).astype(np.float32), known)
    assert np.abs(filled - slope).max() < 2.5
    assert np.abs(filled - slope)[known].max() == 0

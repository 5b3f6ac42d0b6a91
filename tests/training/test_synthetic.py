import dataclasses
import json
import zipfile

import cv2
import numpy as np
import pytest
import torch

from m4kit.camera import CROP_SIZE, Crop, decompose, head_pose, rotation_from_euler
from m4kit.face_model import FaceModel
from m4kit.light import Lamp
from m4kit.network import M4Net, Outputs
from m4kit.parameters import landmarks_in_crop
from m4kit.render import depth_map
from m4kit.training import TrainingError, synthetic
from m4kit.training.augmentation import Augmentation
from m4kit.training.data import Faces, Labels, decoded_crops
from m4kit.training.loop import Config, Trainer
from m4kit.training.synthetic import random_face, random_parameters, random_skin, write_set
from m4kit.training.synthetic_head import Head, draw
from m4kit.training.transfer import set_whitening, whitening_of

from helpers.training import FLAT, plain_look

GREEN = np.full((CROP_SIZE, CROP_SIZE, 3), (0, 255, 0), dtype=np.uint8)
MILD = Augmentation(0, (1, 1), 0, 0.5, *[0] * 7)


@pytest.fixture(scope="module")
def head(model):
    return Head(model)


@pytest.fixture
def plain():
    return plain_look()


def parameters_of(model, *, yaw=0.0, pitch=0.0, roll=0.0, seed=0):
    """Raw parameters (62,) of a random person with a neutral face in a given pose, framed by chance."""
    parameters = random_parameters(np.random.default_rng(seed), model)
    camera = parameters[:12].reshape(3, 4)
    camera[:, :3] = decompose(camera)[0] * rotation_from_euler(yaw, pitch, roll)
    camera[:, 3] = 0
    parameters[52:] = 0
    return parameters


def mesh_of(model, parameters):
    """The face model's own mesh (V, 3) in the crop's pixels."""
    camera = parameters[:12].reshape(3, 4).astype(float)
    vertices = model.vertices(parameters[12:52], parameters[52:])
    return Crop(-0.5, -0.5, CROP_SIZE).to_photo(vertices @ camera[:, :3].T + camera[:, 3])


def where_the_face_is(model, parameters):
    region = (0, 0, CROP_SIZE, CROP_SIZE)
    seen = depth_map(mesh_of(model, parameters), model.triangles, region=region)
    return np.isfinite(seen.depth)


def is_background(crop):
    return (crop == GREEN).all(axis=2)


def colour_at(crop, point):
    """The mean colour of the 3x3 pixels at a point of the crop frame."""
    x, y = round(point[0] + 59.5), round(59.5 - point[1])
    return crop[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).mean(axis=0)


class TestFace:
    def test_a_seed_gives_one_picture_and_another_seed_another(self, model, head):
        first, again, other = (random_face(np.random.default_rng(seed), model, head) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first.crop, again.crop)
        np.testing.assert_array_equal(first.parameters, again.parameters)
        assert np.abs(first.crop.astype(int) - other.crop).mean() > 10
        assert np.abs(first.parameters - other.parameters)[12:].max() > 0.5
        assert (first.crop.shape, first.crop.dtype) == ((120, 120, 3), np.uint8)

    @pytest.mark.parametrize("pose", [(0, 0, 0), (50, 10, -20), (-90, -20, 0), (20, -40, 30)])
    def test_the_parameters_place_the_models_own_mesh_on_the_face(self, model, head, plain, pose):
        parameters = parameters_of(model, yaw=pose[0], pitch=pose[1], roll=pose[2])
        background = is_background(draw(head, parameters, plain, GREEN))
        face = where_the_face_is(model, parameters)
        assert face.sum() > 2000
        # The drawn mesh has fewer triangles: its outline may leave out a sliver of a pixel here and there.
        assert (face & background).sum() <= 0.001 * face.sum()
        # Three pixels off, it would lie beside the face on one side or the other; there, neck and skull may cover it.
        for place in (3, 7):
            outside = []
            for step in (-3, 3):
                moved = parameters.copy()
                moved[place] += step
                outside.append((where_the_face_is(model, moved) & background).sum() / face.sum())
            assert max(outside) > 0.005

    def test_nothing_else_is_drawn_beside_a_frontal_face(self, model, head, plain):
        parameters = parameters_of(model)
        drawn = ~is_background(draw(head, parameters, plain, GREEN))
        face = cv2.dilate(where_the_face_is(model, parameters).astype(np.uint8), np.ones((3, 3))) > 0
        landmarks = landmarks_in_crop(model, parameters[None])[0]
        brows, mouth = (round(59.5 - landmarks[part, 1].mean()) for part in (slice(17, 27), slice(48, 68)))
        assert drawn[brows:mouth].sum() > 1000
        # The skull shows by a pixel where the temples meet the ears.
        assert (drawn & ~face)[brows:mouth].sum() <= 4

    @pytest.mark.parametrize("yaw", [-35, 0, 35])
    @pytest.mark.parametrize("seed", [1, 2])
    def test_lips_and_eyes_are_painted_where_the_landmarks_are(self, model, head, plain, yaw, seed):
        parameters = parameters_of(model, yaw=yaw, pitch=5, roll=15, seed=seed)
        crop = draw(head, parameters, plain, GREEN)
        landmarks = landmarks_in_crop(model, parameters[None])[0, :, :2]
        red, green, blue = colour_at(crop, landmarks[[57, 66]].mean(axis=0))
        assert red > 1.5 * max(green, blue)
        for first in (36, 42):
            red, green, blue = colour_at(crop, landmarks[first : first + 6].mean(axis=0))
            assert blue > 1.3 * max(red, green)
        for place in (8, 30):
            assert np.ptp(colour_at(crop, landmarks[place] + [0, 3])) < 12

    def test_the_side_that_the_lamp_is_on_is_the_brighter_one(self, model, head, plain):
        parameters = parameters_of(model)
        landmarks = landmarks_in_crop(model, parameters[None])[0, :, :2]
        cheeks = landmarks[[[2, 31], [14, 35]]].mean(axis=1)
        for side in (-1, 1):
            light = dataclasses.replace(FLAT, key=Lamp((side, 0, 0.3), (0.8,) * 3), sky=(0.1,) * 3)
            crop = draw(head, parameters, dataclasses.replace(plain, light=light), GREEN)
            left, right = (colour_at(crop, cheek).mean() for cheek in cheeks)
            assert side * (right - left) > 20

    def test_hair_covers_the_skull_and_leaves_the_face_free(self, model, head, plain):
        parameters = parameters_of(model, yaw=60)
        hairy = dataclasses.replace(plain, hair=np.array([255.0, 0, 255]), volume=4.0, hairline=0.0)
        bald, crop = (draw(head, parameters, look, GREEN).astype(int) for look in (plain, hairy))
        changed = np.abs(crop - bald).sum(axis=2) > 60
        assert changed.sum() > 800
        landmarks = landmarks_in_crop(model, parameters[None])[0, :, :2]
        for x, y in landmarks[[8, 30, 33, 45, 48, 54, 57]]:
            assert not changed[round(59.5 - y), round(x + 59.5)]

    def test_a_face_model_without_regions_is_refused(self, model):
        bare = FaceModel(arrays=model.arrays)
        with pytest.raises(TrainingError, match=r"regions eyeballs.*use the packaged one"):
            Head(bare)


@pytest.fixture(scope="module")
def many(model):
    return np.stack([random_parameters(np.random.default_rng(i), model) for i in range(300)])


class TestParameters:
    def test_crops_are_framed_as_those_of_known_landmarks(self, model, many):
        landmarks = landmarks_in_crop(model, many)[..., :2]
        low, high = landmarks.min(axis=1), landmarks.max(axis=1)
        np.testing.assert_allclose(np.sqrt(2) * (high - low).max(axis=1), 120, atol=1e-2)
        np.testing.assert_allclose(low + high, 0, atol=1e-2)

    def test_profiles_are_common_and_angles_stay_within_their_ranges(self, many):
        cameras = many[:, :12].reshape(-1, 3, 4)
        yaw, pitch, roll = np.abs([head_pose(camera) for camera in cameras]).T
        assert 0.23 < (yaw > 60).mean() < 0.43
        assert yaw.max() <= 90
        steep = yaw < 80
        assert 25 < pitch[steep].max() < 40.1
        assert 20 < roll[steep].max() < 35.1

    def test_cameras_are_scaled_rotations(self, many):
        for camera in many[:20, :12].reshape(-1, 3, 4):
            scale, rotation, _ = decompose(camera)
            np.testing.assert_allclose(camera[:, :3], scale * rotation, atol=1e-5)

    def test_skins_run_from_very_dark_to_very_light(self):
        random = np.random.default_rng(0)
        brightness = np.array([random_skin(random).mean() for _ in range(300)])
        assert brightness.min() < 75
        assert brightness.max() > 190
        assert 0.2 < (brightness < 110).mean() < 0.6


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    write_set(folder, faces=40, seed=5, model=model, progress=False)
    return folder


class TestSet:
    def test_its_labels_load_and_a_tenth_is_held_out(self, folder):
        labels = Labels.load(folder / "labels.npz")
        assert len(labels) == 40
        assert set(labels.source) == {"synthetic"}
        assert np.isnan(labels.points21).all()
        assert np.isnan(labels.points68).all()
        assert np.flatnonzero(labels.validation).tolist() == [9, 19, 29, 39]
        assert len(np.unique(labels.parameters[:, 12], axis=0)) == 40

    def test_its_pictures_are_the_faces_of_its_labels(self, model, head, folder, tmp_path):
        labels = Labels.load(folder / "labels.npz")
        crops = np.load(decoded_crops(labels, data=folder, cache=tmp_path, progress=False))
        for i in (0, 7):
            face = random_face(np.random.default_rng([5, i]), model, head)
            np.testing.assert_array_equal(labels.parameters[i], face.parameters)
            assert np.abs(crops[i].astype(int) - face.crop).mean() < 4

    def test_a_smaller_set_of_the_seed_is_its_beginning(self, model, folder, tmp_path):
        synthetic.main(["--faces", "2", "--seed", "5", "--out", str(tmp_path / "new" / "few"), "--quiet"])
        with (
            zipfile.ZipFile(tmp_path / "new" / "few" / "synthetic.zip") as few,
            zipfile.ZipFile(folder / "synthetic.zip") as many,
        ):
            assert few.namelist() == many.namelist()[:2]
            assert all(few.read(name) == many.read(name) for name in few.namelist())

    def test_a_folder_that_cannot_be_written_to_is_named(self, model, tmp_path):
        (tmp_path / "file").write_text("no folder")
        with pytest.raises(TrainingError, match=r"file/set: writing the set failed"):
            write_set(tmp_path / "file" / "set", faces=1, model=model, progress=False)
        with pytest.raises(TrainingError, match="at least one face to draw, got 0"):
            write_set(tmp_path, faces=0, model=model, progress=False)

    def test_existing_files_are_not_overwritten(self, folder, model, capsys):
        before = (folder / "labels.npz").read_bytes()
        with pytest.raises(SystemExit) as exit_:
            synthetic.main(["--faces", "1", "--out", str(folder)])
        assert exit_.value.code == 2
        assert "synthetic.zip: the file exists already" in capsys.readouterr().err
        assert (folder / "labels.npz").read_bytes() == before

    def test_an_interrupted_call_leaves_no_files(self, model, tmp_path, monkeypatch):
        calls = []

        def stopped(*arguments):
            calls.append(arguments)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return random_face(*arguments)

        monkeypatch.setattr(synthetic, "random_face", stopped)
        with pytest.raises(KeyboardInterrupt):
            write_set(tmp_path, faces=3, model=model, progress=False)
        assert list(tmp_path.iterdir()) == []


def test_a_small_network_learns_from_them(model, folder, tmp_path, one_thread):
    labels = Labels.load(folder / "labels.npz")
    crops = decoded_crops(labels, data=folder, cache=tmp_path, crop_size=48, progress=False)
    whitening = whitening_of(labels.parameters[labels.split()[0]])
    torch.manual_seed(0)
    network = M4Net("small", crop_size=48)
    set_whitening(network, whitening)
    config = Config(
        steps=30,
        batch=12,
        learning_rate=4e-3,
        precision="fp32",
        workers=0,
        validate_every=1000,
        augmentation=MILD,
    )
    trainer = Trainer(network, model, labels, crops, config, out=tmp_path / "run", progress=False)
    trainer.log_every = 1
    # The best blind answer is the mean face in the mean pose.
    faces = Faces(crops, labels, symmetry=model.symmetry, augmentation=MILD, seed=1)
    targets = np.stack([faces[0, i]["parameters"] for i in trainer.train_indices])
    answer = torch.tensor(whitening[0], dtype=torch.float32).expand(len(targets), 62)
    blind = Outputs(answer[:, None].expand(-1, 4, -1), torch.full((len(targets), 4), 0.25), answer)
    nothing = torch.full((len(targets), 68, 2), torch.nan)
    batch = {"parameters": torch.tensor(targets), "points21": nothing[:, :21], "points68": nothing}
    loss_of_the_mean, _ = trainer.loss(network, blind, batch)
    trainer.run()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(losses[-8:]) < 0.8 * float(loss_of_the_mean)
    assert np.mean(losses[-8:]) < 0.75 * np.mean(losses[:4])

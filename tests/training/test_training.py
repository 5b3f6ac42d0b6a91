"""Training of M4Net: losses, data, augmentation, the loop, and the command."""

import argparse
import dataclasses
import json
import os
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from m4kit.camera import HeadPose, rotation_from_euler
from m4kit.cli import main
from m4kit.face_model import FaceModel, packaged_model
from m4kit.landmarks import MIRROR_68
from m4kit.network import SIZES, M4Net, count_multiply_adds, to_input
from m4kit.parameters import landmarks_in_crop
from m4kit.peers.tddfa_v2 import TddfaNetwork
from m4kit.training import TrainingError, command
from m4kit.training.augmentation import MIRROR_21, Augmentation, TrainingCrop, augment, mirror, warp
from m4kit.training.data import Batches, Faces, Labels, averaging_matrix, decoded_crops, read_crops
from m4kit.training.loop import Trainer, config_from_dict
from m4kit.training.losses import GeometryLoss, rotation_error
from m4kit.training.transfer import AffineMap, mapped, read_map, read_peer, transfer
from m4kit.training.validation import validate
from m4kit.weights import WeightsError

from helpers.paths import shared_file
from helpers.peer_files import random_numbers
from helpers.training import QUIET, SHORT, labels_of, parameters_of

FLIP = np.array([-1, 1, 1], dtype=np.float32)


@pytest.fixture(scope="module")
def model():
    """A face of 68 points and as many beside them, with random modes that are symmetric or antisymmetric."""
    random = np.random.default_rng(0)
    order = np.concatenate([MIRROR_68, MIRROR_68 + 68])

    def symmetric(points, sign):
        return (points + sign * FLIP * points[..., order, :]) / 2

    symmetry = np.where(np.arange(50) % 3 == 2, -1.0, 1.0)
    modes = np.stack([symmetric(random.standard_normal((136, 3)) * 3, sign) for sign in symmetry])
    return FaceModel(
        arrays={
            "mean": symmetric(random.standard_normal((136, 3)) * 60, 1),
            "identity_modes": modes[:40],
            "expression_modes": modes[40:],
            "triangles": np.array([[0, 1, 2]]),
            "landmark_vertices": np.arange(68)[:, None].repeat(3, 1),
            "landmark_weights": np.tile([1.0, 0.0, 0.0], (68, 1)),
            "mirror": order,
            "symmetry": symmetry,
        }
    )


def sample_of(model, *, seed, crop=None):
    """A training crop whose annotated points lie on the model's landmarks."""
    parameters = parameters_of(1, seed=seed)
    points = landmarks_in_crop(model, parameters)[0, :, :2].astype(np.float32)
    crop = np.zeros((120, 120, 3), np.uint8) if crop is None else crop
    return TrainingCrop(crop, parameters[0], (averaging_matrix() @ points).astype(np.float32), points)


def assert_points_agree(sample, model, *, atol=1e-4):
    points = landmarks_in_crop(model, sample.parameters[None])[0, :, :2]
    np.testing.assert_allclose(points, sample.points68, atol=atol)
    np.testing.assert_allclose(averaging_matrix() @ points, sample.points21, atol=atol)


def spot_at(point):
    """A crop with a soft white spot at a point of the crop frame."""
    y, x = np.mgrid[:120, :120]
    distance = (x - 59.5 - point[0]) ** 2 + (59.5 - y - point[1]) ** 2
    return np.repeat((255 * np.exp(-distance / 50))[..., None].astype(np.uint8), 3, axis=2)


def centre_of_light(crop):
    light = crop.astype(float).sum(2)
    y, x = np.mgrid[:120, :120]
    return np.array([(light * (x - 59.5)).sum(), (light * (59.5 - y)).sum()]) / light.sum()


@pytest.fixture(scope="module")
def drawn(model, tmp_path_factory):
    """Labels and crops of faces drawn as one coloured spot a landmark: they can be learned."""
    labels = labels_of(model, 40, seed=1, held_out=8)
    colours = np.random.default_rng(2).integers(60, 255, size=(68, 3))
    crops = np.zeros((40, 120, 120, 3), np.uint8)
    for crop, points in zip(crops, landmarks_in_crop(model, labels.parameters), strict=True):
        for (x, y), colour in zip(points[:, :2], colours, strict=True):
            cv2.circle(crop, (round(59.5 + float(x)), round(59.5 - float(y))), 3, colour.tolist(), -1)
    path = tmp_path_factory.mktemp("crops") / "crops.npy"
    np.save(path, crops)
    return labels, path


class TestPoints:
    def test_aflws_points_are_means_of_the_68(self):
        matrix = averaging_matrix()
        np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-6)
        assert np.flatnonzero(matrix[7]).tolist() == list(range(36, 42))
        assert matrix[20].argmax() == 8

    def test_both_mirror_orders_say_the_same(self):
        assert (MIRROR_68[MIRROR_68] == np.arange(68)).all()
        np.testing.assert_array_equal(averaging_matrix()[MIRROR_21], averaging_matrix()[:, MIRROR_68])


class TestAugmentation:
    def test_mirroring_twice_changes_nothing(self, model):
        crop = np.random.default_rng(0).integers(0, 255, (120, 120, 3), dtype=np.uint8)
        sample = sample_of(model, seed=0, crop=crop)
        symmetry = model.symmetry
        twice = mirror(mirror(sample, symmetry), symmetry)
        for before, after in zip(sample, twice, strict=True):
            np.testing.assert_array_equal(before, after)

    def test_a_mirrored_face_lies_where_its_mirror_picture_shows_it(self, model):
        sample = sample_of(model, seed=0)
        mirrored = mirror(sample, model.symmetry)
        assert_points_agree(mirrored, model)
        np.testing.assert_allclose(mirrored.points68[:, 0], -sample.points68[MIRROR_68, 0])
        before, after = (landmarks_in_crop(model, s.parameters[None])[0, :, 2] for s in (sample, mirrored))
        np.testing.assert_allclose(after, before[MIRROR_68], atol=1e-4)
        spot = sample._replace(crop=spot_at((-20, 10)))
        np.testing.assert_allclose(centre_of_light(mirror(spot, np.ones(50)).crop), (20, 10), atol=0.05)

    @pytest.mark.parametrize(
        ("angle", "scale", "shift"),
        [(0, 1, (7.5, -3)), (30, 1, (0, 0)), (0, 1.25, (0, 0)), (0, 0.85, (0, 0)), (-35, 1.3, (-8, 6))],
    )
    def test_the_picture_moves_as_the_camera_does(self, model, angle, scale, shift):
        sample = sample_of(model, seed=3)
        moved = warp(sample, angle=angle, scale=scale, shift=shift)
        assert_points_agree(moved, model)
        for landmark in np.flatnonzero(np.abs(sample.points68).max(1) < 30)[:5]:
            spot = sample._replace(crop=spot_at(sample.points68[landmark]))
            light = centre_of_light(warp(spot, angle=angle, scale=scale, shift=shift).crop)
            np.testing.assert_allclose(light, moved.points68[landmark], atol=0.15)

    @pytest.mark.parametrize("side", [64, 80])
    def test_a_coarser_picture_moves_as_the_camera_does_too(self, model, side):
        sample = sample_of(model, seed=3)
        move = {"angle": 25, "scale": 1.15, "shift": (6, -4)}
        landmark = np.flatnonzero(np.abs(sample.points68).max(1) < 25)[0]
        spot = cv2.resize(spot_at(sample.points68[landmark]), (side, side), interpolation=cv2.INTER_AREA)
        moved = warp(sample._replace(crop=spot), **move)
        # Blown up again, pixel edges stay where they are: from -60 to 60 in the crop frame.
        light = centre_of_light(cv2.resize(moved.crop, (120, 120), interpolation=cv2.INTER_LINEAR))
        np.testing.assert_allclose(light, moved.points68[landmark], atol=0.3)
        np.testing.assert_array_equal(moved.parameters, warp(sample, **move).parameters)

    def test_a_turn_keeps_the_cameras_rotation_a_rotation(self, model):
        moved = warp(sample_of(model, seed=3), angle=20, scale=1.2)
        rotation = moved.parameters[:12].reshape(3, 4)[:, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3) * (rotation[0] ** 2).sum(), atol=1e-6)

    @pytest.mark.parametrize("side", [64, 120])
    def test_whatever_chance_brings_the_labels_stay_exact(self, model, side):
        crop = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
        always = Augmentation(**dict.fromkeys(QUIET, 1.0))
        for seed in range(20):
            sample = sample_of(model, seed=seed, crop=crop)
            changed = augment(sample, always, model.symmetry, np.random.default_rng(seed))
            assert changed.crop.shape == (side, side, 3)
            assert changed.crop.dtype == np.uint8
            assert changed.parameters.dtype == np.float32
            assert_points_agree(changed, model)
            move = np.linalg.norm(changed.parameters[:3]) / np.linalg.norm(sample.parameters[:3])
            assert 1 / 1.31 < move < 1 / 0.84

    def test_nothing_asked_for_changes_nothing(self, model):
        crop = np.random.default_rng(0).integers(0, 255, (120, 120, 3), dtype=np.uint8)
        none = Augmentation(rotation=0, scale=(1.0, 1.0), shift=0, flip=0, **QUIET)
        sample = sample_of(model, seed=0, crop=crop)
        same = augment(sample, none, model.symmetry, np.random.default_rng(0))
        for before, after in zip(sample, same, strict=True):
            np.testing.assert_allclose(before, after, atol=1e-6)

    def test_lying_faces_are_turned_by_any_angle(self, model):
        sample = sample_of(model, seed=0)
        how = Augmentation(rotation=5, scale=(1.0, 1.0), shift=0, flip=0, lying=0.5, **QUIET)
        turns = []
        for seed in range(200):
            turned = augment(sample, how, model.symmetry, np.random.default_rng(seed))
            assert_points_agree(turned, model)
            row, before = turned.parameters[[0, 4]], sample.parameters[[0, 4]]
            turns.append(np.degrees(np.arctan2(*row[::-1]) - np.arctan2(*before[::-1])))
        turns = np.abs((np.array(turns) + 180) % 360 - 180)
        assert 60 < np.count_nonzero(turns > 5.01) < 140
        assert turns.max() > 150

    def test_conditions_change_the_picture_and_no_label(self, model):
        crop = np.random.default_rng(0).integers(0, 255, (120, 120, 3), dtype=np.uint8)
        sample = sample_of(model, seed=0, crop=crop)
        how = Augmentation(rotation=0, scale=(1.0, 1.0), shift=0, flip=0, conditions=1.0, **QUIET)
        first, again, other = (
            augment(sample, how, model.symmetry, np.random.default_rng(seed)) for seed in (1, 1, 2)
        )
        np.testing.assert_allclose(first.parameters, sample.parameters, atol=1e-6)
        np.testing.assert_array_equal(first.crop, again.crop)
        assert (first.crop != sample.crop).mean() > 0.3
        assert (first.crop != other.crop).mean() > 0.3

    def test_a_blurred_face_stays_where_its_labels_are(self, model):
        sample = sample_of(model, seed=0, crop=spot_at((-4, 7)))
        how = Augmentation(rotation=0, scale=(1.0, 1.0), shift=0, flip=0, **QUIET | {"blur": 1.0})
        for seed in range(40):
            blurred = augment(sample, how, model.symmetry, np.random.default_rng(seed))
            assert (blurred.crop != sample.crop).any()
            np.testing.assert_allclose(centre_of_light(blurred.crop), (-4, 7), atol=0.15)

    def test_points_that_are_not_there_stay_away(self, model):
        sample = sample_of(model, seed=0)
        sample.points21[3] = np.nan
        mirrored = mirror(sample, model.symmetry)
        assert np.flatnonzero(np.isnan(mirrored.points21[:, 0])).tolist() == [2]


class TestData:
    def test_labels_survive_their_file(self, model, tmp_path):
        labels = labels_of(model, 5, seed=0, held_out=2)
        labels.save(tmp_path / "labels.npz")
        loaded = Labels.load(tmp_path / "labels.npz")
        np.testing.assert_array_equal(loaded.parameters, labels.parameters)
        assert loaded.face_model == model.fingerprint
        assert loaded.digest() == labels.digest() == labels.subset(np.arange(5)).digest()
        assert loaded.digest() != dataclasses.replace(labels, face_model="another").digest()
        assert [part.tolist() for part in loaded.split()] == [[0, 1, 2], [3, 4]]

    def test_broken_labels_are_named(self, model, tmp_path):
        labels = labels_of(model, 5, seed=0)
        with pytest.raises(TrainingError, match=r"parameters of shape \(5, 62\) for 5 names, got \(4, 62\)"):
            dataclasses.replace(labels, parameters=labels.parameters[:4])
        broken = labels.parameters.copy()
        broken[3, 7] = np.nan
        with pytest.raises(
            TrainingError, match=r"expected finite .* 1 faces have others, the first face3.jpg"
        ):
            dataclasses.replace(labels, parameters=broken)
        np.savez(tmp_path / "odd.npz", names=labels.names)
        fields = {name: getattr(labels, name) for name in Labels.__dataclass_fields__ if name != "face_model"}
        np.savez(tmp_path / "older.npz", **fields)
        (tmp_path / "junk.npz").write_bytes(b"PK junk")
        (tmp_path / "empty.npz").touch()
        np.save(tmp_path / "array.npy", labels.parameters)
        for name in ("odd.npz", "older.npz", "junk.npz", "gone.npz", "empty.npz", "array.npy"):
            with pytest.raises(TrainingError, match=rf"{name}: expected a labels file"):
                Labels.load(tmp_path / name)

    def test_crops_are_decoded_once_to_rgb_of_one_size(self, model, tmp_path):
        labels = labels_of(model, 2, seed=0)
        with zipfile.ZipFile(tmp_path / "drawn.zip", "w") as archive:
            for name, side in zip(labels.names, (120, 128), strict=True):
                red = np.full((side, side, 3), (0, 0, 255), np.uint8)
                archive.writestr(f"folder/{name}", cv2.imencode(".png", red)[1].tobytes())
        path = decoded_crops(labels, data=tmp_path, cache=tmp_path / "cache", progress=False)
        crops = np.load(path)
        assert crops.shape == (2, 120, 120, 3)
        assert (crops == (255, 0, 0)).all()
        small = decoded_crops(labels, data=tmp_path, cache=tmp_path / "cache", crop_size=64, progress=False)
        assert np.load(small).shape == (2, 64, 64, 3)
        (tmp_path / "drawn.zip").unlink()
        assert decoded_crops(labels, data=tmp_path, cache=tmp_path / "cache", progress=False) == path

    def test_unreadable_crops_are_counted_and_named(self, model, tmp_path):
        labels = labels_of(model, 3, seed=0)
        with pytest.raises(TrainingError, match=r"drawn.zip: no such archive"):
            decoded_crops(labels, data=tmp_path, cache=tmp_path, progress=False)
        with zipfile.ZipFile(tmp_path / "drawn.zip", "w") as archive:
            black = np.zeros((120, 120, 3), np.uint8)
            archive.writestr("face0.jpg", cv2.imencode(".png", black)[1].tobytes())
            archive.writestr("face1.jpg", b"no image")
        with pytest.raises(TrainingError, match=r"2 of 3 crops are missing or unreadable \(face1.jpg, face2"):
            decoded_crops(labels, data=tmp_path, cache=tmp_path, progress=False)
        assert not list(tmp_path.glob("crops_*"))

    def test_crops_of_one_name_in_two_folders_are_told_apart(self, model, tmp_path):
        labels = dataclasses.replace(
            labels_of(model, 2, seed=0), names=np.array(["anna/001.png", "bob/001.png"])
        )
        with zipfile.ZipFile(tmp_path / "drawn.zip", "w") as archive:
            for folder, grey in (("anna", 10), ("bob", 200)):
                picture = np.full((120, 120, 3), grey, np.uint8)
                archive.writestr(f"{folder}/001.png", cv2.imencode(".png", picture)[1].tobytes())
        crops = np.load(decoded_crops(labels, data=tmp_path, cache=tmp_path, progress=False))
        assert crops[:, 0, 0, 0].tolist() == [10, 200]
        with pytest.raises(TrainingError, match=r"drawn.zip: .* got anna/001.png, bob/001.png; name"):
            read_crops(tmp_path / "drawn.zip", ["001.png"])
        with pytest.raises(TrainingError, match=r"missing or unreadable \(carl/001.png"):
            read_crops(tmp_path / "drawn.zip", ["anna/001.png", "carl/001.png"])

    def test_damaged_members_are_unreadable_and_a_damaged_archive_is_named(self, model, tmp_path):
        path, picture = tmp_path / "drawn.zip", np.full((120, 120, 3), 90, np.uint8)
        png = cv2.imencode(".png", picture)[1].tobytes()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("good.png", png)
            archive.writestr("empty.png", b"")
            archive.writestr("torn.png", png[:-9] + b"mark-me-9")
        # Another content than the checksum is of.
        path.write_bytes(path.read_bytes().replace(b"mark-me-9", b"mark-me-8"))
        with pytest.raises(TrainingError, match=r"2 of 3 crops .* unreadable \(empty.png, torn.png"):
            read_crops(path, ["good.png", "empty.png", "torn.png"])
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(TrainingError, match=r"drawn.zip: expected an archive of crops .*get the archive"):
            decoded_crops(labels_of(model, 1, seed=0), data=tmp_path, cache=tmp_path, progress=False)

    def test_a_full_disk_is_reported_before_the_crops_are_decoded(self, model, tmp_path, monkeypatch):
        with zipfile.ZipFile(tmp_path / "drawn.zip", "w") as archive:
            for number in range(24):
                black = np.zeros((120, 120, 3), np.uint8)
                archive.writestr(f"face{number}.jpg", cv2.imencode(".png", black)[1].tobytes())
        labels, cache = labels_of(model, 24, seed=0), tmp_path / "cache"

        def full(file, start, size):
            assert size > 24 * 120 * 120 * 3
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
        with pytest.raises(
            TrainingError, match=r"crops_\w+\.\d+\.part\.npy: .*No space left.*1 MB, so free some space"
        ):
            decoded_crops(labels, data=tmp_path, cache=cache, progress=False)
        assert not list(cache.iterdir())

    def test_an_epoch_sees_each_face_once_and_a_step_always_the_same_ones(self):
        batches = Batches(np.arange(100, 110), 3, seed=0, stop=6)
        first, second = ([index for b in list(batches)[i : i + 3] for _, index in b] for i in (0, 3))
        assert len(set(first)) == 9
        assert len(set(second)) == 9
        assert first != second
        assert list(Batches(np.arange(100, 110), 3, seed=0, start=4, stop=6)) == list(batches)[4:]
        with pytest.raises(TrainingError, match="one batch of 11"):
            Batches(np.arange(10), 11, seed=0, stop=1)

    def test_a_key_always_gives_the_same_sample(self, model, drawn):
        labels, path = drawn
        faces = Faces(path, labels, symmetry=model.symmetry, augmentation=Augmentation(), seed=0)
        one, same, other = faces[0, 3], faces[0, 3], faces[1, 3]
        np.testing.assert_array_equal(one["crop"], same["crop"])
        assert (one["crop"] != other["crop"]).any()


class TestLosses:
    @pytest.fixture
    def loss(self, model):
        return GeometryLoss(model)

    def at(self, loss, model, answers, *, seed=5):
        """Total and terms when the network answers `answers(target)` by all heads."""
        labels = labels_of(model, 6, seed=seed)
        target = torch.tensor(labels.parameters)
        network = M4Net("small")
        heads = answers(target)[:, None].expand(-1, 4, -1)
        outputs = argparse.Namespace(parameters=heads[:, 0], heads=heads)
        batch = {"parameters": target} | {
            name: torch.tensor(getattr(labels, name)) for name in ("points21", "points68")
        }
        return loss(network, outputs, batch)

    def test_it_is_zero_at_the_target_and_has_a_gradient_there(self, loss, model):
        leaf = []

        def answers(target):
            leaf.append(target.clone().requires_grad_())
            return leaf[0]

        total, terms = self.at(loss, model, answers)
        assert abs(total.item()) < 1e-3
        assert all(abs(term) < 1e-3 for term in terms.values())
        total.backward()
        assert leaf[0].grad.isfinite().all()

    def test_a_shift_of_three_pixels_costs_three_pixels(self, loss, model):
        def answers(target):
            moved = target.clone()
            moved[:, 3] += 3
            return moved

        _, terms = self.at(loss, model, answers)
        assert terms["landmarks"] == pytest.approx(3, abs=0.01)
        assert terms["vertices"] == pytest.approx(3, abs=0.01)
        assert terms["points"] == pytest.approx(8 * np.tanh(3 / 8), abs=0.01)
        assert terms["rotation"] == pytest.approx(0, abs=0.01)
        assert terms["openings"] == pytest.approx(0, abs=0.01)

    def test_a_larger_face_has_larger_openings(self, loss, model):
        labels = labels_of(model, 6, seed=5)
        at = landmarks_in_crop(model, labels.parameters)[..., :2]
        open_by = np.linalg.norm(
            at[:, [61, 62, 63, 37, 38, 43, 44]] - at[:, [67, 66, 65, 41, 40, 47, 46]], axis=2
        )

        def answers(target):
            larger = target.clone()
            larger[:, :12] *= 1.5
            return larger

        _, terms = self.at(loss, model, answers)
        assert terms["openings"] == pytest.approx(0.5 * open_by.mean(), rel=0.01)

    def test_only_identity_numbers_count_as_identity(self, loss, model):
        def answers(target, first, last):
            return target + torch.eye(62)[first:last].sum(0)

        _, other = self.at(loss, model, lambda target: answers(answers(target, 0, 12), 52, 62))
        assert other["identity"] == pytest.approx(0, abs=1e-6)
        # A difference of one standard deviation costs 1/2.
        _, own = self.at(loss, model, lambda target: answers(target, 12, 52))
        assert own["identity"] == pytest.approx(0.5, abs=1e-6)

    def test_how_far_away_a_face_is_costs_next_to_nothing(self, loss, model):
        def answers(target):
            moved = target.clone()
            moved[:, 11] += 3
            return moved

        _, terms = self.at(loss, model, answers)
        assert terms["landmarks"] == pytest.approx(0, abs=0.01)

    def test_it_grows_with_the_error(self, loss, model):
        noise = torch.randn(6, 62, generator=torch.Generator().manual_seed(0)) * 0.05
        totals = [float(self.at(loss, model, lambda t, k=k: t + k * noise)[0]) for k in (0, 1, 2, 4)]
        assert totals == sorted(totals)
        assert totals[-1] > 2 * totals[1] > 0

    def test_far_points_pull_no_more(self, loss, model):
        def answers(target):
            moved = target.clone()
            moved[:, 7] += 500
            return moved

        assert self.at(loss, model, answers)[1]["points"] == pytest.approx(8, abs=0.01)

    def test_points_that_are_none_of_the_68_landmarks_do_not_pull(self, loss, model):
        labels = labels_of(model, 6, seed=5)
        parameters, points = torch.tensor(labels.parameters), torch.tensor(labels.points21)
        placed = loss.place(parameters)[:, None, : len(MIRROR_68), :2]
        nothing = torch.full((6, len(MIRROR_68), 2), torch.nan)

        def pull(numbers):
            """Of AFLW's points of these numbers, counted from 1, 4 pixels from where they belong."""
            moved = torch.full_like(points, torch.nan)
            for number in numbers:
                moved[:, number - 1] = points[:, number - 1] + torch.tensor([4.0, 0.0])
            return float(loss._reprojection(placed, {"points21": moved, "points68": nothing})[:3].mean())

        # Ears, and beside them the tip of the nose.
        assert pull([13, 17]) == 0
        assert pull([13, 15, 17]) == pytest.approx(8 * np.tanh(4 / 8), abs=0.01)

    def test_rotation_is_read_in_degrees(self):
        camera = torch.zeros(2, 62)
        for row, roll in enumerate((0.0, 1.0)):
            rotation = 0.4 * rotation_from_euler(0, 0, roll)
            camera[row, :12] = torch.tensor(np.column_stack([rotation, np.zeros(3)]).ravel())
        # A degree in the plane turns two of the three axes by a degree.
        assert rotation_error(camera[0], camera[1]) == pytest.approx(2 / 3, abs=0.01)
        assert rotation_error(camera[0], 3 * camera[0]) == pytest.approx(0, abs=1e-3)


def trainer_of(model, drawn, out, config=SHORT, **changes):
    labels, crops = drawn
    torch.manual_seed(0)
    network = M4Net("small")
    command.set_whitening(network, command.whitening_of(labels.parameters))
    return Trainer(
        network, model, labels, crops, dataclasses.replace(config, **changes), out=out, progress=False
    )


def test_crops_of_another_size_than_the_networks_are_refused(model, drawn, tmp_path):
    labels, crops = drawn
    with pytest.raises(TrainingError, match="expected crops of 64 pixels for this network, got 120"):
        Trainer(M4Net("small", crop_size=64), model, labels, crops, SHORT, out=tmp_path, progress=False)


class TestFaceModel:
    def test_labels_of_another_model_are_refused(self, model, drawn, tmp_path):
        labels, crops = drawn
        other = dataclasses.replace(labels, face_model="another")
        message = rf"labels: .* of the face model another, got the face model {model.fingerprint}; give"
        with pytest.raises(TrainingError, match=message):
            trainer_of(model, (other, crops), tmp_path)

    def test_weights_of_another_model_are_refused(self, model, drawn, tmp_path):
        network = M4Net("small")
        network.notes["face_model"] = "another"
        message = rf"network: .* of the face model another, got the face model {model.fingerprint}; give"
        with pytest.raises(WeightsError, match=message):
            Trainer(network, model, *drawn, SHORT, out=tmp_path, progress=False)


def lines_of(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def without_times(lines):
    return [{key: value for key, value in line.items() if key != "elapsed"} for line in lines]


class TestTrainer:
    def test_a_short_training_learns(self, model, drawn, tmp_path):
        labels, crops = drawn
        few = dataclasses.replace(labels, validation=np.arange(40) >= 8)
        still = Augmentation(rotation=0, scale=(1.0, 1.0), shift=0, flip=0, **QUIET)
        trainer = trainer_of(
            model, (few, crops), tmp_path, steps=25, validate_every=25, validation_faces=2, augmentation=still
        )
        trainer.log_every = 1
        path = trainer.run()
        losses = [line["loss"] for line in lines_of(tmp_path) if "loss" in line]
        assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
        loaded = M4Net.load(path)
        assert json.loads(loaded.notes["run"])["steps"] == 25
        assert loaded.notes["face_model"] == model.fingerprint
        assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0

    def test_the_seed_decides_and_a_kill_changes_nothing(self, model, drawn, tmp_path, monkeypatch):
        whole = trainer_of(model, drawn, tmp_path / "whole").run()
        stopped = trainer_of(model, drawn, tmp_path / "stopped", checkpoint_minutes=1e-9)
        train_step = stopped._train_step

        def killed(batch, learning_rate):
            if stopped.step == 4:
                raise KeyboardInterrupt
            return train_step(batch, learning_rate)

        monkeypatch.setattr(stopped, "_train_step", killed)
        with pytest.raises(KeyboardInterrupt):
            stopped.run()
        with (tmp_path / "stopped" / "metrics.jsonl").open("a") as file:
            file.write('{"step": 5, "loss": 1}\n{"st')
        resumed = trainer_of(model, drawn, tmp_path / "stopped", checkpoint_minutes=1e-9)
        assert resumed.step == 4
        again = resumed.run()
        first, second = (M4Net.load(path).state_dict() for path in (whole, again))
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert without_times(lines_of(tmp_path / "whole")) == without_times(lines_of(tmp_path / "stopped"))

    def test_parts_side_by_side_give_the_gradient_of_their_mean(self, model, drawn, tmp_path, one_thread):
        trainer = trainer_of(model, drawn, tmp_path, parallel=2)
        batch = next(iter(trainer._loader()))
        alone = [
            {name: value[part] for name, value in batch.items()} for part in (slice(None, 2), slice(2, None))
        ]
        expected = 0
        for part in alone:
            trainer._gradients(trainer.network, part)
            expected = expected + trainer.network.backbone.conv1.weight.grad
        trainer._train_step(batch, 0.0)
        torch.testing.assert_close(trainer.network.backbone.conv1.weight.grad, expected)

    def test_parts_side_by_side_are_as_repeatable(self, model, drawn, tmp_path):
        files = [trainer_of(model, drawn, tmp_path / name, parallel=2, steps=3).run() for name in "ab"]
        first, second = (M4Net.load(path).state_dict() for path in files)
        assert all(torch.equal(first[name], second[name]) for name in first)
        with pytest.raises(TrainingError, match="equal parts, got 4 faces in 3"):
            trainer_of(model, drawn, tmp_path, parallel=3)

    def test_the_fusion_alone_is_trained_if_so_asked(self, model, drawn, tmp_path):
        labels, crops = drawn
        network = M4Net("small", fusion="dynamic")
        command.set_whitening(network, command.whitening_of(labels.parameters))
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        config = dataclasses.replace(SHORT, fusion_only=True)
        path = Trainer(network, model, labels, crops, config, out=tmp_path, progress=False).run()
        after = M4Net.load(path).state_dict()
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed == {"head_scores.weight", "head_scores.bias"}
        with pytest.raises(TrainingError, match="dynamic fusion, got static"):
            trainer_of(model, drawn, tmp_path / "static", fusion_only=True)

    def test_frozen_layers_stay_as_the_start_has_them(self, model, drawn, tmp_path):
        trainer = trainer_of(model, drawn, tmp_path, frozen="dw3_2", parallel=2, steps=2)
        before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
        trainer.run()
        after = trainer.network.state_dict()
        frozen = ("conv1", "bn1", "dw2_1", "dw2_2", "dw3_1", "dw3_2")
        for name, value in before.items():
            parts = name.split(".")
            if parts[0] == "backbone":
                same = torch.equal(value, after[name])
                assert same == (parts[1] in frozen), name
        with pytest.raises(TrainingError, match="frozen: expected a layer of the backbone"):
            trainer_of(model, drawn, tmp_path / "unknown", frozen="dw9_9")

    def test_a_loss_that_is_not_finite_stops_it_and_names_the_batch(self, model, drawn, tmp_path):
        trainer = trainer_of(model, drawn, tmp_path)
        with torch.no_grad():
            trainer.network.last_head.bias[3] = float("nan")
        with pytest.raises(TrainingError, match=r"loss is nan at step 0 .*batch of face\d+.jpg, face\d+.jpg"):
            trainer.run()
        assert not trainer.checkpoint.exists()

    def test_a_full_disk_leaves_the_checkpoint_before_it(self, model, drawn, tmp_path, monkeypatch):
        trainer = trainer_of(model, drawn, tmp_path)
        trainer.save_checkpoint()
        before = trainer.checkpoint.read_bytes()

        def full(state, path):
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(torch, "save", full)
        with pytest.raises(TrainingError, match=r"No space left on device.*still whole"):
            trainer.save_checkpoint()
        assert trainer.checkpoint.read_bytes() == before
        assert [path.name for path in tmp_path.iterdir() if "check" in path.name] == ["checkpoint.pt"]

    def test_another_config_does_not_continue_a_run(self, model, drawn, tmp_path):
        trainer_of(model, drawn, tmp_path).save_checkpoint()
        with pytest.raises(TrainingError, match=r"run with another learning_rate, seed;"):
            trainer_of(model, drawn, tmp_path, seed=1, learning_rate=1e-3)
        state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
        torch.save(state | {"version": 3}, tmp_path / "checkpoint.pt")
        with pytest.raises(TrainingError, match=r"of version 4, got version 3; finish the run with"):
            trainer_of(model, drawn, tmp_path)
        (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
        with pytest.raises(TrainingError, match=r"checkpoint.pt: expected a checkpoint"):
            trainer_of(model, drawn, tmp_path)

    def test_options_missing_in_an_older_checkpoint_count_as_defaults(self, model, drawn, tmp_path):
        trainer = trainer_of(model, drawn, tmp_path)
        trainer.save_checkpoint()
        state = torch.load(trainer.checkpoint, weights_only=True)
        del (
            state["config"]["frozen"],
            state["config"]["augmentation"]["lying"],
            state["config"]["loss"]["depth"],
        )
        torch.save(state, trainer.checkpoint)
        trainer_of(model, drawn, tmp_path)
        lying = dataclasses.replace(SHORT.augmentation, lying=0.5)
        with pytest.raises(TrainingError, match=r"run with another augmentation;"):
            trainer_of(model, drawn, tmp_path, augmentation=lying)

    def test_minutes_end_it_on_the_clock(self, model, drawn, tmp_path):
        trainer = trainer_of(model, drawn, tmp_path, minutes=0.02, validate_every=1000)
        path = trainer.run()
        assert trainer.step >= 1
        assert 1.2 <= trainer.elapsed < 10
        assert json.loads(M4Net.load(path).notes["run"])["steps"] == trainer.step

    def test_fixed_head_weights_stay_fixed(self, model, drawn, tmp_path):
        path = trainer_of(model, drawn, tmp_path, steps=2, fixed_head_weights=(0, 0, 1, 3)).run()
        weights = M4Net.load(path).head_logits.softmax(0)
        torch.testing.assert_close(weights, torch.tensor([0, 0, 0.25, 0.75]))

    def test_a_config_survives_its_file(self):
        assert config_from_dict(json.loads(json.dumps(SHORT.to_dict()))) == SHORT
        with pytest.raises(TrainingError, match="version 0"):
            config_from_dict(SHORT.to_dict() | {"version": 0})
        with pytest.raises(TrainingError, match=r"other fields \(momentum\)"):
            config_from_dict(SHORT.to_dict() | {"momentum": 1})
        with pytest.raises(TrainingError, match="precision"):
            dataclasses.replace(SHORT, precision="fp8")
        older = SHORT.to_dict()
        del older["augmentation"]["lying"], older["augmentation"]["conditions"]
        assert config_from_dict(older) == SHORT

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"augmentation": {"tilt": 1}}, "unexpected keyword argument 'tilt'"),
            ({"augmentation": None}, "NoneType"),
            ({"augmentation": {"scale": 2}}, "not iterable"),
            ({"loss": [1.0]}, "list"),
            ({"fixed_head_weights": 1}, "not iterable"),
            ({"steps": "many"}, "str"),
        ],
    )
    def test_a_config_of_other_values_is_refused(self, change, message):
        with pytest.raises(TrainingError, match=f"the values of Config.to_dict, got .*{message}"):
            config_from_dict(SHORT.to_dict() | change)

    @pytest.mark.parametrize("content", ["", "[1]", "null", '{"loss": []}'])
    def test_a_file_that_holds_no_config_is_named(self, content, tmp_path):
        path = tmp_path / "config.json"
        path.write_text(content)
        with pytest.raises(TrainingError, match=r"config.json: expected the config.json of a run: "):
            command.config_of(argparse.Namespace(config=path))

    def test_a_missing_device_is_refused(self, model, drawn, tmp_path):
        with pytest.raises(TrainingError, match=r"device: expected one that torch finds .*, got 'gpu'"):
            trainer_of(model, drawn, tmp_path, device="gpu")

    def test_a_face_model_without_symmetry_is_refused(self, model, drawn, tmp_path):
        lopsided = FaceModel(arrays=model.arrays | {"symmetry": np.zeros(0)})
        with pytest.raises(TrainingError, match="symmetry"):
            trainer_of(lopsided, drawn, tmp_path)


class TestValidation:
    def test_right_answers_have_no_error(self, model, drawn, monkeypatch):
        labels, path = drawn
        faces = Faces(path, labels, symmetry=model.symmetry, augmentation=Augmentation(), seed=0)
        chosen = np.arange(0, 40, 2)
        heads = labels.parameters[chosen, None].repeat(4, 1)
        heads[:, 0, 3] += 2
        weights = np.tile([0.0, 0.5, 0.25, 0.25], (len(chosen), 1)).astype(np.float32)
        monkeypatch.setattr("m4kit.training.validation.predict_faces", lambda *_, **__: (heads, weights))
        figures = validate(M4Net("small"), model, faces, chosen)
        truth = landmarks_in_crop(model, labels.parameters[chosen])
        size = np.sqrt(np.ptp(truth[..., 0], axis=1) * np.ptp(truth[..., 1], axis=1))
        assert figures["nme"] == figures["head4"] == pytest.approx(0, abs=1e-3)
        assert figures["head1"] == pytest.approx((200 / size).mean(), rel=1e-3)
        assert figures["uniform"] == pytest.approx((50 / size).mean(), rel=1e-3)
        assert figures["points"] == pytest.approx(0, abs=1e-3)
        assert max(figures[angle] for angle in ("yaw", "pitch", "roll")) < 0.01
        assert figures["weight2"] == 0.5

    def test_its_yaw_bins_are_those_of_the_evaluation(self, model, drawn, monkeypatch):
        labels, path = drawn
        faces = Faces(path, labels, symmetry=model.symmetry, augmentation=Augmentation(), seed=0)
        heads = labels.parameters[:4, None].repeat(4, 1)
        weights = np.full((4, 4), 0.25, np.float32)
        monkeypatch.setattr("m4kit.training.validation.predict_faces", lambda *_, **__: (heads, weights))
        poses = [HeadPose(30, 0, 0)] * 4
        monkeypatch.setattr("m4kit.training.validation.head_poses", lambda cameras: poses)
        figures = validate(M4Net("small"), model, faces, np.arange(4))
        assert figures["0-30"] == figures["balanced"] == figures["nme"]
        assert "30-60" not in figures


def noise_crops(n):
    coarse = np.random.default_rng(0).integers(0, 255, (n, 15, 15, 3), dtype=np.uint8)
    return np.stack([cv2.resize(crop, (120, 120)) for crop in coarse])


@pytest.fixture(scope="module")
def peer():
    """A network as 3DDFA-V2's, half as wide, with batch norms that matter."""
    return random_numbers(TddfaNetwork(0.5))


class TestTransfer:
    def test_folded_batch_norms_come_back_as_the_same_function(self, peer, tmp_path):
        onnx = pytest.importorskip("onnx")
        nodes, stored = [], []
        for name, module in peer.named_modules():
            if isinstance(module, torch.nn.Conv2d):
                norm = peer.get_submodule(name.replace("conv1", "bn1").replace("conv_", "bn_"))
                factor = norm.weight / (norm.running_var + norm.eps).sqrt()
                folded = {
                    "w": module.weight * factor[:, None, None, None],
                    "b": norm.bias - norm.running_mean * factor,
                }
                for key, tensor in folded.items():
                    stored.append(onnx.numpy_helper.from_array(tensor.detach().numpy(), f"{name}.{key}"))
                nodes.append(onnx.helper.make_node("Conv", ["x", f"{name}.w", f"{name}.b"], ["x"]))
        for name in ("weight", "bias"):
            stored.append(onnx.numpy_helper.from_array(getattr(peer.fc, name).detach().numpy(), f"fc.{name}"))
        graph = onnx.helper.make_graph(nodes, "peer", [], [], stored)
        onnx.save(onnx.helper.make_model(graph), str(tmp_path / "mb.onnx"))
        crops = noise_crops(4)
        loaded = read_peer(tmp_path / "mb.onnx", crops)
        x = to_input(crops).flip(1)
        with torch.no_grad():
            expected = peer(x)
            torch.testing.assert_close(loaded(x), expected, rtol=1e-3, atol=1e-3 * float(expected.std()))
            # Measured on these very crops, the statistics are the batch's own.
            loaded.train()
            torch.testing.assert_close(loaded(x), expected, rtol=1e-2, atol=1e-2 * float(expected.std()))

    def test_a_network_starts_with_the_peers_answer_in_our_face_model(self, peer, monkeypatch):
        # Fewer features per head, whose covariance takes most of the time.
        monkeypatch.setitem(SIZES, "small", SIZES["small"]._replace(head=4))
        crops = noise_crops(40)
        random = np.random.default_rng(0)
        with torch.no_grad():
            answer = peer(to_input(crops).flip(1)).double().numpy()
        theirs = random.standard_normal(62), random.uniform(0.5, 2, 62)
        to_ours = AffineMap(random.standard_normal((62, 62)), random.standard_normal(62), "mine")
        raw = (answer * theirs[1] + theirs[0]) @ to_ours.matrix.T + to_ours.offset
        whitening = raw.mean(0), raw.std(0)
        lines = []
        network = transfer(
            peer, crops, peer_whitening=theirs, to_ours=to_ours, whitening=whitening, report=lines.append
        )
        assert network.notes["face_model"] == "mine"
        network.eval()
        with torch.no_grad():
            heads = network.whiten(network.heads(to_input(crops))).numpy()
            ours, peers = network.backbone(to_input(crops)), peer.backbone(to_input(crops).flip(1))
        for mine, other in zip(ours[:3], peers[:3], strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)
        expected = (raw - whitening[0]) / whitening[1]
        # The last fifth measures the errors that are reported.
        errors = np.sqrt(((heads[32:] - expected[32:, None]) ** 2).mean((0, 2)))
        reported = [float(error) for error in lines[1].partition(": ")[2].split(", ")]
        np.testing.assert_allclose(errors, reported, rtol=0.05, atol=1e-3)
        assert re.search(r"narrowed from 512 to 272 channels: off by \d", lines[0])

    def test_a_map_of_another_shape_is_refused(self, tmp_path):
        np.savez(tmp_path / "map.npz", matrix=np.eye(61), offset=np.zeros(61), face_model="mine")
        with pytest.raises(TrainingError, match=r"\(62, 62\).*\(61, 61\)"):
            read_map(tmp_path / "map.npz")
        with pytest.raises(TrainingError, match=r"gone.npz: expected an affine map"):
            read_map(tmp_path / "gone.npz")

    def test_the_real_network_answers_as_its_onnx_file(self):
        pytest.importorskip("onnx")
        onnxruntime = pytest.importorskip("onnxruntime")
        path = shared_file("peers/3ddfa_v2/mb1_120x120.onnx")
        crops = noise_crops(12)
        peer = read_peer(path, crops)
        x = to_input(crops[:4]).flip(1)
        session = onnxruntime.InferenceSession(str(path))
        expected = np.concatenate([session.run(None, {"input": one[None].numpy()})[0] for one in x])
        with torch.no_grad():
            np.testing.assert_allclose(peer(x).numpy(), expected, atol=1e-3)
        assert sum(count_multiply_adds(peer).values()) == 177_436_800


def error_of(capsys):
    """What a command printed to its error stream, without line breaks."""
    return capsys.readouterr().err.replace("\n", " ")


class TestMapped:
    def test_weights_of_another_model_answer_through_an_affine_map(self, model):
        random = np.random.default_rng(30)
        crops = random.integers(0, 256, (200, 120, 120, 3), np.uint8)
        torch.manual_seed(30)
        network = M4Net("small").eval()
        with torch.no_grad():
            for layer in (*(head.linear for head in network.spatial_heads), network.last_head):
                layer.weight *= 100
            before = network(to_input(crops)).numpy()
        parameters = (before @ random.normal(size=(62, 62)) + random.normal(size=62)).astype(np.float32)
        nobody = np.zeros(200, bool)
        labels = Labels.unannotated(
            np.arange(200).astype(str), "s", parameters, validation=nobody, face_model=model.fingerprint
        )
        result = mapped(network, labels, crops, np.arange(200))
        with torch.no_grad():
            left = result(to_input(crops)).numpy() - parameters
            np.testing.assert_array_equal(network(to_input(crops)).numpy(), before)
        assert left.std() < 0.1 * parameters.std()
        assert result.notes["face_model"] == model.fingerprint


class TestCommand:
    def args(self, tmp_path, *more):
        given = ["--data", tmp_path, "--labels", tmp_path / "labels.npz", "--out", tmp_path / "out"]
        options = ["--steps", 2, "--batch", 2, "--workers", 0, "--precision", "fp32", "--size", "small"]
        return ["train", *map(str, [*given, *options, *more]), "--quiet"]

    @pytest.fixture
    def folder(self, model, drawn, tmp_path):
        labels, path = drawn
        labels = labels.subset(np.arange(6))
        labels.save(tmp_path / "labels.npz")
        model.save(tmp_path / "model.npz")
        with zipfile.ZipFile(tmp_path / "drawn.zip", "w") as archive:
            for name, crop in zip(labels.names, np.load(path, mmap_mode="r"), strict=False):
                archive.writestr(str(name), cv2.imencode(".png", crop[..., ::-1])[1].tobytes())
        return tmp_path

    def test_it_trains_from_random_weights(self, folder):
        args = self.args(folder, "--model", folder / "model.npz", "--licence", "drawn, CC0")
        assert main(args) == 0
        network = M4Net.load(folder / "out" / "weights.safetensors")
        assert network.notes["licence"] == "drawn, CC0"
        assert network.parameter_std.min() > 1e-3
        # A finished run is not run again.
        before = (folder / "out" / "weights.safetensors").read_bytes()
        assert main(args) == 0
        assert (folder / "out" / "weights.safetensors").read_bytes() == before

    def test_the_seed_alone_decides_how_a_training_from_random_weights_ends(self, folder, one_thread):
        weights = []
        for run, seed in (("first", 3), ("second", 3), ("other", 4)):
            # What the program drew before.
            torch.manual_seed(len(weights))
            args = self.args(folder, "--model", folder / "model.npz", "--seed", seed, "--out", folder / run)
            assert main(args) == 0
            weights.append(M4Net.load(folder / run / "weights.safetensors").state_dict())
        first, second, other = weights
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert not torch.equal(first["backbone.conv1.weight"], other["backbone.conv1.weight"])

    def test_a_start_for_smaller_crops_is_trained_on_these(self, model, folder):
        network = M4Net("small", crop_size=48)
        network.notes["face_model"] = "another"
        network.save(folder / "start.safetensors")
        assert (
            main(self.args(folder, "--model", folder / "model.npz", "--start", folder / "start.safetensors"))
            == 0
        )
        trained = M4Net.load(folder / "out" / "weights.safetensors")
        assert (trained.crop_size, trained.notes["face_model"]) == (48, model.fingerprint)

    def test_errors_are_printed_without_a_traceback(self, folder, capsys):
        assert main(self.args(folder, "--labels", folder / "nope.npz")) == 2
        assert f"m4kit train: {folder / 'nope.npz'}: expected a labels file" in capsys.readouterr().err
        assert main(self.args(folder, "--model", folder / "model.npz", "--batch", 64)) == 2
        assert "m4kit train: expected at least one batch of 64 faces" in capsys.readouterr().err
        (folder / "config.json").write_text("{")
        assert main(self.args(folder, "--config", folder / "config.json")) == 2
        assert "config.json: expected the config.json of a run" in capsys.readouterr().err

    @pytest.mark.parametrize("device", ["cuda:99", "gpu"])
    def test_a_missing_device_is_reported_before_the_crops_are_decoded(self, folder, capsys, device):
        assert main(self.args(folder, "--model", folder / "model.npz", "--device", device)) == 2
        assert re.search(
            rf"m4kit train: device: expected one .*, got '{device}' \(.*\); give cpu", capsys.readouterr().err
        )
        assert not (folder / "out").exists()

    def test_files_of_the_users_and_the_start_are_not_overwritten(self, folder, capsys):
        (folder / "out").mkdir()
        (folder / "out" / "config.json").write_text("mine")
        assert main(self.args(folder, "--model", folder / "model.npz")) == 2
        assert "would overwrite files that m4kit did not write there" in capsys.readouterr().err
        assert (folder / "out" / "config.json").read_text() == "mine"
        M4Net("small").save(folder / "start.safetensors")
        given = ["--model", folder / "model.npz", "--start", folder / "start.safetensors"]
        assert main(self.args(folder, *given, "--out", folder)) == 2
        assert "start.safetensors: is one of the inputs" in capsys.readouterr().err

    def test_a_run_with_another_start_is_refused(self, folder, capsys):
        args = self.args(folder, "--model", folder / "model.npz")
        main(args)
        weights = (folder / "out" / "weights.safetensors").rename(folder / "weights.safetensors")
        other = self.args(folder, "--model", folder / "model.npz", "--start", weights)
        assert main(other) == 2
        assert "with another start" in capsys.readouterr().err

    def test_what_was_made_for_another_model_is_refused(self, folder, model, capsys):
        came = rf"got the face model {model.fingerprint}"
        given = ["--model", folder / "model.npz"]
        # The packaged face model.
        assert main(self.args(folder)) == 2
        assert re.search(
            rf"m4kit train: labels: .* {model.fingerprint}, got .*again with this one", error_of(capsys)
        )
        assert not (folder / "out" / "start.safetensors").exists()
        np.savez(folder / "map.npz", matrix=np.eye(62), offset=np.zeros(62), face_model="another")
        assert (
            main(self.args(folder, *given, "--start", folder / "mb1.onnx", "--map", folder / "map.npz")) == 2
        )
        assert re.search(
            rf"map.npz: it maps to the face model another, {came}; give the map", error_of(capsys)
        )

    def test_weights_for_another_model_start_a_training_through_a_map(self, folder, model, capsys):
        network = M4Net("small")
        network.notes["face_model"] = packaged_model().fingerprint
        network.save(folder / "other.safetensors")
        given = ["--model", folder / "model.npz", "--start", folder / "other.safetensors"]
        assert main(self.args(folder, *given)) == 0
        assert (
            "other.safetensors: weights for another face model; their answers are mapped"
            in capsys.readouterr().out
        )
        assert M4Net.load(folder / "out" / "start.safetensors").notes["face_model"] == model.fingerprint

    def test_a_run_for_another_model_is_not_continued(self, folder, model, capsys):
        assert main(self.args(folder, "--model", folder / "model.npz")) == 0
        other = model.with_mean(model.mean + 1)
        other.save(folder / "other.npz")
        labels = Labels.load(folder / "labels.npz")
        dataclasses.replace(labels, face_model=other.fingerprint).save(folder / "labels.npz")
        assert main(self.args(folder, "--model", folder / "other.npz")) == 2
        assert re.search(r"start.safetensors: .*; give the same --model and --labels to", error_of(capsys))

    def test_a_run_of_another_network_is_refused(self, folder, capsys):
        args = self.args(folder, "--model", folder / "model.npz")
        main(args)
        for more in (["--size", "base"], ["--activation", "elu"], ["--fusion", "dynamic"]):
            assert main(self.args(folder, "--model", folder / "model.npz", *more)) == 2
            message = capsys.readouterr().err
            assert re.search(rf"out: expected .*{' '.join(more)[2:]}.*, got one of", message)

    def test_options_that_contradict_the_start_are_refused(self, folder, capsys):
        M4Net("small", "elu").save(folder / "elu.safetensors")
        start = ["--model", folder / "model.npz", "--start", folder / "elu.safetensors"]
        assert main(self.args(folder, *start, "--activation", "relu")) == 2
        assert "elu.safetensors: expected a network of size small, activation relu" in capsys.readouterr().err
        assert main(self.args(folder, *start, "--fusion", "dynamic")) == 0
        network = M4Net.load(folder / "out" / "weights.safetensors")
        assert (network.size, network.activation, network.fusion) == ("small", "elu", "dynamic")

    def test_a_start_from_the_peer_needs_the_map(self, folder, capsys):
        args = self.args(folder, "--model", folder / "model.npz", "--start", folder / "mb1.onnx")
        assert main(args) == 2
        assert "--map" in capsys.readouterr().err

"""How labels are made: registration of face models, teachers, fits, and the split."""

import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from m4kit.camera import decompose, head_pose, rotation_from_euler
from m4kit.landmarks import MIRROR_68, face_size
from m4kit.network import M4Net
from m4kit.training import TrainingError
from m4kit.training.data import Labels, averaging_matrix
from m4kit.training.fitting import (
    Prior,
    Variances,
    fit,
    identity_of_people,
    likely_identities,
    place,
    variances_of_people,
)
from m4kit.training.labels import (
    agreement,
    annotation_shift,
    ask,
    contact_sheet,
    habits_text,
    label,
    mesh_sheet,
)
from m4kit.training.refinement import annotation
from m4kit.training.registration import Registration, register, similarity
from m4kit.training.sources import read_source
from m4kit.training.teacher import DENSE_POINTS, OwnTeacher, PeerTeacher, mean_of_teachers
from m4kit.training.transfer import affine_map
from m4kit.views import VIEWS
from m4kit.weights import WeightsError

from helpers.seen_views import MIRRORED, seen_in


def peer_of(model, *, mean=0.0, std=1.0):
    """A peer whose face model is our own model in place of the Basel one."""
    count = len(model.mean)
    itself = Registration(
        corners=np.arange(count)[:, None].repeat(3, axis=1),
        weights=np.tile([1.0, 0.0, 0.0], (count, 1)),
        valid=~model.regions["mouth_inside"],
        model_distance=0.0,
        final_distance=0.0,
    )
    whitening = np.broadcast_to(mean, 62), np.broadcast_to(std, 62)
    return PeerTeacher(model, model, itself, whitening=whitening, network=None)


@pytest.fixture(scope="module")
def teacher(model):
    return peer_of(model)


@pytest.fixture(scope="module")
def own(model, teacher, tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "weights.safetensors"
    M4Net("small").save(path)
    return OwnTeacher(model, path, teacher.vertices)


def faces_of(count, *, seed):
    """Cameras (n, 3, 4) into the crop frame, without depth offset, and coefficients (n, 50)."""
    random = np.random.default_rng(seed)
    cameras = [
        np.column_stack(
            [
                random.uniform(0.4, 0.55) * rotation_from_euler(*random.uniform(-45, 45, 3)),
                [*random.uniform(-6, 6, 2), 0],
            ]
        )
        for _ in range(count)
    ]
    return np.array(cameras), random.normal(size=(count, 50))


def one_source(folder, crops):
    """Write crops and annotated points of a source into a folder, as `label_source` reads them."""
    names, points = [f"{number}.png" for number in range(len(crops))], np.full((len(crops), 68, 2), 64.0)
    np.savez(folder / "youtube_faces.npz", names=names, pts68=points, identity=names)
    with zipfile.ZipFile(folder / "youtube_faces.zip", "w") as archive:
        for name, crop in zip(names, crops, strict=True):
            archive.writestr(name, cv2.imencode(".png", crop[..., ::-1])[1].tobytes())


def seen(points, camera):
    """Points (n, P, 3) under cameras (n, 3, 4)."""
    return points @ camera[:, :, :3].transpose(0, 2, 1) + camera[:, None, :, 3]


def points_of(model, vertices, coefficients):
    """The landmarks and these vertices (n, 68 + v, 3) in mm, in double precision."""
    mean = np.concatenate([model.landmark_mean, model.mean[vertices]], dtype=float)
    modes = np.concatenate([model.landmark_modes, model.modes[:, vertices]], axis=1, dtype=float)
    return mean + np.tensordot(coefficients, modes, 1)


class TestSimilarity:
    @pytest.fixture
    def points(self):
        return np.random.default_rng(0).normal(size=(40, 3)) * [30, 40, 20] + [5, -7, 9]

    def test_a_known_one_is_found_exactly(self, points):
        for number, rotation in enumerate(Rotation.random(20, random_state=0).as_matrix()):
            scale, translation = 0.2 + number, np.array([number, -3, 50])
            found = similarity(points, scale * points @ rotation.T + translation)
            assert found[0] == pytest.approx(scale)
            np.testing.assert_allclose(found[1], rotation, atol=1e-9)
            np.testing.assert_allclose(found[2], translation, atol=1e-7)

    def test_it_never_mirrors(self, points):
        for target in (points @ MIRRORED, -points, np.random.default_rng(1).normal(size=points.shape)):
            scale, rotation, _ = similarity(points, target)
            assert np.linalg.det(rotation) == pytest.approx(1)
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
            assert scale > 0

    def test_there_is_none_better(self, points):
        random = np.random.default_rng(2)
        target = 2 * points @ rotation_from_euler(20, 30, 40).T + random.normal(size=points.shape) * 5
        weights = random.uniform(0.1, 3, len(points))

        def error(scale, rotation, translation):
            apart = scale * points @ rotation.T + translation - target
            return (weights * (apart**2).sum(axis=1)).sum()

        scale, rotation, translation = similarity(points, target, weights)
        best = error(scale, rotation, translation)
        for turn in Rotation.from_rotvec(random.normal(0, 0.01, (30, 3))).as_matrix():
            assert error(scale, turn @ rotation, translation) > best
        for change in (0.99, 1.01):
            assert error(scale * change, rotation, translation) > best
        for move in np.vstack([np.eye(3), -np.eye(3)]):
            assert error(scale, rotation, translation + 0.1 * move) > best

    def test_points_without_weight_do_not_count(self, points):
        target = points @ rotation_from_euler(10, 0, 5).T
        spoilt, weights = target.copy(), np.ones(len(points))
        spoilt[:5] += 100
        weights[:5] = 0
        for one, other in zip(similarity(points, spoilt, weights), similarity(points, target), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-9)


def answers_of(cameras, coefficients, symmetry):
    """A perfect peer's raw answers (n, 6, 62) to six views of faces under cameras into the crop frame.

    As with 3DDFA-V2, shapes are in micrometres, x counts from 1, and y from the lower edge.
    """
    answers = []
    for view in range(len(VIEWS)):
        camera, shape = seen_in(view, cameras, coefficients, symmetry)
        camera[:, :2, 3] += [61, 60]
        camera[:, 2, 3] += 17
        camera[:, :, :3] /= 1000
        answers.append(np.concatenate([camera.reshape(-1, 12), shape], axis=1))
    return np.stack(answers, axis=1)


def centred(points):
    """Points (n, P, 3) whose mean depth is 0."""
    return points - [0, 0, 1] * points.mean(axis=1, keepdims=True)


class TestPeerTeacher:
    def test_the_network_sees_six_views_in_bgr(self, teacher, monkeypatch):
        crops = np.random.default_rng(3).integers(0, 256, (5, 120, 120, 3), np.uint8)
        asked = []

        def network(pixels):
            asked.append(pixels)
            return pixels[:, :, 0, 0].repeat(1, 21)[:, :62]

        monkeypatch.setattr("m4kit.training.teacher.read_network", lambda path: network)
        answers, views = teacher.ask(crops), torch.cat(asked).numpy()
        assert answers.shape == (5, 6, 62)
        np.testing.assert_array_equal(answers.reshape(-1, 62)[:, :3], views[:, :, 0, 0])
        in_bgr = (crops[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 128
        np.testing.assert_array_equal(views[0::6], in_bgr)
        np.testing.assert_array_equal(views[1::6], in_bgr[..., ::-1])

    def test_answers_are_whitened(self, model):
        random = np.random.default_rng(6)
        mean, std, raw = random.normal(size=62), random.uniform(0.5, 2, 62), random.normal(size=(3, 6, 62))
        found = peer_of(model, mean=mean, std=std).raw((raw - mean) / std)
        np.testing.assert_allclose(found, raw, atol=1e-12)

    def test_one_answer_that_differs_counts_a_sixth(self, model, teacher, monkeypatch):
        monkeypatch.setattr(teacher, "start_of_pixels", lambda answers: 0.0)
        cameras, coefficients = faces_of(2, seed=7)
        answers = answers_of(cameras, coefficients, model.symmetry)
        before = teacher.points(answers)
        answers[:, 0, 3] += 6
        moved = teacher.points(answers) - before
        np.testing.assert_allclose(moved, np.broadcast_to([1.0, 0.0, 0.0], moved.shape), atol=1e-9)

    @pytest.mark.parametrize("start", [0.0, 0.5, 0.67])
    def test_mirror_images_show_where_its_pixels_begin(self, model, teacher, start, capsys):
        cameras, coefficients = faces_of(20, seed=14)
        answers = answers_of(cameras, coefficients, model.symmetry)
        # A peer counts from `start` in each picture, mirrored or not.
        answers[..., 3] -= start
        answers[..., 7] += start
        assert teacher.start_of_pixels(answers) == pytest.approx(start, abs=1e-3)
        points = teacher.points(answers)
        assert "the pixels of mb1 begin" in capsys.readouterr().out
        true = seen(points_of(model, teacher.vertices, coefficients), cameras)
        np.testing.assert_allclose(centred(points), centred(true), atol=0.02)

    def test_its_dense_points_are_pairs_of_the_skin(self, model, teacher):
        assert len(teacher.vertices) == DENSE_POINTS
        assert len(teacher.mirrored) == 68 + DENSE_POINTS
        assert (teacher.mirrored[teacher.mirrored] == np.arange(68 + DENSE_POINTS)).all()
        np.testing.assert_array_equal(teacher.mirrored[:68], MIRROR_68)
        partners = teacher.vertices[teacher.mirrored[68:] - 68]
        np.testing.assert_array_equal(partners, model.mirror[teacher.vertices])
        assert not model.regions["mouth_inside"][teacher.vertices].any()
        np.testing.assert_allclose(teacher.mean[teacher.mirrored], teacher.mean @ MIRRORED, atol=0.05)


class TestOwnTeacher:
    def test_it_answers_with_the_mean_over_six_views(self, model, own):
        crops = np.random.default_rng(18).integers(0, 256, (3, 120, 120, 3), np.uint8)
        answers = own.ask(crops)
        assert answers.shape == (3, 62)
        # Apart from two turned views, the mirror images of the views are the views of the mirror image.
        points, mirrored = own.points(answers), own.points(own.ask(np.ascontiguousarray(crops[:, :, ::-1])))
        assert points.shape == (3, 68 + DENSE_POINTS, 3)
        np.testing.assert_allclose((mirrored[:, MIRROR_68] * [-1, 1, 1])[..., :2], points[:, :68, :2], atol=1)


class TestTwoTeachers:
    @pytest.fixture
    def faces(self, model, teacher):
        cameras, coefficients = faces_of(40, seed=19)
        points = seen(points_of(model, teacher.vertices, coefficients), cameras)
        return points, np.array([decompose(camera)[1] for camera in cameras])

    def test_the_points_are_their_mean(self, faces):
        peer, rotations = faces
        other = peer + np.random.default_rng(28).normal(size=peer.shape) * [1, 1, 0.01]
        found = mean_of_teachers(peer, other, rotations)
        np.testing.assert_allclose(found[..., :2], (peer + other)[..., :2] / 2, atol=0.4)
        # The camera's distance is unknown.
        np.testing.assert_allclose(
            mean_of_teachers(peer, other + np.array([0, 0, 100]), rotations), found, atol=1e-9
        )

    def test_what_the_second_errs_in_depth_on_all_faces_is_removed(self, faces):
        peer, rotations = faces
        deep, wide = np.random.default_rng(29).normal(size=(2, peer.shape[1])) * 0.02
        deep[68:] -= deep[68:].mean()
        size = face_size(peer[:, :68])[:, None, None]
        nearer = deep[:, None] * rotations[:, None, :, 2] * size
        wider = wide[:, None] * rotations[:, None, :, 0] * size
        found = mean_of_teachers(peer, peer + nearer + wider, rotations)
        expected = peer + wider / 2
        for points in (found, expected):
            points[..., 2] -= points[:, 68:, 2].mean(1, keepdims=True)
        np.testing.assert_allclose(found, expected, atol=0.35)

    def test_answers_are_kept_and_points_come_from_both(self, model, teacher, own, tmp_path, monkeypatch):
        one_source(tmp_path, np.zeros((2, 120, 120, 3), np.uint8))
        source = read_source(tmp_path, "youtube_faces")
        cameras, coefficients = faces_of(2, seed=19)
        monkeypatch.setattr(teacher, "start_of_pixels", lambda answers: 0.0)
        monkeypatch.setattr(teacher, "ask", lambda crops: answers_of(cameras, coefficients, model.symmetry))
        monkeypatch.setattr(
            own, "ask", lambda crops: np.concatenate([cameras.reshape(-1, 12), coefficients], 1)
        )
        kept, alone = ask(source, model, teacher, None, out=tmp_path)
        again, points = ask(source, model, teacher, own, out=tmp_path)
        assert kept.shape == (2, 6, 62)
        np.testing.assert_array_equal(again, kept)
        # Both answer with the same faces.
        np.testing.assert_allclose(points, alone, atol=1e-3)
        assert len(list(tmp_path.glob("answers_*"))) == 2

    def test_weights_for_another_face_model_do_not_teach(self, model, tmp_path):
        network = M4Net("small")
        network.notes["face_model"] = "another"
        network.save(tmp_path / "w.safetensors")
        with pytest.raises(WeightsError, match=rf"w.safetensors: .* another, got .* {model.fingerprint}"):
            OwnTeacher(model, tmp_path / "w.safetensors", np.arange(DENSE_POINTS))


class TestKeptAnswers:
    def test_two_networks_whose_files_have_one_name_are_two_teachers(self, model, tmp_path):
        paths = [tmp_path / folder / "weights.safetensors" for folder in ("first", "copy", "second")]
        networks = [M4Net("small"), M4Net("small")]
        for path, network in zip(paths, (networks[0], *networks), strict=True):
            path.parent.mkdir()
            network.save(path)
        first, copy, second = (OwnTeacher(model, path, np.arange(9)).name for path in paths)
        assert first == copy != second

    def test_incomplete_answers_are_not_kept(self, model, teacher, tmp_path, monkeypatch):
        one_source(tmp_path, np.zeros((1, 120, 120, 3), np.uint8))
        save = np.save

        def killed(place, answers):
            save(place, answers[:0])
            raise KeyboardInterrupt

        monkeypatch.setattr(np, "save", killed)
        monkeypatch.setattr(teacher, "ask", lambda crops: np.zeros((len(crops), 6, 62)))
        with pytest.raises(KeyboardInterrupt):
            ask(read_source(tmp_path, "youtube_faces"), model, teacher, None, out=tmp_path)
        assert not list(tmp_path.glob("answers_*"))


class TestFit:
    def test_the_mean_face_is_found_under_its_camera(self, model, teacher):
        cameras, _ = faces_of(6, seed=8)
        points = seen(points_of(model, teacher.vertices, np.zeros((6, 50))), cameras)
        parameters = fit(model, teacher.vertices, points)
        np.testing.assert_allclose(parameters[:, :12].reshape(-1, 3, 4), cameras, atol=1e-4)
        np.testing.assert_allclose(parameters[:, 12:], 0, atol=1e-3)

    def test_known_people_are_found_again(self, model, teacher):
        cameras, coefficients = faces_of(6, seed=9)
        points = seen(points_of(model, teacher.vertices, coefficients), cameras)
        parameters = fit(model, teacher.vertices, points)
        found = parameters[:, :12].reshape(-1, 3, 4)
        poses = np.array([[head_pose(camera) for camera in pair] for pair in (found, cameras)])
        assert np.abs(poses[0] - poses[1]).max() < 2
        # The prior pulls towards the mean what noise of the assumed size could hide.
        landmarks = seen(points_of(model, [], parameters[:, 12:])[:, :68], found)
        assert np.linalg.norm(landmarks - points[:, :68], axis=2).mean() < 0.3
        assert np.corrcoef(parameters[:, 12:].ravel(), coefficients.ravel())[0, 1] > 0.8

    def test_the_camera_is_a_scaled_rotation_without_depth(self, model, teacher):
        cameras, coefficients = faces_of(4, seed=10)
        points = seen(points_of(model, teacher.vertices, coefficients), cameras)
        points[..., 2] += 40
        for camera in fit(model, teacher.vertices, points)[:, :12].reshape(-1, 3, 4):
            scale = np.linalg.norm(camera[0, :3])
            np.testing.assert_allclose(camera[:, :3] @ camera[:, :3].T, scale**2 * np.eye(3), atol=1e-9)
            assert np.linalg.det(camera[:, :3]) > 0
            assert camera[2, 3] == 0

    def test_a_mirrored_face_has_mirrored_parameters(self, model, teacher):
        cameras, coefficients = faces_of(3, seed=11)
        points = seen(points_of(model, teacher.vertices, coefficients), cameras)
        parameters = fit(model, teacher.vertices, points)
        mirrored = fit(model, teacher.vertices, points[:, teacher.mirrored] @ MIRRORED)
        expected = MIRRORED @ parameters[:, :12].reshape(-1, 3, 4) @ np.diag([-1, 1, 1, 1])
        np.testing.assert_allclose(mirrored[:, :12].reshape(-1, 3, 4), expected, atol=0.02)
        signs = model.symmetry
        np.testing.assert_allclose(mirrored[:, 12:], parameters[:, 12:] * signs, atol=0.05)

    def test_from_six_answers_to_parameters(self, model, teacher):
        cameras, coefficients = faces_of(4, seed=12)
        answers = answers_of(cameras, coefficients, model.symmetry)
        points = teacher.points(answers)
        parameters = fit(model, teacher.vertices, points)
        known = np.concatenate([cameras.reshape(-1, 12), coefficients], axis=1)
        nothing = np.full((4, 21, 2), np.nan)
        true = seen(points_of(model, [], coefficients)[:, :68], cameras)[..., :2]
        assert agreement(model, parameters, nothing, true).max() < 0.01
        np.testing.assert_allclose(agreement(model, known, nothing, true), 0, atol=1e-5)


class TestPrior:
    def test_it_pulls_what_points_leave_open_to_its_mean(self, model, teacher):
        cameras, _ = faces_of(3, seed=20)
        mean = np.zeros(50)
        mean[:40] = np.random.default_rng(21).normal(size=40)
        points = seen(points_of(model, teacher.vertices, np.tile(mean, (3, 1))), cameras)
        prior = Prior(mean, np.full(50, 0.1))
        np.testing.assert_allclose(
            fit(model, teacher.vertices, points, prior=prior)[:, 12:], [mean] * 3, atol=0.02
        )
        far = np.abs(fit(model, teacher.vertices, points)[:, 12:] - mean).max()
        assert far > 0.2


class TestPeople:
    def test_frames_of_one_person_get_one_identity_near_the_true_one(self):
        random = np.random.default_rng(23)
        true = random.normal(size=(30, 40))
        people = np.repeat(np.arange(30), 12)
        frames = true[people] + random.normal(size=(360, 40)) * 0.5
        found = identity_of_people(frames, people)
        for person in range(30):
            assert len(np.unique(found[people == person], axis=0)) == 1
        assert np.abs(found - true[people]).mean() < 0.5 * np.abs(frames - true[people]).mean()

    def test_a_misnamed_frame_keeps_its_own_and_does_not_count(self):
        random = np.random.default_rng(24)
        people = np.repeat(np.arange(20), 10)
        frames = random.normal(size=(20, 40))[people] + random.normal(size=(200, 40)) * 0.2
        clean = identity_of_people(frames, people)
        frames[7] = frames[150]
        found = identity_of_people(frames, people)
        np.testing.assert_array_equal(found[7], frames[7])
        np.testing.assert_allclose(found[0], clean[0], atol=0.15)

    def test_people_in_one_photo_each_keep_their_own(self):
        frames = np.random.default_rng(25).normal(size=(5, 40))
        np.testing.assert_array_equal(identity_of_people(frames, np.arange(5)), frames)

    def test_variances_between_people_and_within_their_photos_are_told_apart(self):
        random = np.random.default_rng(30)
        between, within = np.linspace(0, 1, 40), np.linspace(0.5, 0.2, 40)
        people = random.permutation(np.repeat(np.arange(2000), 4)[:7990])
        found = random.normal(size=(2000, 40))[people] * between + random.normal(size=(7990, 40)) * within
        variances = variances_of_people(found, people)
        np.testing.assert_allclose(np.diag(variances.between), between**2, atol=0.08)
        np.testing.assert_allclose(np.diag(variances.within), within**2, rtol=0.06)
        assert np.linalg.eigvalsh(variances.between).min() > -1e-9

    def test_a_likely_identity_is_nearer_to_the_true_one_and_keeps_the_mean(self):
        random = np.random.default_rng(31)
        between, within = np.linspace(0.05, 1, 40), np.linspace(1, 0.2, 40)
        true = random.normal(size=(500, 40)) * between + 3
        found = true + random.normal(size=(500, 40)) * within
        likely = likely_identities(found, Variances(np.diag(between**2), np.diag(within**2)))
        assert np.square(likely - true).sum() < 0.5 * np.square(found - true).sum()
        np.testing.assert_allclose(likely.mean(0), found.mean(0))

    def test_a_given_identity_stays_while_camera_and_expression_are_fitted(self, model, teacher):
        cameras, coefficients = faces_of(4, seed=26)
        points = seen(points_of(model, teacher.vertices, coefficients), cameras)
        found = fit(model, teacher.vertices, points, identity=coefficients[:, :40])
        np.testing.assert_allclose(found[:, 12:52], coefficients[:, :40], atol=1e-12)
        np.testing.assert_allclose(found[:, :12].reshape(-1, 3, 4), cameras, atol=0.05)
        assert np.corrcoef(found[:, 52:].ravel(), coefficients[:, 40:].ravel())[0, 1] > 0.95


def test_a_source_is_labelled_with_one_identity_for_each_person(model, teacher, tmp_path):
    one_source(tmp_path, np.zeros((6, 120, 120, 3), np.uint8))
    source = read_source(tmp_path, "youtube_faces")
    cameras, coefficients = faces_of(6, seed=27)
    coefficients[:, :40] = coefficients[[0, 0, 0, 3, 3, 3], :40]
    source.people[:] = list("aaabbb")
    source.points68[:] = seen(points_of(model, [], coefficients)[:, :68], cameras)[..., :2]
    points = seen(points_of(model, teacher.vertices, coefficients), cameras)
    labels, _ = label(source, model, teacher.vertices, points, variances=None)
    identity = labels.parameters[:, 12:52]
    assert (identity[0] == identity[2]).all()
    assert np.abs(identity[0] - identity[3]).max() > 0.5
    missed = np.linalg.norm(
        place(model, teacher.vertices, labels.parameters)[:, :68, :2] - source.points68, axis=2
    )
    assert missed.mean() < 0.6
    assert labels.face_model == model.fingerprint


def test_single_faces_need_the_variances_of_people(model, teacher, tmp_path):
    one_source(tmp_path, np.zeros((2, 120, 120, 3), np.uint8))
    source = replace(read_source(tmp_path, "youtube_faces"), people=None)
    cameras, coefficients = faces_of(2, seed=32)
    points = seen(points_of(model, teacher.vertices, coefficients), cameras)
    with pytest.raises(
        TrainingError, match=r"youtube_faces: its faces are single, .* give youtube_faces first"
    ):
        label(source, model, teacher.vertices, points, variances=None)
    nobody = Variances(np.zeros((40, 40)), np.eye(40))
    labels, _ = label(source, model, teacher.vertices, points, variances=nobody)
    np.testing.assert_allclose(labels.parameters[0, 12:52], labels.parameters[1, 12:52], atol=1e-5)


def test_disagreement_is_the_median_distance_as_a_share_of_the_face(model):
    cameras, coefficients = faces_of(3, seed=13)
    known = np.concatenate([cameras.reshape(-1, 12), coefficients], axis=1)
    true = seen(points_of(model, [], coefficients), cameras)[..., :2]
    size = np.sqrt(np.ptp(true, axis=1).prod(axis=1))
    points21 = averaging_matrix() @ true + [3, 4]
    points21[:, :8] = np.nan
    points21[:, 9] += 1000
    nothing = np.full((3, 68, 2), np.nan)
    np.testing.assert_allclose(agreement(model, known, points21, nothing), 5 / size, rtol=1e-4)


def test_annotation_whose_pixels_begin_elsewhere_is_moved_onto_the_fits(model):
    cameras, coefficients = faces_of(50, seed=16)
    known = np.concatenate([cameras.reshape(-1, 12), coefficients], axis=1)
    true = seen(points_of(model, [], coefficients), cameras)[..., :2]
    points, trust = annotation(np.full((50, 21, 2), np.nan), np.add(true, [0.6, -0.6]))
    assert annotation_shift(model, known, points, trust) == pytest.approx(-0.6, abs=1e-3)


def sheet_labels(model, n):
    """Labels of n mean faces in the middle of their crops."""
    parameters = np.zeros((n, 62), np.float32)
    parameters[:, :12] = np.column_stack([0.45 * np.eye(3), np.zeros(3)]).ravel()
    names = [f"{number}.png" for number in range(n)]
    return Labels.unannotated(
        names, "s", parameters, validation=np.zeros(n, bool), face_model=model.fingerprint
    )


def test_a_contact_sheet_shows_each_crop_with_its_points(model):
    labels = sheet_labels(model, 9)
    labels.points21[0, 5] = [-30, -30]
    sheet = contact_sheet(model, np.full((9, 120, 120, 3), 90, np.uint8), labels)
    assert sheet.shape == (2 * 240, 8 * 240, 3)
    nose = 0.45 * model.landmark_mean[30]
    row, column = round((60 - nose[1]) * 2), round((60 + nose[0]) * 2)
    assert (sheet[row - 1 : row + 2, column - 1 : column + 2] == [60, 255, 60]).all(axis=2).any()
    # 30 crop pixels down and left of the first crop's middle.
    assert (sheet[180, 60] == [255, 40, 40]).all()
    assert (sheet[240 + 100, 700] == 0).all()


def test_a_mesh_sheet_shows_each_crop_beside_three_views(model):
    sheet = mesh_sheet(model, np.full((3, 120, 120, 3), 90, np.uint8), sheet_labels(model, 3))
    assert sheet.shape == (2 * 240, 8 * 240, 3)
    assert (sheet[:240, :240] == 90).all()
    for view in (1, 2, 3):
        drawn = (sheet[:240, view * 240 : (view + 1) * 240] != 255).any(axis=2).mean()
        assert 0.1 < drawn < 0.7
    assert (sheet[240:, 4 * 240 :] == 0).all()


def test_the_largest_habits_are_listed_by_point_and_offset():
    habits = np.zeros((89, 3))
    habits[6], habits[20 + 38] = [-3.04, 0.5, -1.0], [0, -1.2, 0]
    text = habits_text(habits)
    assert text.endswith("point 7 of 21 by (-3.0, +0.5, -1.0); point 38 of 68 by (+0.0, -1.2, +0.0)")
    assert habits_text(np.zeros((89, 3))).endswith("none")


def test_an_affine_map_between_parameters_is_found():
    random = np.random.default_rng(14)
    spread = random.uniform(0.01, 100, 62)
    theirs = random.normal(size=(3000, 62)) * spread + random.normal(size=62) * spread
    matrix, offset = random.normal(size=(62, 62)) / spread, random.normal(size=62)
    found_matrix, found_offset, _ = affine_map(theirs, theirs @ matrix.T + offset, spread, face_model="ours")
    np.testing.assert_allclose(found_matrix * spread, matrix * spread, atol=0.02)
    np.testing.assert_allclose(theirs @ found_matrix.T + found_offset, theirs @ matrix.T + offset, atol=0.2)


class TestRegistration:
    def test_our_model_on_itself_finds_every_vertex_again(self, model):
        mean = model.mean.astype(float)
        found = register(model, model, mean, iterations=2)
        assert found.model_distance == pytest.approx(0, abs=0.01)
        distance = np.linalg.norm(found.points(mean) - mean, axis=1)
        assert distance[found.valid].max() < 0.05
        skin = ~np.any([model.regions[name] for name in ("eyeballs", "mouth_inside")], axis=0)
        assert not found.valid[~skin].any()
        assert found.valid[skin].mean() > 0.97

    def test_a_warped_turned_and_larger_copy_is_registered_to_a_fraction_of_a_millimetre(self, model):
        """Another person, whose skin swells and sinks by a millimetre besides, as no mode has it."""
        person, _ = model.sample(1, seed=15)
        shape = model.vertices(0.5 * person[0]).astype(float)
        shape += np.sin(shape[:, [1, 2, 0]] / 25)
        rotation = rotation_from_euler(5, -4, 3)
        target = 1.1 * shape @ rotation.T + [3, -10, 20]
        found = register(model, model, target, iterations=12)
        assert found.final_distance < 0.1 < found.model_distance < 1
        assert found.valid.mean() > 0.6
        apart = np.linalg.norm(found.points(target) - target, axis=1)[found.valid]
        assert apart.mean() < 1
        assert np.percentile(apart, 99) < 2.5
        one, other = np.random.default_rng(16).normal(size=(2, *target.shape))
        np.testing.assert_allclose(
            found.points(one + 2 * other), found.points(one) + 2 * found.points(other), atol=1e-9
        )

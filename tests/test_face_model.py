"""The face model: its asset as anatomy and as a mesh, its arithmetic by axioms, its fit on real landmarks."""

import copy
import json
import os
import pickle

import numpy as np
import pytest
import torch

from m4kit.camera import decompose, head_pose, rotation_from_euler
from m4kit.face_model import (
    EXPRESSION_MODES,
    IDENTITY_MODES,
    LANDMARKS,
    FaceModel,
    FaceModelError,
    load_numpy_pickle,
)
from m4kit.metrics import nme

from helpers.paths import shared_file
from helpers.peer_files import basel_like

FLIP = np.array([-1, 1, 1])
# Of the 68 landmarks, counted from 0.
CHIN, NOSE_TIP = 8, 30
RIGHT_CORNER, LEFT_CORNER = 48, 54
# Upper and lower lid.
RIGHT_LIDS, LEFT_LIDS = ([37, 38], [41, 40]), ([43, 44], [47, 46])


@pytest.fixture(scope="module")
def mean(model):
    return model.mean.astype(float)


@pytest.fixture(scope="module")
def triangles(model):
    return model.triangles


def triangle_normals(vertices, triangles):
    """Normals of length twice the area; outwards where triangles run counter-clockwise seen from outside."""
    first, second, third = (vertices[triangles[:, corner]] for corner in range(3))
    return np.cross(second - first, third - first)


def edges(triangles):
    """Each triangle's three edges in its sense, (3T, 2)."""
    return triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)


def within(triangles, mask):
    """The triangles whose corners all lie in a region."""
    return triangles[mask[triangles].all(axis=1)]


def covers(vertices, triangles, point):
    """Whether a viewer who looks along z at a point (2,) sees the outside of some triangle."""
    corners = vertices[triangles][:, :, :2] - point
    following = np.roll(corners, -1, axis=1)
    turn = corners[..., 0] * following[..., 1] - corners[..., 1] * following[..., 0]
    return bool((turn >= 0).all(axis=1).any())


class TestMesh:
    def test_it_has_40_identities_10_expressions_and_68_landmarks(self, model):
        vertices = len(model.mean)
        assert model.mean.shape == (vertices, 3)
        assert model.identity_modes.shape == (IDENTITY_MODES, vertices, 3) == (40, vertices, 3)
        assert model.expression_modes.shape == (EXPRESSION_MODES, vertices, 3) == (10, vertices, 3)
        assert model.modes.shape == (50, vertices, 3)
        assert model.landmark_vertices.shape == model.landmark_weights.shape == (LANDMARKS, 3) == (68, 3)
        assert model.mirror.shape == (vertices,)
        assert model.symmetry.shape == (50,)
        assert np.isfinite(model.mean).all() and np.isfinite(model.modes).all()

    def test_every_vertex_is_used_and_no_triangle_is_empty(self, model, mean, triangles):
        assert (np.unique(triangles) == np.arange(len(mean))).all()
        assert np.linalg.norm(triangle_normals(mean, triangles), axis=1).min() > 0.01

    def test_an_edge_belongs_to_at_most_two_triangles_which_run_through_it_in_opposite_senses(
        self, triangles
    ):
        directed = edges(triangles)
        _, shared = np.unique(np.sort(directed, axis=1), axis=0, return_counts=True)
        assert shared.max() == 2
        assert len(np.unique(directed, axis=0)) == len(directed)
        # The rest are the rims of the cut and of the eyeballs.
        assert (shared == 1).mean() < 0.01

    def test_triangles_run_counter_clockwise_seen_from_outside(self, model, mean, triangles):
        for region in ("cheek", "forehead", "irises", "pupils"):
            assert (triangle_normals(mean, within(triangles, model.regions[region]))[:, 2] > 0).all()
        skin = ~model.regions["mouth_inside"]
        normals = triangle_normals(mean, within(triangles, skin))
        assert normals[normals[:, 2] > 0, 2].sum() > 10 * -normals[normals[:, 2] < 0, 2].sum()
        for landmark in (CHIN, NOSE_TIP):
            around = np.isin(triangles, model.landmark_vertices[landmark]).any(axis=1)
            assert (triangle_normals(mean, triangles[around]) @ [0, 0, 1] > 0).all()

    def test_neither_the_eyes_nor_an_open_mouth_show_the_background(self, model, triangles):
        opened = model.vertices(None, model.actions["jawOpen"])
        landmarks = model.landmarks(None, model.actions["jawOpen"])
        for around in (range(36, 42), range(42, 48), range(60, 68)):
            assert covers(opened, triangles, landmarks[around, :2].mean(axis=0))
        assert not covers(opened, triangles, [0, opened[:, 1].max() + 1])


class TestHead:
    def test_its_first_vertices_are_the_faces_and_its_coefficients_are_the_same(self, model):
        head, count = model.head, len(model.mean)
        assert model.head is head
        assert len(head.mean) > count
        identity, expression = model.sample(2, seed=4)
        np.testing.assert_allclose(
            head.vertices(identity, expression)[:, :count], model.vertices(identity, expression), atol=1e-4
        )
        np.testing.assert_array_equal(
            head.landmarks(identity, expression), model.landmarks(identity, expression)
        )
        assert head.actions.keys() == model.actions.keys()
        for name, mask in model.regions.items():
            assert (head.regions[name][:count] == mask).all(), name

    def test_parts_of_the_head_lie_where_their_names_say(self, model):
        mean = model.head.mean
        height = {name: mean[mask, 1].mean() for name, mask in model.head.regions.items()}
        downwards = ["scalp", "ears", "teeth", "neck"]
        assert sorted(downwards, key=height.get, reverse=True) == downwards
        assert height["tongue"] == pytest.approx(height["teeth"], abs=10)
        assert np.abs(mean[model.head.regions["ears"], 0]).min() > 55

    def test_it_is_symmetric_and_closed_but_at_the_neck_and_the_roots_of_the_teeth(self, model):
        head = model.head
        mean, triangles = head.mean, head.triangles
        np.testing.assert_allclose(mean[head.mirror] * FLIP, mean, atol=1e-4)
        rims, count = np.unique(np.sort(edges(triangles), axis=1), axis=0, return_counts=True)
        assert count.max() == 2
        assert (head.regions["neck"] | head.regions["teeth"])[rims[count == 1]].all()

    def test_the_faces_edge_is_smooth(self, model, mean, triangles):
        """No step: from one edge to the next, the rim turns by less than 35 degrees."""
        rims, count = np.unique(np.sort(edges(triangles), axis=1), axis=0, return_counts=True)
        neighbours = {}
        for one, other in rims[(count == 1) & ~model.regions["eyeballs"][rims].any(axis=1)].tolist():
            neighbours.setdefault(one, []).append(other)
            neighbours.setdefault(other, []).append(one)
        assert all(len(pair) == 2 for pair in neighbours.values())
        for vertex, (one, other) in neighbours.items():
            into, out = mean[vertex] - mean[one], mean[other] - mean[vertex]
            cosine = into @ out / np.linalg.norm(into) / np.linalg.norm(out)
            assert cosine > np.cos(np.radians(35)), mean[vertex]

    def test_it_is_copied_with_the_model(self, model):
        copied = pickle.loads(pickle.dumps(copy.deepcopy(model)))
        np.testing.assert_array_equal(copied.head.mean, model.head.mean)
        assert copied.fingerprint == model.fingerprint

    def test_a_face_without_head_says_so(self, model):
        with pytest.raises(FaceModelError, match=r"only a face; FaceModel\.load"):
            _ = model.head.head


class TestAnatomy:
    """Published measures of adults: the mean of women less three deviations to that of men and three more."""

    def test_the_face_is_as_wide_as_adults_faces(self, model):
        """Bizygomatic breadth (Zhuang and Bradtmiller, 2005): women 135.1 (6.5), men 143.5 (6.9) mm."""
        landmarks = model.landmarks()
        assert 115.6 < np.linalg.norm(landmarks[0] - landmarks[16]) < 164.2

    def test_the_face_is_as_high_as_adults_faces(self, model):
        """Menton to sellion (Zhuang and Bradtmiller, 2005): women 113.4 (6.1), men 122.7 (7.0) mm."""
        landmarks = model.landmarks()
        assert 95.1 < np.linalg.norm(landmarks[27] - landmarks[CHIN]) < 143.7

    def test_the_eyes_are_as_far_apart_as_adults_eyes(self, model, mean):
        """The adult extremes of the distance between the pupils are 52 and 78 mm (Dodgson, 2004)."""
        eyes = mean[model.regions["eyeballs"]]
        assert 52 < eyes[eyes[:, 0] > 0, 0].mean() - eyes[eyes[:, 0] < 0, 0].mean() < 78

    def test_the_mouth_is_as_wide_as_adults_mouths(self, model):
        """Lip length (Zhuang and Bradtmiller, 2005): women 48.0 (4.0), men 51.1 (4.2) mm."""
        landmarks = model.landmarks()
        assert 36 < np.linalg.norm(landmarks[RIGHT_CORNER] - landmarks[LEFT_CORNER]) < 63.7

    def test_x_points_to_the_persons_left_y_up_and_z_out_of_the_face(self, model, mean):
        """iBUG counts from the person's right: the right eye is 37 to 42, the left one 43 to 48."""
        landmarks = model.landmarks()
        assert (landmarks[[0, 36, 39, RIGHT_CORNER], 0] < 0).all()
        assert (landmarks[[16, 42, 45, LEFT_CORNER], 0] > 0).all()
        heights = landmarks[[19, 37, 27, NOSE_TIP, 33, 51, 62, 66, 57, CHIN], 1]
        assert (np.diff(heights[[0, 1, 3, 4, 5, 6, 7, 8, 9]]) < 0).all()
        assert landmarks[:, 2].argmax() == NOSE_TIP
        assert mean[:, 2].argmax() in np.flatnonzero(model.regions["nose"])

    def test_every_region_lies_where_its_name_says(self, model, mean):
        landmarks = model.landmark_vertices
        for region, numbers in {
            "nose": range(27, 36),
            "eyes": range(36, 48),
            "eyebrows": range(17, 27),
            "mouth": range(48, 68),
            "chin": [CHIN],
        }.items():
            touched = model.regions[region][landmarks[list(numbers)]].any(axis=1)
            assert touched.mean() > 0.6, region
        height = {name: mean[mask, 1].mean() for name, mask in model.regions.items()}
        downwards = ["forehead", "eyebrows", "eyeballs", "nose", "mouth", "chin"]
        assert sorted(downwards, key=height.get, reverse=True) == downwards

    def test_regions_are_symmetric_not_empty_and_share_no_vertex(self, model):
        masks = np.array(list(model.regions.values()))
        assert masks.any(axis=1).all()
        parts = model.regions["irises"] | model.regions["pupils"]
        assert (masks.sum(axis=0) <= 1 + parts).all()
        assert model.regions["eyeballs"][parts].all()
        # On a border between two regions a vertex and its partner may fall to different sides.
        assert (masks[:, model.mirror] != masks).any(axis=0).mean() < 0.002


class TestSymmetry:
    def test_mirroring_twice_changes_nothing(self, model):
        mirror = model.mirror
        assert (mirror[mirror] == np.arange(len(mirror))).all()
        coefficients = np.random.default_rng(0).normal(size=(3, 50))
        assert (model.mirrored(model.mirrored(coefficients)) == coefficients).all()

    def test_modes_are_symmetric_or_antisymmetric_as_they_say(self, model):
        modes, sign = model.modes, model.symmetry
        assert set(sign) == {-1, 1}
        mirrored = modes[:, model.mirror] * FLIP
        np.testing.assert_allclose(mirrored, sign[:, None, None] * modes, atol=1e-4)

    def test_mirrored_coefficients_give_the_mirrored_face(self, model):
        coefficients = np.random.default_rng(1).normal(size=50)
        face = model.vertices(*np.split(coefficients, [40]))
        mirrored = model.vertices(*np.split(model.mirrored(coefficients), [40]))
        np.testing.assert_allclose(mirrored, face[model.mirror] * FLIP, atol=1e-3)

    def test_the_mesh_is_its_own_mirror_image(self, model, triangles):
        """The sense turns round; a quad on the middle may be cut along either diagonal."""
        mirrored = model.mirror[triangles][:, ::-1]
        own, image = ({tuple(sorted(row)) for row in part.tolist()} for part in (triangles, mirrored))
        assert len(own & image) / len(own) > 0.98

    def test_landmarks_of_the_mean_are_symmetric(self, model):
        landmarks = model.landmarks()
        pairs = [(0, 16), (CHIN, CHIN), (17, 26), (36, 45), (39, 42), (31, 35), (48, 54), (60, 64)]
        for one, other in pairs:
            np.testing.assert_allclose(landmarks[one] * FLIP, landmarks[other], atol=0.05)


class TestArithmetic:
    def test_without_coefficients_it_is_the_mean(self, model):
        np.testing.assert_array_equal(model.vertices(), model.mean)
        np.testing.assert_array_equal(model.vertices(np.zeros(40), np.zeros(10)), model.mean)

    def test_displacements_add_up(self, model):
        random = np.random.default_rng(2)
        identity, expression = (random.normal(size=(2, n)) for n in (40, 10))
        weights = np.array([0.7, -1.3])

        def displaced(*coefficients):
            return model.vertices(*coefficients) - model.mean

        both = displaced(weights @ identity, weights @ expression)
        parts = np.tensordot(weights, displaced(identity) + displaced(None, expression), 1)
        np.testing.assert_allclose(both, parts, atol=1e-3)

    def test_one_standard_deviation_of_a_mode_moves_the_face_by_the_mode(self, model):
        for number in (0, 17, 39):
            moved = model.vertices(np.eye(40)[number]) - model.mean
            np.testing.assert_allclose(moved, model.identity_modes[number], atol=1e-4)
        moved = model.vertices(None, np.eye(10)[3]) - model.mean
        np.testing.assert_allclose(moved, model.expression_modes[3], atol=1e-4)

    def test_arrays_are_float32_and_cannot_be_written_to(self, model):
        for values in (model.mean, model.modes, model.identity_modes, model.landmark_modes):
            assert values.dtype == np.float32
            with pytest.raises(ValueError, match="read-only"):
                values[0] = 0
        shape = model.vertices()
        assert shape.dtype == np.float32
        shape[0] = 0
        assert model.mean[0].any()

    def test_landmarks_are_barycentric_points_of_the_mesh(self, model, triangles):
        identity, expression = model.sample(3, seed=0)
        corners = model.vertices(identity, expression)[:, model.landmark_vertices]
        weights = model.landmark_weights
        by_hand = (corners * weights[None, :, :, None]).sum(axis=2)
        np.testing.assert_allclose(model.landmarks(identity, expression), by_hand, atol=1e-3)
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=2e-4)
        assert (weights >= 0).all()
        own = {tuple(sorted(row)) for row in triangles.tolist()}
        for row, share in zip(model.landmark_vertices.tolist(), weights, strict=True):
            assert share.max() > 1 - 1e-6 or tuple(sorted(row)) in own

    @pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)])
    def test_any_batch_of_coefficients_is_taken(self, model, batch):
        identity, expression = np.zeros((*batch, 40)), np.zeros((*batch, 10))
        assert model.vertices(identity, expression).shape == (*batch, len(model.mean), 3)
        assert model.landmarks(identity, expression).shape == (*batch, 68, 3)
        assert model.landmarks(None, expression).shape == (*batch, 68, 3)

    def test_one_identity_wears_many_expressions(self, model):
        identity, expressions = np.ones(40), np.eye(10)
        together = model.landmarks(identity, expressions)
        each = np.stack([model.landmarks(identity, row) for row in expressions])
        np.testing.assert_allclose(together, each, atol=1e-3)

    @pytest.mark.parametrize("kind", [list, np.float32, torch.tensor])
    def test_coefficients_of_any_kind_are_taken(self, model, kind):
        values = np.linspace(-1, 1, 40)
        np.testing.assert_allclose(model.landmarks(kind(values)), model.landmarks(values), atol=1e-5)

    @pytest.mark.parametrize(
        ("coefficients", "message"),
        [
            ((np.zeros(10), None), r"identity coefficients of shape \(\.\.\., 40\), got \(10,\)"),
            ((None, np.zeros((2, 40))), r"expression coefficients of shape \(\.\.\., 10\), got \(2, 40\)"),
            ((0.5, None), r"identity coefficients of shape \(\.\.\., 40\), got \(\)"),
        ],
    )
    def test_coefficients_of_another_number_are_refused(self, model, coefficients, message):
        with pytest.raises(ValueError, match=message):
            model.vertices(*coefficients)


class TestSample:
    def test_the_seed_decides(self, model):
        first, again, other = (model.sample(4, seed=seed) for seed in (7, 7, 8))
        assert all(map(np.array_equal, first, again))
        assert not any(map(np.array_equal, first, other))
        assert (first[0].shape, first[1].shape) == ((4, 40), (4, 10))
        assert first[0].dtype == first[1].dtype == np.float32

    def test_people_are_standard_normal(self, model):
        identity, _ = model.sample(5000, seed=0)
        # Five standard errors.
        assert np.abs(identity.mean(axis=0)).max() < 5 / 5000**0.5
        assert np.abs(identity.std(axis=0) - 1).max() < 5 / (2 * 5000) ** 0.5

    def test_expressions_mix_at_most_three_actions(self, model):
        _, expression = model.sample(50, seed=0)
        largest = np.abs(list(model.actions.values())).max(axis=0)
        assert (np.abs(expression) <= 3 * largest + 1e-5).all()
        assert (np.abs(expression).sum(axis=1) > 0).all()

    def test_a_model_without_actions_samples_its_modes(self, model):
        _, expression = FaceModel(arrays=model.arrays).sample(5000, seed=0)
        assert np.abs(expression.std(axis=0) - 1).max() < 5 / (2 * 5000) ** 0.5

    def test_people_look_different_but_are_faces(self, model):
        landmarks = model.landmarks(*model.sample(100, seed=1))
        widths = np.linalg.norm(landmarks[:, 0] - landmarks[:, 16], axis=1)
        assert widths.std() > 1
        assert (landmarks[:, NOSE_TIP, 2] > landmarks[:, [0, 16], 2].max(axis=1)).all()
        assert (landmarks[:, 27, 1] > landmarks[:, CHIN, 1]).all()


class TestActions:
    def moved(self, model, name):
        return model.landmarks(None, model.actions[name]) - model.landmarks()

    def test_an_action_is_ten_coefficients(self, model):
        assert {"jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft", "browInnerUp"} <= set(
            model.actions
        )
        assert all(value.shape == (10,) for value in model.actions.values())

    def test_an_open_jaw_lowers_the_chin_and_parts_the_lips(self, model):
        moved = self.moved(model, "jawOpen")
        assert moved[CHIN, 1] < -10
        assert (moved[[61, 62, 63], 1] - moved[[67, 66, 65], 1] > 10).all()
        assert np.abs(moved[[*range(17, 31), *range(36, 48)]]).max() < 2

    @pytest.mark.parametrize(
        ("action", "closed", "open_"),
        [("eyeBlinkLeft", LEFT_LIDS, RIGHT_LIDS), ("eyeBlinkRight", RIGHT_LIDS, LEFT_LIDS)],
    )
    def test_a_wink_closes_its_eye_and_leaves_the_other_open_and_the_mouth_alone(
        self, model, action, closed, open_
    ):
        landmarks = model.landmarks()
        winking = landmarks + self.moved(model, action)

        def gaps(points, lids):
            upper, lower = lids
            return (points[upper] - points[lower])[:, 1]

        assert (gaps(landmarks, closed) > 4).all()
        assert (gaps(winking, closed) < 0.5).all()
        np.testing.assert_allclose(gaps(winking, open_), gaps(landmarks, open_), atol=1)
        assert np.abs(winking - landmarks)[48:60].max() < 1

    @pytest.mark.parametrize(
        ("action", "corner", "other"),
        [("mouthSmileLeft", LEFT_CORNER, RIGHT_CORNER), ("mouthSmileRight", RIGHT_CORNER, LEFT_CORNER)],
    )
    def test_a_smile_raises_the_corner_of_the_mouth_on_its_side_and_pulls_it_out(
        self, model, action, corner, other
    ):
        moved = self.moved(model, action)
        assert moved[corner, 1] > 5
        assert moved[corner, 1] > moved[other, 1] + 2
        assert moved[corner, 0] * model.landmarks()[corner, 0] > 0

    def test_left_is_the_persons_left(self, model):
        """Which is the viewer's right, where x is positive."""
        for action in ("jawLeft", "mouthLeft"):
            assert self.moved(model, action)[[CHIN, 57][action == "mouthLeft"], 0] > 2
        for action in ("jawRight", "mouthRight"):
            assert self.moved(model, action)[[CHIN, 57][action == "mouthRight"], 0] < -2

    def test_raised_brows_rise_and_lowered_ones_sink(self, model):
        assert self.moved(model, "browInnerUp")[[21, 22], 1].min() > 0.5
        for action, brow in (("browDownLeft", range(22, 27)), ("browDownRight", range(17, 22))):
            assert self.moved(model, action)[brow, 1].mean() < -0.5

    def test_left_and_right_are_mirror_images(self, model):
        lefts = [name for name in model.actions if name.endswith("Left")]
        assert len(lefts) >= 20
        sign = model.symmetry[40:]
        for left in lefts:
            right = model.actions[left.removesuffix("Left") + "Right"]
            np.testing.assert_allclose(sign * model.actions[left], right, atol=0.1, err_msg=left)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "face.npz"
    model.save(path)
    return path


class TestFile:
    def test_a_saved_model_loads_as_it_was(self, model, saved):
        loaded = FaceModel.load(saved)
        for name, values in model.arrays.items():
            np.testing.assert_array_equal(values, loaded.arrays[name], err_msg=name)
        assert loaded.actions.keys() == model.actions.keys()
        assert all((loaded.actions[name] == value).all() for name, value in model.actions.items())
        assert loaded.regions.keys() == model.regions.keys()
        assert all((loaded.regions[name] == value).all() for name, value in model.regions.items())
        assert loaded.licence == model.licence

    def test_a_model_without_actions_regions_or_mirror_is_saved_too(self, model, tmp_path):
        arrays = {name: values for name, values in model.arrays.items() if name not in ("mirror", "symmetry")}
        plain = FaceModel(arrays=arrays)
        plain.save(tmp_path / "plain.model")
        loaded = FaceModel.load(tmp_path / "plain.model")
        assert (loaded.actions, loaded.regions, len(loaded.mirror)) == ({}, {}, 0)
        np.testing.assert_array_equal(loaded.vertices(), model.mean)

    def test_the_fingerprint_is_that_of_the_file_also_before_modes_are_rounded(self, model, saved, tmp_path):
        assert FaceModel.load(saved).fingerprint == model.fingerprint
        exact = FaceModel(arrays=model.arrays | {"identity_modes": 1.01 * model.identity_modes})
        exact.save(tmp_path / "rounded.npz")
        rounded = FaceModel.load(tmp_path / "rounded.npz")
        assert (rounded.identity_modes != exact.identity_modes).any()
        assert rounded.fingerprint == exact.fingerprint != model.fingerprint

    @pytest.mark.parametrize("name", ["mean", "identity_modes", "expression_modes", "landmark_weights"])
    def test_the_fingerprint_follows_what_parameters_mean(self, model, name):
        changed = model.arrays[name].copy()
        changed[0] += 1
        assert FaceModel(arrays=model.arrays | {name: changed}).fingerprint != model.fingerprint

    def test_the_head_is_saved_too(self, model, saved):
        head, loaded = model.head, FaceModel.load(saved).head
        for name, values in head.arrays.items():
            np.testing.assert_array_equal(values, loaded.arrays[name], err_msg=name)
        assert all((loaded.regions[name] == value).all() for name, value in head.regions.items())

    def test_a_file_of_another_version_is_said_so(self, saved, tmp_path):
        with np.load(saved) as file:
            arrays = dict(file)
        words = json.loads(str(arrays["words"]))
        del words["version"]
        np.savez(tmp_path / "older.npz", **arrays | {"words": np.array(json.dumps(words))})
        with pytest.raises(FaceModelError, match=r"older\.npz: written by another version of m4kit"):
            FaceModel.load(tmp_path / "older.npz")

    def test_it_holds_no_pickle(self, saved):
        with np.load(saved, allow_pickle=False) as file:
            assert all(file[name].dtype != object for name in file.files)

    def test_the_packaged_model_is_in_the_public_domain_and_says_where_it_comes_from(self, model):
        assert model.licence.startswith("CC0 1.0 Universal")
        assert "MPFB2" in model.licence
        assert "Mika Suominen" in model.licence

    def test_a_missing_file_is_said_so(self, tmp_path):
        with pytest.raises(FaceModelError, match=r"nowhere\.npz: no such face model; give the path"):
            FaceModel.load(tmp_path / "nowhere.npz")

    @pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
    def test_a_truncated_file_is_said_so(self, saved, tmp_path, share):
        whole = saved.read_bytes()
        (tmp_path / "cut.npz").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(FaceModelError, match=r"cut\.npz: expected a face model.*fetch or build"):
            FaceModel.load(tmp_path / "cut.npz")

    def test_another_file_is_said_so(self, tmp_path):
        path = tmp_path / "other.npz"
        for write in (
            lambda: path.write_text("a letter"),
            lambda: np.savez(path, mean=np.zeros((5, 3))),
            lambda: np.savez(path, words=np.array([{"a": 1}], dtype=object)),
        ):
            write()
            with pytest.raises(FaceModelError, match=r"other\.npz: expected a face model"):
                FaceModel.load(path)

    def test_a_folder_is_said_so(self, tmp_path):
        with pytest.raises(FaceModelError, match="expected a face model"):
            FaceModel.load(tmp_path)


class MakesAFolder:
    """A pickle of this runs `os.mkdir` in whoever reads it trustingly."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


class TestPickle:
    def test_numpy_arrays_are_read_whatever_numpy_wrote_them(self, tmp_path):
        path = tmp_path / "arrays.pkl"
        arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.arange(4, dtype=np.int32), "c": np.float32(2)}
        by_numpy_2 = pickle.dumps(arrays, protocol=3)
        by_numpy_1 = by_numpy_2.replace(b"numpy._core", b"numpy.core")
        for packed in (
            by_numpy_1,
            by_numpy_2,
            pickle.dumps(arrays, protocol=4),
            pickle.dumps(arrays, protocol=5),
        ):
            path.write_bytes(packed)
            read = load_numpy_pickle(path)
            assert read.keys() == arrays.keys()
            assert all((read[name] == value).all() for name, value in arrays.items())

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_a_pickle_that_would_run_something_is_not_run(self, tmp_path, protocol):
        path, target = tmp_path / "evil.pkl", tmp_path / "made"
        path.write_bytes(pickle.dumps({"u": MakesAFolder(target)}, protocol=protocol))
        with pytest.raises(FaceModelError, match=r"evil\.pkl: .*needs .*mkdir, which was not run"):
            FaceModel.load_bfm(path)
        assert not target.exists()
        pickle.loads(path.read_bytes())
        assert target.exists()

    def test_numpys_other_functions_are_not_run_either(self, tmp_path):
        path = tmp_path / "evil.pkl"
        for wanted in (np.save, np.testing.assert_equal, os.path.join):
            path.write_bytes(pickle.dumps(wanted))
            with pytest.raises(FaceModelError, match=r"evil\.pkl: .*which was not run"):
                load_numpy_pickle(path)

    @pytest.mark.parametrize("content", [b"", b"a letter", pickle.dumps(np.arange(1000))[:500]])
    def test_what_is_no_pickle_is_said_so(self, tmp_path, content):
        (tmp_path / "broken.pkl").write_bytes(content)
        with pytest.raises(FaceModelError, match=r"broken\.pkl: not a readable pickle of numpy arrays"):
            load_numpy_pickle(tmp_path / "broken.pkl")

    def test_a_missing_basel_face_model_is_said_so(self, tmp_path):
        with pytest.raises(FaceModelError, match=r"bfm\.pkl: no such file; .* bfm_noneck_v3\.pkl"):
            FaceModel.load_bfm(tmp_path / "bfm.pkl")

    @pytest.mark.parametrize(
        "change",
        [
            {"u": None},
            {"u": np.zeros((10, 1))},
            {"w_shp": np.zeros((213, 40))},
            {"tri": np.zeros((4, 4))},
            {"keypoints": np.full(204, 9000)},
            {"keypoints": np.zeros(136, int)},
            {"w_exp": "many"},
        ],
    )
    def test_arrays_of_another_kind_are_said_so(self, tmp_path, change):
        arrays = {name: value for name, value in (basel_like() | change).items() if value is not None}
        (tmp_path / "other.pkl").write_bytes(pickle.dumps(arrays))
        with pytest.raises(FaceModelError, match=r"other\.pkl: expected 3DDFA-V2's bfm_noneck_v3\.pkl"):
            FaceModel.load_bfm(tmp_path / "other.pkl")

    def test_a_pickle_of_something_else_is_said_so(self, tmp_path):
        (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2, 3]))
        with pytest.raises(FaceModelError, match=r"list\.pkl: expected a dictionary of .*, got list"):
            load_numpy_pickle(tmp_path / "list.pkl")


def test_a_model_in_3ddfa_v2s_form_becomes_millimetres_and_counter_clockwise(tmp_path):
    arrays = basel_like()
    (tmp_path / "bfm.pkl").write_bytes(pickle.dumps(arrays))
    model = FaceModel.load_bfm(tmp_path / "bfm.pkl")
    np.testing.assert_allclose(model.mean.ravel(), arrays["u"][:, 0] / 1000, rtol=1e-5)
    np.testing.assert_allclose(model.identity_modes[7].ravel(), arrays["w_shp"][:, 7] / 1000, rtol=1e-5)
    assert model.triangles[0].tolist() == [1, 2, 0]
    np.testing.assert_array_equal(model.landmarks()[0], model.mean[67])


def cameras(angles, scale=2.0, translation=(100.0, -50.0, 0.0)):
    return np.array([np.column_stack([scale * rotation_from_euler(*row), translation]) for row in angles])


def seen(points, camera):
    """Points (n, P, 3) under cameras (n, 3, 4)."""
    return np.einsum("nij,npj->npi", camera[:, :, :3], points) + camera[:, None, :, 3]


@pytest.fixture(scope="module")
def synthetic(model):
    """Coefficients, angles and landmarks of twenty random people turned by up to 40 degrees."""
    identity, expression = model.sample(20, seed=0)
    angles = np.random.default_rng(0).uniform(-40, 40, (20, 3))
    landmarks = seen(model.landmarks(identity, expression), cameras(angles))
    return identity, expression, angles, landmarks


class TestFit:
    def test_the_mean_face_is_found_exactly(self, model):
        angles = np.random.default_rng(1).uniform(-60, 60, (10, 3))
        true = cameras(angles)
        fit = model.fit(seen(model.landmarks()[None].repeat(10, 0), true)[..., :2])
        np.testing.assert_allclose(fit.camera[:, :2], true[:, :2], atol=0.02)
        np.testing.assert_allclose([head_pose(camera) for camera in fit.camera], angles, atol=0.02)
        assert np.abs(np.concatenate([fit.identity, fit.expression], axis=1)).max() < 0.02

    def test_known_people_are_found_again(self, model, synthetic):
        identity, expression, angles, landmarks = synthetic
        fit = model.fit(landmarks[..., :2], noise=0.001, iterations=300)
        assert nme(fit.landmarks, landmarks).max() < 0.1
        poses = np.array([head_pose(camera) for camera in fit.camera])
        assert np.abs(poses - angles).mean() < 0.6
        np.testing.assert_allclose([decompose(camera)[0] for camera in fit.camera], 2, rtol=0.03)
        # A single view does not determine all of a person's depth.
        assert np.corrcoef(fit.identity.ravel(), identity.ravel())[0, 1] > 0.88
        assert np.corrcoef(fit.expression.ravel(), expression.ravel())[0, 1] > 0.93

    def test_its_landmarks_are_the_models_under_its_camera(self, model, synthetic):
        fit = model.fit(synthetic[3][..., :2], iterations=5)
        placed = seen(model.landmarks(fit.identity, fit.expression), fit.camera)
        np.testing.assert_allclose(fit.landmarks, placed, atol=1e-2)
        assert (fit.camera.shape, fit.identity.shape) == ((20, 3, 4), (20, 40))
        assert (fit.expression.shape, fit.landmarks.shape) == ((20, 10), (20, 68, 3))
        for camera in fit.camera:
            scale, rotation, _ = decompose(camera)
            np.testing.assert_allclose(camera[:, :3], scale * rotation, atol=1e-5)

    def test_another_unit_and_place_change_the_camera_alone(self, model, synthetic):
        landmarks = synthetic[3][:4, :, :2]
        fit = model.fit(landmarks, iterations=20)
        moved = model.fit(0.01 * landmarks + [3, -5], iterations=20)
        np.testing.assert_allclose(moved.identity, fit.identity, atol=1e-3)
        np.testing.assert_allclose(moved.camera[..., :3], 0.01 * fit.camera[..., :3], atol=1e-4)

    def test_faces_of_a_batch_do_not_touch_each_other(self, model, synthetic):
        landmarks = synthetic[3][:3]
        together = model.fit(landmarks, iterations=10)
        for number in range(3):
            alone = model.fit(landmarks[number], iterations=10)
            np.testing.assert_allclose(alone.identity[0], together.identity[number], atol=1e-4)

    def test_points_without_weight_do_not_count(self, model, synthetic):
        landmarks = synthetic[3][:2, :, :2]
        weights = np.ones(68)
        weights[[28, 30, 51]] = 0
        wrong = landmarks.copy()
        wrong[:, [28, 30, 51]] += [15, -10]
        clean, spoilt = (model.fit(points, weights=weights, iterations=10) for points in (landmarks, wrong))
        np.testing.assert_allclose(clean.identity, spoilt.identity, atol=1e-4)
        np.testing.assert_allclose(clean.camera, spoilt.camera, atol=1e-3)
        assert np.abs(model.fit(wrong, iterations=10).identity - clean.identity).max() > 0.1

    def test_four_times_the_weight_is_half_the_noise(self, model, synthetic):
        landmarks = synthetic[3][:3, :, :2]
        heavier = model.fit(landmarks, weights=np.full(68, 4.0), noise=0.02, iterations=10)
        surer = model.fit(landmarks, noise=0.01, iterations=10)
        np.testing.assert_allclose(heavier.identity, surer.identity, atol=1e-4)

    def test_more_assumed_noise_keeps_the_face_likelier_and_follows_the_points_less(self, model, synthetic):
        landmarks = synthetic[3]
        fits = [model.fit(landmarks[..., :2], noise=noise, iterations=20) for noise in (0.002, 0.02, 0.2)]
        lengths = [(fit.identity**2).sum(axis=1).mean() for fit in fits]
        errors = [nme(fit.landmarks, landmarks).mean() for fit in fits]
        assert lengths == sorted(lengths, reverse=True)
        assert errors == sorted(errors)

    @pytest.mark.parametrize("shape", [(21, 2), (5, 21, 2), (68, 1), (68,)])
    def test_another_number_of_landmarks_is_refused(self, model, shape):
        with pytest.raises(ValueError, match=r"expected landmarks of shape \(n, 68, 2\), got"):
            model.fit(np.zeros(shape))

    def test_landmarks_that_are_no_face_are_refused(self, model, synthetic):
        landmarks = synthetic[3][:2, :, :2].copy()
        landmarks[1, 7, 0] = np.nan
        with pytest.raises(ValueError, match="finite"):
            model.fit(landmarks)
        landmarks[1] = 5
        with pytest.raises(ValueError, match="span an area"):
            model.fit(landmarks)

    @pytest.mark.parametrize("few", [np.zeros(68), np.arange(68) < 3, np.full(68, -1.0), np.full(68, np.nan)])
    def test_weights_that_leave_no_camera_are_refused(self, model, synthetic, few):
        weights = np.stack([np.ones(68), few])
        with pytest.raises(ValueError, match="at least four of them above 0"):
            model.fit(synthetic[3][:2, :, :2], weights=weights)


@pytest.fixture(scope="module")
def real_fit(model):
    """The model fitted to the true landmarks of the 500 development faces, with those and their angles."""
    with np.load(shared_file("data/aflw2000_3d_dev.npz"), allow_pickle=False) as file:
        landmarks = file["pts68"].transpose(0, 2, 1).astype(float) * [1, -1, 1]
        pitch, yaw, roll = np.degrees(file["pose_para"][:, :3].astype(float)).T
    return model.fit(landmarks[..., :2]), landmarks, np.column_stack([yaw, pitch, roll])


class TestRealFaces:
    def test_the_model_reaches_the_true_landmarks_of_real_faces(self, real_fit):
        """Measured 0.64 % with the default noise; the project asks for 1.6 % or better."""
        fit, landmarks, _ = real_fit
        errors = nme(fit.landmarks, landmarks)
        assert len(errors) == 500
        assert errors.mean() < 0.70
        assert errors.max() < 2

    def test_real_faces_are_likely_in_the_model(self, real_fit):
        fit, _, _ = real_fit
        assert (fit.identity**2).mean() ** 0.5 < 1.1
        assert np.abs(fit.identity.mean(axis=0)).max() < 1.5

    def test_zero_pose_is_that_of_the_published_angles(self, real_fit):
        """Measured: mean differences below 0.3 degrees, mean absolute ones 1.2, 1.7 and 0.9."""
        fit, _, angles = real_fit
        counted = (np.abs(angles) < 99).all(axis=1)
        poses = np.array([head_pose(camera) for camera in fit.camera])
        apart = (poses - angles)[counted]
        assert np.abs(apart.mean(axis=0)).max() < 0.5
        assert (np.abs(apart).mean(axis=0) < [1.6, 2.2, 1.3]).all()


@pytest.fixture(scope="module")
def bfm_file():
    return shared_file("peers/3ddfa_v2/bfm_noneck_v3.pkl")


@pytest.fixture(scope="module")
def bfm(bfm_file):
    return FaceModel.load_bfm(bfm_file)


class TestBaselFaceModel:
    def test_it_has_the_numbers_of_3ddfa_v2(self, bfm):
        assert bfm.mean.shape == (38365, 3)
        assert bfm.identity_modes.shape == (40, 38365, 3)
        assert bfm.expression_modes.shape == (10, 38365, 3)
        assert bfm.triangles.shape == (76073, 3)
        assert (len(bfm.mirror), len(bfm.symmetry), bfm.actions, bfm.regions) == (0, 0, {}, {})
        assert "not to be redistributed" in bfm.licence

    def test_it_is_in_millimetres(self, bfm):
        landmarks = bfm.landmarks()
        assert 115.6 < np.linalg.norm(landmarks[0] - landmarks[16]) < 164.2
        assert 95.1 < np.linalg.norm(landmarks[27] - landmarks[CHIN]) < 143.7

    def test_its_triangles_join_neighbours_and_face_outwards(self, bfm):
        vertices, triangles = bfm.mean.astype(float), bfm.triangles
        assert (np.unique(triangles) == np.arange(len(vertices))).all()
        lengths = np.linalg.norm(np.diff(vertices[edges(triangles)], axis=1)[:, 0], axis=1)
        assert np.median(lengths) < 2
        assert lengths.max() < 15
        normals = triangle_normals(vertices, triangles)
        # Seen from the middle of the head, as good as all of a face faces away.
        assert ((normals * vertices[triangles].mean(axis=1)).sum(axis=1) > 0).mean() > 0.99

    def test_its_landmarks_lie_where_3ddfa_v2_computes_them(self, bfm, bfm_file):
        std = load_numpy_pickle(bfm_file.parent / "param_mean_std_62d_120x120.pkl")["std"]
        identity, expression = np.split(std[12:] * np.random.default_rng(0).normal(size=50), [40])
        data = load_numpy_pickle(bfm_file)
        flat = data["u"][:, 0] + data["w_shp"] @ identity + data["w_exp"] @ expression
        theirs = flat[data["keypoints"]].reshape(3, -1, order="F").T / 1000
        assert np.abs(theirs - bfm.landmarks()).mean() > 1
        # The file takes the depth of landmark 45 from another vertex than its x and y.
        theirs[44, 2] = flat[data["keypoints"][132] + 2] / 1000
        np.testing.assert_allclose(bfm.landmarks(identity, expression), theirs, atol=0.01)
        whole = flat.reshape(3, -1, order="F").T / 1000
        np.testing.assert_allclose(bfm.vertices(identity, expression), whole, atol=0.01)

"""A face's geometry and how it follows from the heads; a prediction as a sequence."""

import base64
import copy
import io
import json
import pickle
import re
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import trimesh
from PIL import Image

from m4kit import predict
from m4kit.camera import Crop, euler_from_rotation
from m4kit.face_model import FaceModel, FaceModelError
from m4kit.prediction import Face, FaceBox, Prediction, measure_together
from m4kit.prediction_file import load
from m4kit.vertex_colours import vertex_colours

from helpers.faces import ellipsoid, parameters
from helpers.paths import SAMPLES

ANGLES = ((5, -3, 2), (25, 4, -6), (-40, 12, 15), (60, -20, 30))


def raw_parameters(angles, *, seed, scale=0.5, shift=(2.0, -3.0, 0.0)):
    """Parameters (62,) with random coefficients."""
    coefficients = np.random.default_rng(seed).normal(size=50)
    return parameters(angles, scale=scale, shift=shift, coefficients=coefficients).astype(np.float32)


@pytest.fixture
def face(model):
    return Face(
        box=FaceBox(100, 80, 300, 310, 0.9),
        crop=Crop(60.0, 50.0, 360.0),
        heads=np.stack([raw_parameters(angles, seed=seed) for seed, angles in enumerate(ANGLES)]),
        head_weights=np.array([0.1, 0.2, 0.3, 0.4], np.float32),
        model=model,
    )


def one_hot(number):
    return np.eye(4)[number]


class TestGeometry:
    def test_the_parameters_are_the_heads_weighted_sum(self, face):
        expected = sum(weight * head for weight, head in zip(face.head_weights, face.heads, strict=True))
        np.testing.assert_allclose(face.parameters, expected, rtol=1e-5, atol=1e-6)
        parts = [face.camera.ravel(), face.identity, face.expression]
        assert [part.shape for part in parts] == [(12,), (40,), (10,)]
        np.testing.assert_array_equal(np.concatenate(parts), face.parameters)

    def test_landmarks_are_the_meshes_barycentric_points(self, face, model):
        corners = face.vertices[model.landmark_vertices]
        weights = model.landmark_weights
        by_hand = (corners * weights[..., None]).sum(axis=1)
        assert face.landmarks.shape == (68, 3)
        # The weights are rounded, which the camera's shift shows.
        np.testing.assert_allclose(face.landmarks, by_hand, atol=0.1)
        assert np.ptp(face.landmarks, axis=0).min() > 50

    def test_the_mesh_is_the_models_shape_before_the_camera_in_the_crop(self, face, model):
        """Photo pixels by hand: the crop of 360 pixels enlarges by 3 and has its centre at (240, 230)."""
        shape = model.vertices(face.identity, face.expression)
        np.testing.assert_array_equal(face.shape, shape)
        x, y, z = face.camera[:, :3] @ shape.T + face.camera[:, 3:]
        by_hand = np.column_stack([240 + 3 * x, 230 - 3 * y, 3 * z])
        np.testing.assert_allclose(face.vertices, by_hand, atol=1e-3)
        np.testing.assert_array_equal(face.triangles, model.triangles)

    @pytest.mark.parametrize("number", range(4))
    def test_the_pose_is_that_of_the_camera(self, face, number):
        assert face.with_head_weights(one_hot(number)).pose == pytest.approx(ANGLES[number], abs=1e-3)

    def test_a_face_looks_out_of_the_photo_with_the_forehead_up(self, face):
        frontal = face.with_head_weights(one_hot(0))
        landmarks = frontal.landmarks
        assert landmarks[:, 2].argmax() in range(28, 34)
        assert landmarks[17:27, 1].max() < landmarks[31:36, 1].min() < landmarks[8, 1]
        assert landmarks[36, 0] < landmarks[45, 0]

    def test_nothing_of_a_face_can_be_assigned(self, face):
        with pytest.raises(FrozenInstanceError):
            face.crop = Crop(0, 0, 1)
        with pytest.raises(FrozenInstanceError):
            face.box.left = 0


class TestHeadWeights:
    @pytest.mark.parametrize("number", range(4))
    def test_a_single_head_speaks_for_itself(self, face, number):
        alone = face.with_head_weights(one_hot(number))
        np.testing.assert_array_equal(alone.parameters, face.heads[number])
        np.testing.assert_array_equal(alone.identity, face.heads[number, 12:52])
        assert (alone.box, alone.crop, alone.model) == (face.box, face.crop, face.model)

    def test_the_face_itself_stays_as_it_was(self, face):
        before = face.landmarks.copy(), face.pose
        other = face.with_head_weights([1, 0, 0, 0])
        assert np.abs(other.landmarks - face.landmarks).max() > 5
        np.testing.assert_array_equal(face.landmarks, before[0])
        assert face.pose == before[1]
        assert face.head_weights.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])

    @pytest.mark.parametrize(
        "weights",
        [
            *([1, 0, 0], [0.2] * 5, [[0.25] * 4], 1.0, []),
            *([1, 0, 0, float("nan")], [float("inf"), 0, 0, 0]),
            *([1, 1, 1, 1], [0.2] * 4),
        ],
    )
    def test_other_than_one_weight_a_head_with_a_sum_of_1_is_refused(self, face, weights):
        with pytest.raises(ValueError, match="one weight for each of the 4 heads with a sum of 1, got"):
            face.with_head_weights(weights)


class TestFaceBox:
    def test_its_size_is_in_photo_pixels(self):
        box = FaceBox(10, 20, 40, 70)
        assert (box.width, box.height, box.score) == (30, 50, 1)

    def test_it_is_an_array_of_five(self):
        box = FaceBox(10, 20, 40, 70, 0.5)
        assert np.asarray(box).tolist() == [10, 20, 40, 70, 0.5]
        assert np.asarray(box, dtype=np.float32).dtype == np.float32
        assert np.stack([box, box]).shape == (2, 5)


class TestPrediction:
    @pytest.fixture
    def faces(self, face):
        return tuple(face.with_head_weights(one_hot(number)) for number in range(3))

    @pytest.fixture
    def prediction(self, faces):
        return Prediction(image=np.zeros((400, 500, 3), np.uint8), faces=faces, source="group.jpg")

    def test_it_is_a_sequence_of_its_faces(self, prediction, faces):
        assert isinstance(prediction, Sequence)
        assert len(prediction) == 3
        assert list(prediction) == list(faces)
        assert prediction[0] is faces[0]
        assert prediction[-1] is faces[2]
        assert list(reversed(prediction)) == list(faces[::-1])
        with pytest.raises(IndexError):
            prediction[3]

    def test_a_face_is_found_in_it(self, prediction, faces, face):
        """Also where faces share a box: arrays are not compared."""
        assert faces[2] in prediction
        assert prediction.index(faces[1]) == 1
        assert face not in prediction
        assert len({*prediction, faces[0]}) == 3

    def test_without_a_face_it_is_empty_and_false(self):
        nothing = Prediction(image=np.zeros((4, 4, 3), np.uint8), faces=())
        assert not nothing
        assert list(nothing) == []
        assert nothing.source == "<array>"

    def test_its_text_is_one_line_per_face(self, prediction):
        first, *lines = repr(prediction).splitlines()
        assert first == "Prediction('group.jpg', 500x400 pixels, 3 faces)"
        assert lines[1] == "  [1] 200x230 px, score 0.900, yaw 25, pitch 4, roll -6"
        assert len(lines) == 3
        assert repr(prediction[1]) == "Face(200x230 px, score 0.900, yaw 25, pitch 4, roll -6)"

    def test_slices_lists_and_masks_give_predictions(self, prediction, faces):
        table = prediction.to_dataframe()
        for index, chosen in (
            (slice(1, None), [1, 2]),
            ([2, 0], [2, 0]),
            (np.array([True, False, True]), [0, 2]),
            (table["yaw"] < 10, [0, 2]),
            ([], []),
        ):
            part = prediction[index]
            assert isinstance(part, Prediction)
            assert part.faces == tuple(faces[number] for number in chosen)
            assert part.source == "group.jpg"
        with pytest.raises(IndexError, match="a mask of 3 faces"):
            prediction[[True, False]]

    def test_its_table_has_one_row_per_face(self, prediction):
        table = prediction.to_dataframe()
        assert list(table.index) == [0, 1, 2]
        assert table["yaw"].tolist() == pytest.approx([5, 25, -40], abs=1e-3)
        assert table[["left", "top", "right", "bottom"]].iloc[0].tolist() == [100, 80, 300, 310]
        # No predictor made these faces, so nothing is known of their errors.
        assert table["failure_probability"].isna().all()
        assert len(prediction[:0].to_dataframe()) == 0

    def test_its_json_is_its_dictionary(self, prediction, faces):
        content = json.loads(prediction.to_json())
        assert content == prediction.to_dict()
        assert (content["photo"], content["width"], content["height"]) == ("group.jpg", 500, 400)
        one = content["faces"][1]
        np.testing.assert_allclose(one["landmarks"], faces[1].landmarks)
        assert one["pose_degrees"]["yaw"] == pytest.approx(25, abs=1e-3)

    def test_resized_faces_stay_on_their_places(self, prediction, faces):
        larger = prediction.resized(3)
        assert larger.image.shape == (1200, 1500, 3)
        # A pixel's centre x becomes that of the middle one of three.
        np.testing.assert_allclose(larger[1].landmarks[:, :2], 3 * faces[1].landmarks[:, :2] + 1, atol=1e-3)
        np.testing.assert_allclose(larger[1].vertices[:, 2], 3 * faces[1].vertices[:, 2], atol=1e-3)
        assert larger[1].box.left == pytest.approx(3 * faces[1].box.left + 1)


class TestChecks:
    def test_a_face_model_of_other_modes_is_refused(self, face):
        model = FaceModel.load()
        other = FaceModel(arrays=model.arrays | {"identity_modes": model.identity_modes[:30]})
        with pytest.raises(ValueError, match="40 identity and 10 expression modes, got 30 and 10"):
            replace(face, model=other)

    @pytest.mark.parametrize("heads", [np.zeros((0, 62)), np.zeros((4, 52)), np.zeros(62)])
    def test_heads_that_do_not_fit_are_refused(self, model, heads):
        with pytest.raises(ValueError, match=r"expected heads \(k, 62\) and weights \(k,\), got"):
            Face(FaceBox(0, 0, 1, 1), Crop(0, 0, 1), heads, np.full(len(heads), 0.25), model)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"box": (0, 0, 9, 9)},
                r"Face: box: expected FaceBox, got \(0, 0, 9, 9\) \(tuple\); FaceBox\(left",
            ),
            ({"crop": (0, 0, 9)}, r"Face: crop: expected Crop, got .* Crop\(left, top, size\) makes one"),
            ({"model": "x"}, r"Face: model: expected FaceModel, got 'x' \(str\); FaceModel.load\(path\)"),
            ({"origin": "x"}, "Face: origin: expected Origin or None, got 'x'"),
            (
                {"heads": np.full((4, 62), "x")},
                r"Face: heads: expected numbers, got an array \(4, 62\) of <U1",
            ),
            ({"crop": Crop(0, 0, -1)}, r"Face: crop\.size: expected a number above 0, got -1"),
        ],
    )
    def test_parts_of_another_kind_are_refused(self, face, change, message):
        with pytest.raises((TypeError, ValueError), match=message):
            replace(face, **change)

    @pytest.mark.parametrize("wrong", [np.nan, np.inf])
    def test_heads_that_are_not_finite_are_refused(self, face, wrong):
        heads = face.heads.copy()
        heads[1, 3] = wrong
        with pytest.raises(ValueError, match="expected finite heads and weights, got NaN or infinity; check"):
            replace(face, heads=heads)

    def test_a_prediction_needs_an_image_and_faces(self, face):
        with pytest.raises(
            ValueError, match=r"Prediction: expected an image \(H, W, 3\) uint8 RGB .*got str"
        ):
            Prediction("photo.jpg", ())
        image = np.zeros((4, 4, 3), np.uint8)
        with pytest.raises(
            TypeError, match=r"Prediction: faces: expected a list of faces, got .*predict makes them"
        ):
            Prediction(image, face)
        with pytest.raises(TypeError, match="Prediction: faces: expected Face, got 'x'"):
            Prediction(image, ["x"])
        assert Prediction(image, [face]).faces == (face,)

    def test_faces_are_not_chosen_by_fractions_or_words(self, face):
        prediction = Prediction(np.zeros((4, 4, 3), np.uint8), (face,))
        for index in ([0.5], ["0"]):
            with pytest.raises(IndexError, match="expected faces' numbers or a mask, got"):
                prediction[index]

    @pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
    def test_a_photo_is_resized_by_a_finite_number_above_0(self, face, scale):
        with pytest.raises(ValueError, match=r"scale: expected a number above 0 and up to 8191.5, got"):
            Prediction(np.zeros((4, 4, 3), np.uint8), (face,)).resized(scale)

    def test_a_face_of_no_photo_says_so(self, face):
        for call in (lambda: face.image, face.plot):
            with pytest.raises(ValueError, match="only faces of a prediction have one"):
                call()


@pytest.fixture(scope="module")
def hopper():
    return predict(SAMPLES / "grace_hopper.jpg")


class TestInANotebook:
    @pytest.fixture
    def shown(self, monkeypatch):
        bundles = []
        monkeypatch.setattr("IPython.display.display", lambda data, raw: bundles.append(data))
        return bundles

    @pytest.mark.parametrize("pick", [lambda prediction: prediction, lambda prediction: prediction[0]])
    def test_it_shows_a_picture_and_a_table(self, hopper, shown, pick):
        of = pick(hopper)
        of._ipython_display_()
        picture, table = shown
        assert picture["text/plain"] == repr(of)
        with Image.open(io.BytesIO(base64.b64decode(picture["image/jpeg"]))) as image:
            assert image.format == "JPEG"
        assert len(picture["image/jpeg"]) < 150_000
        assert re.findall("<th>([a-z ]+)</th>", table["text/html"])[:5] == [
            *("score", "yaw", "pitch", "roll", "failure probability"),
        ]

    def test_a_photo_without_a_face_shows_the_photo_alone(self, shown):
        Prediction(np.zeros((40, 60, 3), np.uint8), ())._ipython_display_()
        assert len(shown) == 1

    def test_plots_have_the_layers_that_are_asked_for(self, hopper):
        plain, layers = (
            hopper.plot(**options).axes[0].images[0].get_array()
            for options in ({"landmarks": False, "pose": False}, {"mesh": True, "boxes": True})
        )
        assert plain.shape == layers.shape
        np.testing.assert_array_equal(plain, hopper.resized(plain.shape[0] / hopper.image.shape[0]).image)
        assert (np.abs(plain.astype(int) - layers).sum(axis=2) > 60).mean() > 0.05
        assert len(hopper[0].plot().axes) == 4

    def test_faces_measured_together_know_what_each_knows_alone(self, hopper):
        faces = [
            hopper[0],
            hopper[0].with_head_weights([1, 0, 0, 0]),
            replace(hopper[0], crop=Crop(1, 2, 90)),
        ]
        together = [replace(face) for face in faces]
        measure_together(together)
        measure_together([])
        for one, face in zip(together, faces, strict=True):
            assert {"parameters", "landmarks", "pose", "_assessment"} <= vars(one).keys()
            np.testing.assert_allclose(one.parameters, face.parameters, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(one.landmarks, face.landmarks, atol=1e-3)
            assert one.pose == pytest.approx(face.pose, abs=1e-4)
            assert one.failure_probability == pytest.approx(face.failure_probability, abs=1e-6)
            assert one.reasons == face.reasons

    def test_a_face_has_its_crop_rotation_and_score(self, hopper):
        face = hopper[0]
        assert face.image.shape == (120, 120, 3)
        np.testing.assert_allclose(face.rotation @ face.rotation.T, np.eye(3), atol=1e-6)
        assert euler_from_rotation(face.rotation) == pytest.approx(face.pose)
        assert face.score == face.box.score > 0.9

    def test_meshes_for_other_libraries_have_the_photos_colours(self, hopper, tmp_path):
        face = hopper[0]
        colours = vertex_colours(face, "texture").colours
        mesh = face.to_trimesh(colour="texture")
        np.testing.assert_allclose(mesh.vertices, face.shape)
        np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], colours)
        in_open3d = face.to_open3d(colour="texture")
        np.testing.assert_allclose(np.asarray(in_open3d.vertices), face.shape)
        np.testing.assert_allclose(255 * np.asarray(in_open3d.vertex_colors), colours, atol=1e-4)
        saved = trimesh.load_mesh(face.save(tmp_path / "face.ply", colour="texture"), process=False)
        np.testing.assert_array_equal(saved.visual.vertex_colors[:, :3], colours)


class TestHead:
    def test_a_head_is_the_same_face_with_more_vertices(self, face, model):
        for name in ("shape", "vertices"):
            whole = getattr(face.head, name)
            assert len(whole) == len(model.head.mean)
            # The rest of a sum's vertices may round differently.
            np.testing.assert_allclose(whole[: len(model.mean)], getattr(face, name), atol=1e-3)
        np.testing.assert_allclose(face.head.landmarks, face.landmarks, atol=1e-3)
        assert face.head is face.head
        assert face.head.pose == face.pose

    @pytest.mark.parametrize("ending", ["ply", "obj", "glb", "stl"])
    def test_a_head_is_saved_as_a_face_is(self, face, tmp_path, ending):
        saved = trimesh.load_mesh(face.head.save(tmp_path / f"head.{ending}"), process=False)
        assert len(saved.faces) == len(face.model.head.triangles)
        size = np.ptp(saved.vertices * (1000 if ending == "glb" else 1), axis=0)
        assert size == pytest.approx(np.ptp(face.head.shape, axis=0), abs=1e-2)

    def test_a_model_of_a_face_alone_says_where_heads_are(self):
        with pytest.raises(FaceModelError, match=r"this one is only a face; FaceModel\.load\(\) gives"):
            ellipsoid().head  # noqa: B018


class TestReadOnly:
    """Faces keep what they computed, and share it: what one reader writes, all others would read."""

    NAMES = (
        *("heads", "head_weights", "parameters", "camera", "identity", "expression"),
        *("shape", "vertices", "landmarks", "triangles"),
    )

    def ways(self, prediction, folder):
        prediction.save(folder / "one.npz")
        face = prediction[0]
        return {
            "predicted": prediction,
            "pickled": pickle.loads(pickle.dumps(prediction)),
            "copied": copy.deepcopy(prediction),
            "loaded": load(folder / "one.npz"),
            "with other weights": Prediction(prediction.image, (face.with_head_weights([1, 0, 0, 0]),)),
            "resized": prediction.resized(0.5),
        }

    def test_no_array_of_a_face_or_photo_can_be_written_to(self, hopper, tmp_path):
        for way, prediction in self.ways(hopper, tmp_path).items():
            arrays = {name: getattr(prediction[0], name) for name in self.NAMES} | {"image": prediction.image}
            for name, array in arrays.items():
                with pytest.raises(ValueError, match="read-only"):
                    array[:] = 0
                assert array.copy().flags.writeable, (way, name)

    def test_an_array_that_the_caller_gave_stays_the_callers(self, face):
        heads, image = face.heads.copy(), np.zeros((4, 4, 3), np.uint8)
        Prediction(image, (replace(face, heads=heads),))
        heads[:], image[:] = 1, 1

"""Arguments of another kind are refused where they enter: the error names them, what came, and what to do."""

import numpy as np
import pytest

import m4kit
from m4kit import conditions, explore, export, visualize
from m4kit.camera import Crop, cut_crop
from m4kit.prediction import FaceBox, Prediction
from m4kit.render import render
from m4kit.vertex_colours import vertex_colours

from helpers.paths import SAMPLES


@pytest.fixture(scope="module")
def prediction():
    return m4kit.predict(SAMPLES / "grace_hopper.jpg")


A_FACE = r"expected Face, got .*; a face of a prediction is prediction\[0\]"
FACES = r"expected a prediction or faces, got .*; m4kit.predict makes one"
SIDE = "expected a number of at least 16, in pixels, got"

OF_A_PREDICTION = {
    "plot side": (lambda of: of.plot(max_side="x"), f"side of the pictures: {SIDE} 'x'"),
    "plot mesh": (lambda of: of.plot(mesh=2), "mesh: expected a number from 0 to 1, got 2"),
    "plot boxes": (lambda of: of.plot(boxes="no"), "boxes: expected True or False, got 'no'"),
    "resized": (lambda of: of.resized("2"), "scale: expected a number above 0 .*, got '2'"),
    "resized beyond": (lambda of: of.resized(1e6), r"scale: expected a number above 0 and up to 54\.6"),
    "number": (lambda of: of[5], "expected a face's number below 1, got 5"),
    "name": (lambda of: of["yaw"], "expected a face's number, a slice, a list or a mask, got 'yaw'"),
    "moved": (lambda of: of[0].moved("2"), "scale: expected a number above 0, got '2'"),
    "weights": (lambda of: of[0].with_head_weights("x"), "head weights: expected .*, got 'x'"),
    "colour": (lambda of: of[0].to_trimesh(colour=["x"]), r"colour: expected one of clay, .*, got \['x'\]"),
    "face side": (lambda of: of[0].plot(side=None), f"{SIDE} None"),
    "source": (lambda of: Prediction(of.image, (), 5), "Prediction: source: expected str, got 5"),
    "landmarks": (lambda of: visualize.draw_landmarks(of.image, None), "draw: expected faces or landmarks"),
    "width": (
        lambda of: visualize.draw_landmarks(of.image, of, width=-1),
        "width: expected a number above 0",
    ),
    "pose": (lambda of: visualize.draw_pose(of.image, "x"), f"draw: {FACES}"),
    "poses": (lambda of: visualize.draw_pose(of.image, of[0].landmarks), f"draw: {A_FACE}"),
    "mesh": (lambda of: visualize.draw_mesh(of.image, 5), f"draw: {FACES}"),
    "opacity": (lambda of: visualize.draw_mesh(of.image, of, opacity="1"), "opacity: expected a number from"),
    "light": (lambda of: render(of.image, [], light="x"), "light: expected Light, got 'x'"),
    "boxes": (lambda of: visualize.draw_boxes(of.image, None), f"draw: {FACES}"),
    "rotation": (
        lambda of: visualize.draw_pose_box(of.image, np.eye(2), (9, 9), 9),
        r"rotation: expected finite numbers \(3, 3\), got shape \(2, 2\)",
    ),
    "axes": (
        lambda of: visualize.draw_pose_axes(of.image, np.eye(3), (np.nan, 9), 9),
        r"centre: expected finite numbers \(2,\), got NaN or infinity",
    ),
    "overview": (
        lambda of: visualize.overview(of[0]),
        "overview: expected a prediction or a list, got Face",
    ),
    "overviews": (lambda of: visualize.overview([of[0]]), "overview: expected Prediction, got Face"),
    "titles": (
        lambda of: visualize.overview([of, of], titles="ab"),
        "titles: expected list or tuple, got 'ab'",
    ),
    "faces figure": (lambda of: visualize.faces_figure(of[0]), "faces_figure: expected Prediction, got"),
    "how many": (lambda of: visualize.faces_figure(of, max_faces=0), "max_faces: expected a whole number"),
    "shapes": (lambda of: visualize.shapes_figure(of[0].shape, of[0].model), "shapes: expected Mapping"),
    "mesh picture of": (visualize.mesh_picture, f"mesh_picture: {A_FACE}"),
    "mesh picture": (lambda of: visualize.mesh_picture(of[0], side=0), "side: expected a whole number"),
    "limits": (
        lambda of: visualize.mesh_picture(of[0], colour="depth", limits=(0, np.inf)),
        r"limits: expected numbers \(2,\), got NaN or infinity",
    ),
    "colours": (lambda of: vertex_colours(of, "clay"), f"colour: {A_FACE}"),
    "render": (lambda of: render(of.image, list(of)), "meshes: expected pairs of vertices .*, got"),
    "depth": (lambda of: conditions.scene_depth(of.image.shape, "x"), f"scene_depth: {FACES}"),
    "crop": (lambda of: cut_crop(of.image, Crop(0, 0, 0)), "crop: expected .* size above 0, got"),
    "viewer": (lambda of: explore.MeshViewer("photo.jpg"), "MeshViewer: expected Prediction, got"),
    "weights of heads": (lambda of: explore.HeadWeightExplorer(None), "HeadWeightExplorer: expected"),
    "scenes": (explore.SceneExplorer, "SceneExplorer: expected SceneReport, got"),
    "live": (
        lambda of: explore.LiveTrainer(["swish"]),
        "activation: expected one of sigmoid, .*, got 'swish'",
    ),
}


@pytest.mark.parametrize("name", OF_A_PREDICTION)
def test_what_takes_a_prediction_says_what_it_expected(prediction, name):
    call, message = OF_A_PREDICTION[name]
    with pytest.raises((TypeError, ValueError, IndexError), match=message):
        call(prediction)


OF_A_MODEL = {
    "coefficients": (lambda of: of.vertices("x"), r"identity: expected coefficients \(..., 40\), got 'x'"),
    "expression": (lambda of: of.landmarks(None, {}), r"expression: expected coefficients \(..., 10\), got"),
    "how many": (lambda of: of.sample(-1, seed=0), "n: expected a whole number of at least 0, got -1"),
    "seed": (lambda of: of.sample(1, seed="x"), "seed: expected a whole number"),
    "noise": (lambda of: of.fit(np.ones((68, 2)), noise=0), "noise: expected a number above 0, got 0"),
    "points": (lambda of: of.fit("x"), r"landmarks: expected points \(n, 68, 2\), got 'x'"),
    "point weights": (lambda of: of.fit(np.eye(68, 2), weights="x"), "weights: expected weights .*, got 'x'"),
    "arrays": (lambda of: m4kit.FaceModel(arrays={}), "FaceModel: expected arrays mean, .*; got no mean"),
    "path": (lambda of: m4kit.FaceModel.load(5), "FaceModel.load: expected a path, got 5"),
    "reader": (lambda of: m4kit.load("face.npz", model="x"), "model: expected FaceModel, got 'x'"),
    "weights": (lambda of: m4kit.Detector(5), "Detector: expected a name, path or FaceBoxes, got 5"),
    "export": (lambda of: export.save_mesh(5, of.mean, of.triangles), "save_mesh: expected a path, got 5"),
    "box": (lambda of: FaceBox(1, 2, 3, float("nan")), "FaceBox: bottom: expected a number, got nan"),
}


@pytest.mark.parametrize("name", OF_A_MODEL)
def test_what_takes_other_things_says_what_it_expected(model, name):
    call, message = OF_A_MODEL[name]
    with pytest.raises((TypeError, ValueError), match=message):
        call(model)

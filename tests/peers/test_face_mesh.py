"""MediaPipe's face mesh, by a stand-in for its package."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from m4kit.peers import MediaPipe, load_peer
from m4kit.peers.face_mesh import POINTS_68, TASK
from m4kit.weights import WeightsError

from helpers.paths import SAMPLES

EDGES = [
    SimpleNamespace(start=start, end=end) for start, end in ((4, 0), (0, 2), (2, 4), (1, 3), (3, 5), (5, 1))
]
SHARES = np.random.default_rng(0).uniform(0.2, 0.8, (478, 3))
"""What the stand-in finds in each picture that is not black: shares of its side, y down, z away from the viewer."""


def found(picture):
    assert picture.flags.c_contiguous
    return [[SimpleNamespace(x=x, y=y, z=z) for x, y, z in SHARES]] if picture.any() else []


class FaceMesh:
    def __init__(self, *, static_image_mode, max_num_faces, refine_landmarks):
        assert (static_image_mode, max_num_faces, refine_landmarks) == (True, 1, True)

    def process(self, picture):
        faces = [SimpleNamespace(landmark=points) for points in found(picture)]
        return SimpleNamespace(multi_face_landmarks=faces or None)


class FaceLandmarker:
    @classmethod
    def create_from_options(cls, options):
        assert options.base_options.model_asset_path.endswith(TASK)
        return cls()

    def detect(self, image):
        return SimpleNamespace(face_landmarks=found(image.data))


@pytest.fixture(params=["solutions", "tasks"])
def files(request, monkeypatch, tmp_path):
    """Both forms of the package; the newer one needs a file."""
    vision = SimpleNamespace(
        FaceLandmarksConnections=SimpleNamespace(FACE_LANDMARKS_TESSELATION=EDGES),
        FaceLandmarkerOptions=SimpleNamespace,
        FaceLandmarker=FaceLandmarker,
    )
    tasks = SimpleNamespace(vision=vision, BaseOptions=SimpleNamespace)
    package = SimpleNamespace(
        tasks=tasks,
        Image=SimpleNamespace,
        ImageFormat=SimpleNamespace(SRGB="rgb"),
    )
    if request.param == "solutions":
        package.solutions = SimpleNamespace(face_mesh=SimpleNamespace(FaceMesh=FaceMesh))
    monkeypatch.setitem(sys.modules, "mediapipe", package)
    (tmp_path / TASK).touch()
    return tmp_path


def test_its_points_are_in_the_crop_frame_and_a_face_that_is_not_found_is_nan(files):
    crops = np.zeros((2, 120, 120, 3), np.uint8)
    crops[1] = 9
    points, cameras = load_peer("mediapipe", files).predict_crops(crops)
    assert np.isnan(points[0]).all()
    nose = SHARES[POINTS_68[30]]
    np.testing.assert_allclose(points[1, 30], [120 * nose[0] - 60, 60 - 120 * nose[1], -120 * nose[2]])
    assert np.isnan(cameras).all()


def test_its_faces_have_its_mesh_and_no_pose(files):
    prediction = MediaPipe(files)(SAMPLES / "grace_hopper.jpg")
    (face,) = prediction
    on_crop = SHARES[:, :2] * face.crop.size + [face.crop.left, face.crop.top]
    np.testing.assert_allclose(face.vertices[:, :2], on_crop, atol=1e-3)
    np.testing.assert_array_equal(face.landmarks, face.vertices[list(POINTS_68)])
    assert face.triangles.tolist() == [[4, 0, 2], [1, 3, 5]]
    assert np.isnan(face.pose).all()
    assert "yaw unknown" in repr(prediction)
    assert json.loads(prediction.to_json())["faces"][0]["pose_degrees"]["yaw"] is None
    prediction.plot(mesh=True)
    face.plot()
    assert prediction.to_html().startswith("<!DOCTYPE html>")


def test_a_photo_without_a_face_gives_none(files):
    prediction = MediaPipe(files)(np.zeros((90, 90, 3), np.uint8), boxes=[[10, 10, 50, 50]])
    assert len(prediction) == 0


def test_the_map_takes_68_vertices_of_the_face_and_none_of_an_iris():
    assert len(POINTS_68) == len(set(POINTS_68)) == 68
    assert max(POINTS_68) < 468


@pytest.mark.parametrize("files", ["tasks"], indirect=True)
def test_a_missing_model_is_told(files):
    (files / TASK).unlink()
    for folder in (files, None):
        with pytest.raises(WeightsError, match=r"face_landmarker.task: no such file; .*--peer-files"):
            load_peer("mediapipe", folder)


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(WeightsError, match="not installed; pip install mediapipe"):
        load_peer("mediapipe")

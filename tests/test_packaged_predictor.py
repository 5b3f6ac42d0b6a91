"""The packaged networks where others were reported to fail: loose and shaken boxes, nested finds, turned faces."""

import cv2
import numpy as np
import pytest

import m4kit
from m4kit.camera import box_from_crop
from m4kit.datasets import read_aflw2000_3d
from m4kit.landmarks import face_size
from m4kit.metrics import nme

from helpers.paths import SAMPLES, shared_file

PHOTOS = ("astronaut.jpg", "drawn_princess.jpg", "grace_hopper.jpg", "group.jpg", "painted_young_man.jpg")


@pytest.fixture(scope="module")
def predictor():
    return m4kit.Predictor()


@pytest.fixture(scope="module")
def found(predictor):
    """Predictions of ten faces, by their photos' names."""
    return {name: predictor(SAMPLES / name) for name in PHOTOS}


def boxes_of(prediction):
    return np.array([np.asarray(face.box)[:4] for face in prediction])


def grown(boxes, factor):
    """Boxes (n, 4) around the same centres."""
    boxes = np.asarray(boxes)
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([centre - factor * half, centre + factor * half], axis=1)


def landmarks_in(predictor, image, boxes):
    """Landmarks (n, 68, 2) of the faces in boxes (n, 4), one by one, so that their order stays."""
    return np.array([predictor(image, boxes=[box])[0].landmarks[:, :2] for box in boxes])


class Counting:
    """An engine that counts its crops, which must have its size."""

    def __init__(self, engine):
        self.engine, self.notes, self.batch, self.crops = engine, engine.notes, engine.batch, 0

    def __call__(self, pictures):
        assert pictures.shape[1] == int(self.notes["crop_size"])
        self.crops += len(pictures)
        return self.engine(pictures)


def test_m4net_small_places_the_crops_of_faces_that_the_own_detector_finds(monkeypatch):
    predictor = m4kit.Predictor()
    small = Counting(predictor._placing)
    monkeypatch.setattr(predictor, "_placing", small)
    assert small.notes["file"] == "m4net-small"
    found = predictor(SAMPLES / "group.jpg")
    assert small.crops == len(found) == 6
    assert {face.origin.network for face in found} == {predictor.engine.notes["fingerprint"]}
    predictor(SAMPLES / "group.jpg", boxes=boxes_of(found))
    assert small.crops == 6


class TestBoxes:
    @pytest.mark.parametrize("factor", [0.7, 1.5])
    def test_tight_and_loose_boxes_give_nearly_the_same_landmarks(self, predictor, found, factor):
        """DAD-3DHeads #32: landmarks that follow the size of the box."""
        for prediction in found.values():
            own = np.array([face.landmarks[:, :2] for face in prediction])
            others = landmarks_in(predictor, prediction.image, grown(boxes_of(prediction), factor))
            assert nme(others, own).max() < 3
            assert np.median(nme(others, own)) < 1

    def test_the_error_is_that_of_the_own_box_for_boxes_of_07_to_2_times_its_size(self, predictor):
        faces = list(read_aflw2000_3d(shared_file("data/aflw2000_3d_dev.zip")))[::4]
        errors = []
        for factor in (1, 0.7, 1.4, 2.0):
            placed = [
                landmarks_in(predictor, face.image(), grown(box_from_crop(face.crop)[None], factor))[0]
                for face in faces
            ]
            errors.append(np.mean(nme(np.array(placed), np.array([face.landmarks[:, :2] for face in faces]))))
        # Measured: 3.21, 3.20, 3.21 and 3.32 %. With all 500 faces: 2.98, 2.99, 2.99 and 3.12 %.
        assert errors == pytest.approx(errors[:1] * 4, abs=0.2)

    def test_landmarks_hardly_tremble_when_the_box_does(self, predictor, found):
        """3DDFA-V3 #9: landmarks that jitter in a film, where each frame has a slightly different box."""
        prediction, random = found["group.jpg"], np.random.default_rng(0)
        boxes = boxes_of(prediction)
        sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))[:, None]
        shaken = np.array(
            [
                landmarks_in(
                    predictor, prediction.image, boxes + sides * random.uniform(-0.03, 0.03, boxes.shape)
                )
                for _ in range(6)
            ]
        )
        sizes = face_size(shaken.mean(axis=0))
        tremble = 100 * np.linalg.norm(shaken - shaken.mean(axis=0), axis=-1).mean(axis=(0, 2)) / sizes
        assert tremble.mean() < 0.3

    def test_no_face_is_found_within_another(self, found):
        """facerecognition #271: a box around a head, and one around its mouth or nose."""
        for prediction in found.values():
            boxes = boxes_of(prediction)
            low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
            high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
            shared = np.clip(high - low, 0, None).prod(axis=-1)
            area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
            within = shared / np.minimum(area[:, None], area[None])
            assert within[~np.eye(len(boxes), dtype=bool)].max(initial=0) < 0.5


class TestAngles:
    """HeadPoseEstimate #4: which way is positive? The photo decides, whatever the conventions in between."""

    def test_in_a_mirror_yaw_and_roll_change_their_sign_and_pitch_stays(self, predictor, found):
        for prediction in found.values():
            width, boxes = prediction.image.shape[1], boxes_of(prediction)
            mirrored = np.ascontiguousarray(prediction.image[:, ::-1])
            for face, (left, top, right, bottom) in zip(prediction, boxes, strict=True):
                (other,) = predictor(mirrored, boxes=[[width - 1 - right, top, width - 1 - left, bottom]])
                yaw, pitch, roll = face.pose
                assert other.pose == pytest.approx((-yaw, pitch, -roll), abs=4)

    @pytest.mark.parametrize("degrees", [-20, 20])
    def test_a_photo_turned_clockwise_adds_to_the_roll(self, predictor, found, degrees):
        for name in ("grace_hopper.jpg", "astronaut.jpg"):
            image, (box, *_) = found[name].image, boxes_of(found[name])
            # OpenCV's angle is anticlockwise.
            turn = cv2.getRotationMatrix2D(((box[:2] + box[2:]) / 2).tolist(), -degrees, 1)
            turned = cv2.warpAffine(image, turn, image.shape[1::-1])
            (face,) = predictor(turned, boxes=[box])
            assert face.pose.roll - found[name][0].pose.roll == pytest.approx(degrees, abs=4)

    def test_positive_yaw_looks_to_the_photos_left_and_positive_roll_leans_clockwise(self, found):
        """By eye: in group.jpg the woman at the lower left looks to the left and leans clockwise, the man above the
        middle looks to the right and leans anticlockwise."""
        poses = {
            round(face.box.left, -2): face.pose for face in found["group.jpg"] if abs(face.pose.roll) > 10
        }
        assert {left: (pose.yaw > 0, pose.roll > 0) for left, pose in poses.items()} == {
            100: (True, True),
            500: (False, False),
        }

"""The data sets of the training: points in the crop frame, people held out whole, and crops."""

import zipfile

import cv2
import numpy as np
import pytest

from m4kit.training import TrainingError
from m4kit.training.data import read_crops
from m4kit.training.sources import read_source


def test_aflws_points_come_into_the_crop_frame_and_unseen_ones_stay_out(tmp_path):
    points = np.full((2, 2, 21), -1.0)
    # A box of 240 photo pixels from (100, 50): its centre, and its upper left corner.
    points[0, :, 3] = 100 + 120, 50 + 120
    points[0, :, 5] = 100, 50
    points[1, :, 20] = 30, 10
    roi = np.array([[100, 50, 340, 290], [0, 0, 60, 30]])
    np.savez(tmp_path / "aflw_train.npz", names=["a.jpg", "b.jpg"], pts21=points, roi=roi)
    source = read_source(tmp_path, "aflw_train")
    assert source.names == ["a.jpg", "b.jpg"]
    seen_points = source.points21
    assert seen_points[0, 3].tolist() == [0, 0]
    assert seen_points[0, 5].tolist() == [-60, 60]
    # A box that the photo's edge clipped is stretched, 2 and 4 crop pixels a photo pixel.
    assert seen_points[1, 20].tolist() == [0, 20]
    assert np.isfinite(seen_points).all(axis=2).sum() == 3
    assert np.isnan(source.points68).all()
    assert source.validation.shape == (2,)
    assert source.people is None


def test_the_people_of_videos_are_held_out_whole(tmp_path):
    people = np.repeat([f"person{number}" for number in range(200)], 3)
    points = np.broadcast_to(np.array([64.0, 32.0]), (600, 68, 2))
    names = [f"{number}.jpg" for number in range(600)]
    np.savez(tmp_path / "youtube_faces.npz", names=names, pts68=points, identity=people)
    source = read_source(tmp_path, "youtube_faces")
    # Crops of 128 pixels: the middle, and a quarter of the height above it.
    assert (source.points68 == [0, 30]).all()
    assert np.isnan(source.points21).all()
    held = source.validation.reshape(200, 3)
    assert (held.all(axis=1) == held.any(axis=1)).all()
    assert 5 < held.all(axis=1).sum() < 40


def test_crops_are_read_as_rgb_of_120_pixels(tmp_path):
    with zipfile.ZipFile(tmp_path / "crops.zip", "w") as archive:
        for name, side in (("same.png", 120), ("larger.png", 128)):
            red = np.zeros((side, side, 3), np.uint8)
            red[..., 2] = 255
            archive.writestr(name, cv2.imencode(".png", red)[1].tobytes())
    crops = read_crops(tmp_path / "crops.zip", ["larger.png", "same.png"])
    assert (crops.shape, crops.dtype) == ((2, 120, 120, 3), np.uint8)
    assert (crops == [255, 0, 0]).all()
    with pytest.raises(TrainingError, match=r"1 of 2 crops are missing or unreadable \(gone.png"):
        read_crops(tmp_path / "crops.zip", ["same.png", "gone.png"])

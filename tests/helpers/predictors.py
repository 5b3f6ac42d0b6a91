"""Detectors and networks whose answers are known, for tests of what predicts photos with them."""

import numpy as np
import pandas
import torch
from PIL import Image

from m4kit.camera import rotation_from_euler
from m4kit.network import M4Net
from m4kit.predictor import Predictor


def frontal(scale=0.55):
    """The camera of a face that fills the crop and looks straight ahead, a little turned, (12,)."""
    return np.column_stack([scale * rotation_from_euler(8, -5, 3), [1, 2, 0]]).ravel()


def network_around(camera, *, spread):
    """A small random network that answers with the mean face under a camera, give or take `spread`."""
    torch.manual_seed(0)
    network = M4Net("small")
    with torch.no_grad():
        network.parameter_mean[:12] = torch.tensor(camera)
        network.parameter_std[:12] = spread * torch.tensor(np.abs(camera))
        network.parameter_std[12:] = spread
        for head in network.spatial_heads:
            head.linear.weight *= 10
        network.last_head.weight *= 10
    return network.eval()


def saved_network(folder):
    """The path, as text, of such a network's weights, which it writes into a folder; its camera is `frontal`."""
    path = folder / "small.safetensors"
    network_around(frontal(), spread=0.1).save(path)
    return str(path)


def read_table(folder):
    """A table of faces in the order of its photos."""
    return pandas.read_parquet(folder).sort_values(["photo", "face"], ignore_index=True)


def assert_same_table(table, other):
    """Both have the same photos with the same faces."""
    assert table["photo"].tolist() == other["photo"].tolist()
    for name in ("face", "left", "yaw", "crop_size", "failure_probability"):
        np.testing.assert_allclose(table[name].astype(float), other[name].astype(float), atol=0.01)


def finds(boxes):
    """A detector that always finds the same boxes."""
    return lambda image: np.array(boxes)


def boxed(predictor, *boxes, **options):
    """The same predictor with a detector that always finds these boxes (left, top, right, bottom, score)."""
    detector = finds(np.array(boxes, dtype=float).reshape(-1, 5))
    return Predictor(
        detector=detector, network=predictor.network, model=predictor.model, threshold=0.0, **options
    )


def by_width(image):
    """A detector: one box for each 100 pixels of width."""
    return np.array([[100 * k + 10, 20, 100 * k + 90, 100] for k in range(image.shape[1] // 100)]).reshape(
        -1, 4
    )


def noise(width, seed=0):
    """A photo of 120 pixels' height, coarse noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, 120), Image.Resampling.BICUBIC))

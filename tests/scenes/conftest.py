"""A clean photo, a predictor and its prediction, for several test files."""

import cv2
import pytest

from m4kit.images import load_image
from m4kit.predictor import Predictor

from helpers.paths import SAMPLES


@pytest.fixture(scope="module")
def photo():
    return cv2.resize(load_image(SAMPLES / "grace_hopper.jpg"), (256, 300), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def predictor():
    return Predictor()


@pytest.fixture(scope="module")
def clean(photo, predictor):
    return predictor(photo)

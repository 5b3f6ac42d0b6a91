"""Fixtures that several test files share."""

import importlib.util
import os

import pytest

from m4kit import predict_video
from m4kit.explore.canvas import Canvas
from m4kit.face_model import packaged_model
from m4kit.peers import FOLDER

from helpers.lab_browser import jupyter_browser
from helpers.paths import SAMPLES

# The notebooks' outputs are those without peers.
os.environ.pop(FOLDER, None)


@pytest.fixture(scope="session")
def browser():
    """A browser, as a playwright `Browser`: one for all tests, because playwright runs only once per process."""
    if jupyter_browser.chromium() is None:
        pytest.skip("there is no Chromium on this machine")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed")
    with jupyter_browser.browser() as started:
        yield started


@pytest.fixture(scope="session")
def model():
    """The packaged face model."""
    return packaged_model()


@pytest.fixture(scope="session")
def video():
    """Every third frame of the clip of two people, read to its end."""
    video = predict_video(SAMPLES / "two_people.mp4", every=3, progress=False)
    video.to_dataframe()
    return video


@pytest.fixture
def sent(monkeypatch):
    """All that any canvas sends, as (content, buffers)."""
    messages = []
    monkeypatch.setattr(
        Canvas, "send", lambda self, content, buffers=None: messages.append((content, buffers or []))
    )
    return messages

"""The packaged face model, and one thread, for several test files."""

import pytest
import torch

from m4kit.face_model import FaceModel


@pytest.fixture(scope="package")
def model():
    return FaceModel.load()


@pytest.fixture
def one_thread():
    """Batch norm over a few faces makes much of another order of summation."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

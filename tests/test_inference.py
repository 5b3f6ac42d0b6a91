"""PyTorch runs networks on one thread and in float32, whatever its settings are, and leaves them as they were."""

import os
import pickle
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import m4kit
from m4kit.camera import cut_square
from m4kit.inference import one_thread
from m4kit.network import M4Net
from m4kit.predictor import Predictor

from helpers.paths import ROOT, SAMPLES

THREADS = 3
"""The user's number, which is neither ours nor, most likely, the machine's."""


def mkl_threads():
    """The number of MKL's threads, None if torch is built without MKL."""
    found = re.search(r"mkl_get_max_threads\(\) : (\d+)", torch.__config__.parallel_info())
    return found and int(found[1])


@pytest.fixture
def users_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    assert torch.get_num_threads() == THREADS
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def photo():
    return m4kit.load_image(SAMPLES / "grace_hopper.jpg")


@pytest.fixture(scope="module")
def faces(photo):
    """What the packaged networks find with torch's settings as they are by default."""
    return Predictor(engine="torch")(photo)


def watched(inside):
    """A small network that calls `inside` whenever it runs."""
    torch.manual_seed(0)
    network = M4Net("small").eval()
    network.backbone.register_forward_hook(lambda *_: inside())
    return network


@pytest.mark.usefixtures("users_threads")
class TestThreads:
    def test_networks_run_on_one_thread_and_the_users_detector_on_the_users(self, photo):
        in_network, in_detector = [], []

        def detector(image):
            in_detector.append(torch.get_num_threads())
            return m4kit.Detector(engine="torch")(image)

        network = watched(lambda: in_network.append((torch.get_num_threads(), mkl_threads())))
        Predictor(network=network, detector=detector)(photo)
        assert in_detector == [THREADS]
        assert in_network == [(1, mkl_threads() and 1)] * 2

    def test_other_threads_keep_their_number_meanwhile(self, photo):
        inside, seen = threading.Event(), threading.Event()
        others = []

        def wait():
            inside.set()
            assert seen.wait(20)

        def other():
            assert inside.wait(20)
            others.extend([torch.get_num_threads(), mkl_threads()])
            seen.set()

        thread = threading.Thread(target=other)
        thread.start()
        Predictor(network=watched(wait), passes=1)(photo, boxes=[[10, 10, 60, 60]])
        thread.join()
        assert others == [THREADS, mkl_threads() and THREADS]

    def test_the_number_returns_after_an_error(self, photo):
        def fail():
            raise RuntimeError("on purpose")

        with pytest.raises(RuntimeError, match="on purpose"):
            Predictor(network=watched(fail))(photo, boxes=[[10, 10, 60, 60]])
        assert (torch.get_num_threads(), mkl_threads()) == (THREADS, mkl_threads() and THREADS)

    def test_limits_within_limits_end_one_by_one(self):
        with one_thread():
            with one_thread():
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == THREADS

    def test_it_holds_in_a_thread_that_has_not_used_torch_before(self):
        def numbers():
            with one_thread():
                torch.ones(200, 200) @ torch.ones(200, 200)
                within = torch.get_num_threads()
            return within, torch.get_num_threads()

        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(numbers).result() == (1, THREADS)

    def test_photos_side_by_side_give_the_same_faces_bit_for_bit(self, photo, faces):
        predictor = Predictor(engine="torch")
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(predictor, [photo] * 8):
                np.testing.assert_array_equal(found[0].heads, faces[0].heads)
                np.testing.assert_array_equal(found[0].landmarks, faces[0].landmarks)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_predicts_after_its_parent_has_used_threads():
    script = f"""if True:
        import multiprocessing, warnings
        import numpy as np, torch
        import m4kit

        photo = {str(SAMPLES / "grace_hopper.jpg")!r}
        def landmarks(_):
            face = m4kit.Predictor(engine="torch")(photo)[0]
            face.model.vertices(face.identity), face.model.fit(face.landmarks * [1, -1, 1])
            assert len(m4kit.Detector(engine="torch")(face.origin.image)) == 1
            return face.landmarks

        torch.set_num_threads(2)
        torch.nn.Conv2d(16, 16, 3)(torch.zeros(4, 16, 200, 200))
        torch.ones(800, 800) @ torch.ones(800, 800)
        expected = landmarks(0)
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            found = pool.map_async(landmarks, [0]).get(timeout=60)
        np.testing.assert_array_equal(found[0], expected)
        print("the same face")
    """
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.stdout.strip() == "the same face", ended.stderr


@contextmanager
def changed(change, value, before):
    """Change one of torch's global settings for a while."""
    change(value)
    try:
        yield
    finally:
        change(before)


SETTINGS = {
    "float64 by default": lambda: changed(torch.set_default_dtype, torch.float64, torch.float32),
    "another device by default": lambda: changed(torch.set_default_device, "meta", None),
    "deterministic algorithms": lambda: changed(torch.use_deterministic_algorithms, True, False),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
class TestSettings:
    def test_the_same_faces_are_found(self, setting, photo, faces):
        with setting():
            found = Predictor(engine="torch")(photo)
            landmarks, vertices = found[0].landmarks, found[0].vertices
        np.testing.assert_array_equal(found[0].heads, faces[0].heads)
        np.testing.assert_array_equal(landmarks, faces[0].landmarks)
        np.testing.assert_array_equal(vertices, faces[0].vertices)

    def test_what_was_loaded_is_on_the_cpu_and_can_be_trained(self, setting, photo, faces):
        with setting():
            network = M4Net.load("m4net-small")
        crop = cut_square(photo, faces[0].crop, network.crop_size)
        pixels = torch.tensor(crop[None]).permute(0, 3, 1, 2) / 255
        network(pixels).square().sum().backward()
        assert network.last_head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("kind", "pixels"), [(torch.float64, 0.01), (torch.bfloat16, 3)])
def test_a_network_of_another_precision_predicts_in_float32(photo, kind, pixels):
    found, usual = (Predictor(network=network)(photo) for network in (M4Net.load().to(kind), M4Net.load()))
    assert found[0].heads.dtype == np.float32
    np.testing.assert_allclose(found[0].landmarks, usual[0].landmarks, atol=pixels)


def test_a_predictor_goes_to_another_process_and_predicts_there(photo, faces):
    found = pickle.loads(pickle.dumps(Predictor(engine="torch")))(photo)
    np.testing.assert_array_equal(found[0].heads, faces[0].heads)

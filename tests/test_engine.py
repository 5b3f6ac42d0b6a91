"""Each engine gives PyTorch's answers, exactly or closely, in every process and thread, and says what is missing."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
import torch

import m4kit
from m4kit import engine as engines
from m4kit import metrics
from m4kit.boxes import pairwise_iou
from m4kit.camera import crop_from_box, cut_crop
from m4kit.detector import Detector
from m4kit.engine import EngineError, OnnxEngine, TorchEngine, exported_model, make_engine
from m4kit.face_model import FaceModel
from m4kit.faceboxes import FaceBoxes, load_network
from m4kit.network import ACTIVATIONS, M4Net
from m4kit.parameters import fuse, landmarks_in_crop
from m4kit.predictor import Predictor
from m4kit.views import of_side
from m4kit.weights import WeightsError, fingerprint, registry, resolve, sha256_of

from helpers.paths import ROOT, SAMPLES, script_fixture

INTEGER = ["m4net-base", "m4net-small"]
PACKAGED = [name for name, source in registry().items() if source.url is None]
M4NETS = [name for name in PACKAGED if name.startswith("m4net")]

exporter = script_fixture("export_engines")


@pytest.fixture(scope="module")
def model():
    return FaceModel.load()


@pytest.fixture(scope="module")
def crops():
    """64 crops (64, 120, 120, 3) around the sixteen faces of two photos, at four places each."""
    random, cut = np.random.default_rng(0), []
    for name in ("group.jpg", "large_group.jpg"):
        image = m4kit.load_image(SAMPLES / name)
        for box in np.repeat(Detector(engine="torch")(image)[:, :4], 4, axis=0):
            side = box[2] - box[0]
            cut.append(cut_crop(image, crop_from_box(box + random.normal(0, 0.05 * side, 4))))
    assert len(cut) == 64
    return np.array(cut)


@pytest.fixture(scope="module")
def small_crops(crops):
    """The same crops at m4net-small's size."""
    return crops_of("m4net-small", crops)


def crops_of(name, crops):
    return of_side(crops, M4Net.load(name).crop_size)


def assert_same_faces(model, answers, expected):
    """Every head places every landmark within a thousandth of a crop pixel, with the same weight."""
    (heads, weights), (true_heads, true_weights) = answers, expected
    assert heads.shape == true_heads.shape and heads.dtype == np.float32
    found, true = (landmarks_in_crop(model, one.reshape(-1, 62)) for one in (heads, true_heads))
    assert np.linalg.norm(found - true, axis=-1).max() < 1e-3
    np.testing.assert_allclose(weights, true_weights, atol=1e-6)


class TestSameAnswers:
    @pytest.mark.parametrize("name", M4NETS)
    def test_every_head_places_the_landmarks_where_pytorch_does(self, name, model, crops):
        fast, crops = make_engine(name, M4Net.load, engine="onnx"), crops_of(name, crops)
        assert fast.name == "onnx"
        expected = make_engine(name, M4Net.load, engine="torch")(crops)
        # The sizes of batches: the answers must not depend on them.
        for size in (1, 7, 64):
            answers = fast(crops[:size])
            assert_same_faces(model, answers, [part[:size] for part in expected])

    @pytest.mark.parametrize("min_face", [None, 40])
    def test_the_detector_finds_the_same_boxes(self, min_face):
        image = m4kit.load_image(SAMPLES / "large_group.jpg")
        found, expected = (
            Detector(engine=name)(image, threshold=0.05, min_face=min_face) for name in ("onnx", "torch")
        )
        assert len(found) >= 10
        np.testing.assert_allclose(found, expected, atol=1e-3)

    def test_photos_have_the_same_faces(self):
        found, expected = (Predictor(engine=name)(SAMPLES / "group.jpg") for name in ("onnx", "torch"))
        assert len(found) == 6
        for one, other in zip(found, expected, strict=True):
            # The second crop follows the landmarks of the first, so rounding moves its pixels.
            np.testing.assert_allclose(one.landmarks, other.landmarks, atol=0.05)
            assert one.origin.network == other.origin.network != ""
            assert one.origin.detector == other.origin.detector != ""
            assert one.failure_probability == pytest.approx(other.failure_probability, abs=1e-3)
        assert found.network == expected.network != ""

    def test_pictures_may_be_read_only_or_not_contiguous(self, small_crops):
        fast = make_engine("m4net-small", M4Net.load)
        mirrored = small_crops[:2, :, ::-1]
        mirrored.flags.writeable = False
        np.testing.assert_array_equal(fast(mirrored)[0], fast(mirrored.copy())[0])


class TestIntegers:
    """The model card tells how much the answers of "int8" differ from those in fp32."""

    @pytest.mark.parametrize("name", INTEGER)
    def test_landmarks_are_close_to_those_in_fp32(self, name, model, crops):
        fast, exact = (make_engine(name, M4Net.load, engine=engine) for engine in ("int8", "onnx"))
        crops = crops_of(name, crops)
        (heads, weights), (true_heads, true_weights) = fast(crops), exact(crops)
        np.testing.assert_allclose(weights, true_weights, atol=1e-6)
        for parts, most in (
            ((heads, true_heads), 0.6),
            ((fuse(heads, weights), fuse(true_heads, weights)), 0.3),
        ):
            found, true = (landmarks_in_crop(model, one.reshape(-1, 62)) for one in parts)
            assert metrics.nme(found, true).mean() < most

    @pytest.mark.parametrize("name", INTEGER)
    def test_answers_do_not_depend_on_the_batch(self, name, crops):
        fast, crops = make_engine(name, M4Net.load, engine="int8"), crops_of(name, crops)
        together = fast(crops)[0]
        for size in (1, 7):
            np.testing.assert_allclose(fast(crops[:size])[0], together[:size], rtol=1e-4, atol=1e-4)

    def test_no_sum_of_two_products_overflows_16_bits(self):
        """Processors without VNNI keep such sums: the answers are the same there."""
        for name in [*INTEGER, "faceboxes"]:
            model = onnx.load(exported_model(name, "int8"), load_external_data=False)
            weights = [one for one in model.graph.initializer if one.data_type == onnx.TensorProto.INT8]
            largest = max(np.abs(onnx.numpy_helper.to_array(one).astype(int)).max() for one in weights)
            assert 2 * 255 * largest < 2**15

    def test_the_detector_finds_the_same_faces(self):
        image = m4kit.load_image(SAMPLES / "large_group.jpg")
        found, expected = (Detector(engine=name)(image) for name in ("int8", "onnx"))
        assert len(found) == len(expected) >= 10
        overlap = pairwise_iou(found[:, :4], expected[:, :4])
        assert overlap.max(axis=1).min() > 0.9
        np.testing.assert_allclose(found[:, 4], expected[overlap.argmax(axis=1), 4], atol=0.05)

    def test_photos_have_nearly_the_same_faces(self):
        found, expected = (Predictor(engine=name)(SAMPLES / "group.jpg") for name in ("int8", "onnx"))
        assert len(found) == len(expected) == 6
        for one, other in zip(found, expected, strict=True):
            assert metrics.nme(one.landmarks[None], other.landmarks[None])[0] < 1
            assert one.origin.network == other.origin.network
            assert one.failure_probability == pytest.approx(other.failure_probability, abs=0.1)


class TestExport:
    def test_every_packaged_model_belongs_to_the_packaged_weights(self):
        """Failed? Run `python scripts/export_engines.py`, and commit what it writes."""
        hashes = json.loads((ROOT / "m4kit/assets" / engines.EXPORTED).read_text(encoding="utf-8"))
        assert sorted(hashes) == sorted(PACKAGED)
        for name in PACKAGED:
            network = M4Net.load(name) if name in M4NETS else load_network()
            for engine in hashes[name]:
                model = OnnxEngine(exported_model(name, engine))
                assert model.name == engine
                notes = model.notes
                weights = json.loads(notes.pop("weights"))
                assert notes == network.facts()
                assert notes["fingerprint"] == fingerprint(network)
                assert weights[resolve(name).name] == sha256_of(resolve(name))

    def test_models_are_small_because_their_numbers_are_those_of_the_weights(self):
        for name in PACKAGED:
            assert exported_model(name, "onnx").stat().st_size < 100_000

    @pytest.mark.parametrize(
        "kind", [*((name, "static") for name in ACTIVATIONS), ("relu", "dynamic")], ids="-".join
    )
    def test_weights_of_ones_own_are_exported_beside_their_file(self, exporter, model, crops, tmp_path, kind):
        torch.manual_seed(0)
        path = tmp_path / "my.safetensors"
        M4Net("small", *kind).save(path, half="dynamic" in kind)
        assert make_engine(path, M4Net.load).name == "torch"
        exporter.main([str(path)])
        fast = make_engine(path, M4Net.load)
        assert fast.name == "onnx"
        assert_same_faces(model, fast(crops[:3]), TorchEngine(M4Net.load(path))(crops[:3]))

    def test_a_network_with_smaller_crops_is_exported_too(self, exporter, model, tmp_path):
        M4Net("small", crop_size=64).save(tmp_path / "own.safetensors")
        exporter.main([str(tmp_path / "own.safetensors")])
        found = []
        for name in ("onnx", "torch"):
            predictor = Predictor(network=tmp_path / "own.safetensors", engine=name, model=model)
            found.append(predictor(SAMPLES / "grace_hopper.jpg")[0].landmarks)
        np.testing.assert_allclose(found[0], found[1], atol=0.01)

    def test_weights_of_ones_own_get_integers_from_calibration_crops(self, exporter, model, crops, tmp_path):
        path = tmp_path / "my.safetensors"
        M4Net.load("m4net-small").save(path)
        with pytest.raises(EngineError, match=r"engine 'int8' needs .*my.safetensors --calibration DATA, in"):
            make_engine(path, M4Net.load, engine="int8")
        models = exporter.export(str(path), crops[::2])
        assert models == {"onnx": tmp_path / "my.onnx", "int8": tmp_path / "my_int8.onnx"}
        fast = make_engine(path, M4Net.load)
        assert fast.name == "int8"
        others = crops_of(path, crops[1::2])
        found, true = (fuse(*one(others)) for one in (fast, TorchEngine(M4Net.load(path))))
        assert metrics.nme(landmarks_in_crop(model, found), landmarks_in_crop(model, true)).mean() < 0.5

    def test_integers_need_relu(self, exporter, crops):
        with pytest.raises(ValueError, match="int8: expected a network with relu, got gelu; leave out --cal"):
            exporter.in_integers(M4Net("small", "gelu"), crops[:16])

    def test_a_model_of_other_weights_than_those_beside_it_is_refused(self, tmp_path):
        for suffix in (".safetensors", ".onnx"):
            shutil.copy(resolve("m4net-small").with_suffix(suffix), tmp_path)
        network = M4Net.load("m4net-small").fix_head_weights([0, 0, 0, 1])
        path = tmp_path / "m4net_small.safetensors"
        network.save(path, half=True)
        message = (
            r"m4net_small.onnx: (exported from another m4net_small.safetensors|expected).*export_engines.py"
        )
        with pytest.raises(WeightsError, match=message):
            Predictor(network=path)
        assert Predictor(network=path, engine="torch").engine.name == "torch"


class TestChoice:
    def test_the_default_is_int8_for_packaged_weights_and_torch_for_objects(self):
        assert Predictor().engine.name == Predictor().detector.engine.name == "int8"
        network = M4Net("small")
        assert Predictor(network=network).engine.name == Detector(FaceBoxes()).engine.name == "torch"

    def test_the_network_is_there_when_someone_asks(self):
        predictor = Predictor(network="m4net-small")
        assert fingerprint(predictor.network) == predictor.engine.notes["fingerprint"]
        assert fingerprint(predictor.detector.network) == predictor.detector.engine.notes["fingerprint"]

    def test_auto_is_a_device_that_is_there(self, small_crops):
        engine = make_engine("m4net-small", M4Net.load, engine="torch", device="auto")
        assert engine.device == ("cuda" if torch.cuda.is_available() else engine.device)
        expected = make_engine("m4net-small", M4Net.load, engine="onnx")(small_crops[:2])
        np.testing.assert_allclose(engine(small_crops[:2])[0], expected[0], atol=1e-3)


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"engine": "tensorrt"}, "engine: expected one of int8, onnx, torch, got 'tensorrt'"),
            ({"device": "gpu"}, "device: expected one of cpu, cuda, mps, auto, got 'gpu'"),
            ({"threads": 0}, "threads: expected a whole number of at least 1, got 0"),
            ({"engine": "torch", "threads": 0}, "threads: expected a whole number of at least 1, got 0"),
            (
                {"engine": "onnx", "device": "cuda"},
                "engine 'onnx' runs on the CPU, got 'cuda'; give engine='t",
            ),
        ],
    )
    def test_choices_that_do_not_exist_are_refused(self, options, message):
        for make in (Predictor, Detector):
            with pytest.raises(ValueError, match=message):
                make(**options)

    @pytest.mark.parametrize("device", ["cuda", "mps"])
    def test_a_device_that_is_not_there_is_refused(self, monkeypatch, device):
        for module in (torch.cuda, torch.backends.mps):
            monkeypatch.setattr(module, "is_available", lambda: False)
        with pytest.raises(
            EngineError, match=rf"expected one that PyTorch finds here \(cpu\), got '{device}'; "
        ):
            Predictor(device=device)

    def test_an_engine_that_is_not_installed_is_an_error_and_not_another_engine(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        for options in ({}, {"engine": "onnx"}):
            with pytest.raises(EngineError, match="pip install onnxruntime, or give engine='torch'"):
                Predictor(**options)
        assert Predictor(engine="torch").engine.name == "torch"

    def test_onnx_without_an_exported_model_says_how_to_export_one(self, tmp_path):
        network = M4Net("small")
        network.save(tmp_path / "my.safetensors")
        with pytest.raises(
            EngineError, match=r"my.safetensors: .* exported model.*; python .*export_engines.py"
        ):
            Predictor(network=tmp_path / "my.safetensors", engine="onnx")
        with pytest.raises(EngineError, match=r"given as an object, got 'onnx'; save it .*export_engines.py"):
            Predictor(network=network, engine="onnx")

    def test_a_packaged_model_with_another_hash_is_refused(self, monkeypatch):
        monkeypatch.setattr(engines, "_hashes", lambda: {"m4net-small": {"int8": "0" * 64}})
        with pytest.raises(
            WeightsError, match=r"m4net_small_int8.onnx: expected SHA-256 0000.*; install m4kit again"
        ):
            Predictor(network="m4net-small")

    def test_a_broken_model_is_refused(self, tmp_path):
        (tmp_path / "my.onnx").write_bytes(b"no model")
        with pytest.raises(
            WeightsError, match=r"my.onnx: expected an exported model .*export_engines.py my.saf"
        ):
            OnnxEngine(tmp_path / "my.onnx")

    def test_after_an_error_the_answers_are_the_same(self, small_crops):
        for name in ("onnx", "torch"):
            engine = make_engine("m4net-small", M4Net.load, engine=name)
            before = engine(small_crops[:2])
            with pytest.raises(Exception, match=r"120|shape|dimension"):
                engine(small_crops[:2, :50])
            np.testing.assert_array_equal(engine(small_crops[:2])[0], before[0])


class TestThreads:
    def test_threads_are_as_many_as_asked_for_and_do_not_spin(self):
        for threads in (1, 2):
            options = make_engine("m4net-small", M4Net.load, threads=threads)._session.get_session_options()
            assert options.intra_op_num_threads == threads
            assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"

    @pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs Linux's list of threads")
    def test_one_thread_is_the_callers(self, small_crops):
        before = len(os.listdir("/proc/self/task"))
        engine = make_engine("m4net-small", M4Net.load)
        engine(small_crops)
        assert len(os.listdir("/proc/self/task")) == before
        two = make_engine("m4net-small", M4Net.load, threads=2)
        assert len(os.listdir("/proc/self/task")) == before + 1
        np.testing.assert_allclose(two(small_crops)[0], engine(small_crops)[0], atol=1e-4)

    @pytest.mark.parametrize("name", ["int8", "onnx", "torch"])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_eight_threads_at_once_get_the_serial_answers(self, name, threads, small_crops):
        engine = make_engine("m4net-small", M4Net.load, engine=name, threads=threads)
        parts = np.split(small_crops, 16)
        expected = [engine(part)[0] for part in parts]
        with ThreadPoolExecutor(8) as pool:
            for answers, one in zip(pool.map(engine, parts * 2), expected * 2, strict=True):
                np.testing.assert_array_equal(answers[0], one)


SCRIPT = """
import multiprocessing, os, signal, sys, threading, time, warnings
import numpy as np
import m4kit

photo = m4kit.load_image(sys.argv[1])
predictor = m4kit.Predictor(engine=sys.argv[2], threads=2)

def heads(predictor):
    return np.array([face.heads for face in predictor(photo)])

def in_fork(_):
    return heads(predictor)

if __name__ == "__main__":
    expected = heads(predictor)
    same = lambda found: np.testing.assert_allclose(found, expected, rtol=0, atol=float(sys.argv[3]))
    warnings.simplefilter("ignore", DeprecationWarning)
    if hasattr(os, "fork"):
        with multiprocessing.get_context("fork").Pool(1) as pool:
            same(pool.map_async(in_fork, [0]).get(timeout=120)[0])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        same(pool.map_async(heads, [predictor]).get(timeout=300)[0])
    # A shell's background job ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.02, signal.raise_signal, [signal.SIGINT]).start()
    try:
        while True:
            predictor(photo)
    except KeyboardInterrupt:
        same(heads(predictor))
        print("the same faces")
"""


# A forked process takes one thread of PyTorch, which rounds sums in another order than two.
@pytest.mark.parametrize(("name", "difference"), [("int8", "0"), ("torch", "0.01")])
def test_forked_and_spawned_processes_and_one_after_ctrl_c_find_the_same_faces(name, difference, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, script, SAMPLES / "group.jpg", name, difference],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.stdout.strip() == "the same faces", ended.stderr

"""The benchmark's table and the peer's chain in ONNX Runtime."""

import os
import sys
import warnings

import cv2
import numpy as np
import psutil
import pytest

from m4kit.images import load_image
from m4kit.peers import TddfaV2

from helpers.paths import SAMPLES, script_fixture, shared_file

run = script_fixture("run", folder="benchmarks")
comparisons = script_fixture("comparisons", folder="benchmarks")
chain = script_fixture("tddfa_v2_chain", folder="benchmarks")
machine = script_fixture("machine", folder="benchmarks")


@pytest.fixture
def own_threads():
    """Restores the number of threads that the command sets."""
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


@pytest.fixture(scope="module")
def files(chain, tmp_path_factory):
    """The chain's files, from 3DDFA-V2's."""
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("chain")
    with warnings.catch_warnings():
        # PyTorch has a newer exporter, which needs another package.
        warnings.simplefilter("ignore")
        peer_files = shared_file("peers/3ddfa_v2/mb1_120x120.onnx").parent
        chain.prepare(peer_files, shared_file("peers/faceboxes/FaceBoxesProd.pth"), folder)
    return folder


def test_a_ratio_is_the_median_of_the_rounds_and_a_missing_peer_is_named(run, comparisons):
    times = {"m4kit": np.array([2.0, 30.0, 4.0]), "peer": np.array([4.0, 20.0, 10.0]), "other": None}
    row = comparisons.Comparison("a", "a crop", times, notes={"peer": "found 3"})
    assert run.comparison_table([row]).split("\n")[2:] == [
        "| a | a crop | 4.00 ms | peer | 10.0 ms (found 3) | 0.50 |",
        "| a | a crop | 4.00 ms | other | missing |  |",
        "",
        "Missing: other (--peer-files, --faceboxes, onnx).",
    ]


def test_the_command_measures_a_row_without_any_peer(run, own_threads, capsys):
    run.main(["--only", "a", "--rounds", "1"])
    lines = capsys.readouterr().out.split("\n")
    assert "Others took" in lines[0]
    assert [line.split("|")[1:3] for line in lines if line.startswith("| a")] == [
        [" a ", f" {size}, one crop: {work} "]
        for size in ("base", "small")
        for work in ("network", "box to landmarks")
    ]
    assert "Missing: 3DDFA-V2 mb1 (--peer-files, --faceboxes, onnx)." in lines


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_rows_on_many_photos_count_each_of_them(run, own_threads, capsys):
    run.main(["--only", "i,m", "--rounds", "1", "--photos", "3", "--memory-photos", "20"])
    bulk, memory = (line for line in capsys.readouterr().out.split("\n") if line[:3] in ("| i", "| m"))
    assert "ms of CPU" in bulk
    assert "20 photos to a table, 20 of them of 450x450" in memory
    assert float(memory.split("|")[3].split()[0]) > 0


@pytest.mark.skipif(sys.platform == "win32", reason="sessions and signals of POSIX")
def test_busy_processes_share_a_session_rest_and_work_and_end(machine):
    before = psutil.Process().children(recursive=True)
    with machine.busy_processes(2) as busy:
        started = [one for one in psutil.Process().children() if one not in before]
        processes = [one for child in started for one in child.children()]
        processes = [one for one in processes if os.getsid(one.pid) != os.getsid(0)]
        assert len(processes) == 2 and len({os.getsid(one.pid) for one in processes}) == 1
        assert {one.status() for one in processes} == {psutil.STATUS_STOPPED}
        busy.work()
        assert psutil.STATUS_STOPPED not in {one.status() for one in processes}
    assert not any(one.is_running() for one in processes)


@pytest.mark.parametrize("network", ["mb1", "mb05"])
def test_the_chain_gives_the_landmarks_of_3ddfa_v2_in_its_own_crops(chain, files, network):
    bgr = np.ascontiguousarray(load_image(SAMPLES / "group.jpg")[..., ::-1])
    own = chain.Chain(files, network)
    boxes = own.boxes(bgr)
    assert len(boxes) == 6
    squares = np.array([chain._square(box) for box in boxes])
    crops = np.stack([chain._crop(bgr, square)[..., ::-1] for square in squares])
    points, _ = TddfaV2(shared_file("peers/3ddfa_v2/mb1_120x120.onnx").parent, network).predict_crops(crops)
    scale = (squares[:, 2] - squares[:, 0])[:, None] / 120
    x, y = squares[:, :1] + scale * (60 + points[..., 0]), squares[:, 1:2] + scale * (60 - points[..., 1])
    np.testing.assert_allclose(own.landmarks(bgr, boxes)[..., :2], np.stack([x, y], axis=-1), atol=0.01)
    np.testing.assert_allclose(own(bgr), own.landmarks(bgr, boxes), atol=0.01)

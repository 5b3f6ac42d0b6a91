"""Work spread over threads, processes and a Dask cluster of two worker processes, some of which die."""

import asyncio
import gc
import multiprocessing
import socket
import threading
import time
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor
from threading import Lock
from types import SimpleNamespace

import cv2
import numpy as np
import pandas
import pytest
from PIL import Image

from m4kit import table_folder
from m4kit.cli import main
from m4kit.datasets import Sample, read
from m4kit.engine import exact_engine
from m4kit.evaluate import crop_predictor, evaluate_chain, predict_heads
from m4kit.face_model import FaceModel
from m4kit.face_table import TableError
from m4kit.images import load_image
from m4kit.network import M4Net
from m4kit.predictor import Predictor
from m4kit.scenes.analysis import analyse
from m4kit.scenes.data import benchmark
from m4kit.spread import SpreadError, batched, spread
from m4kit.tabulation import tabulate

from helpers import pieces
from helpers.aflw_like import write_set
from helpers.dask_processes import dask_processes
from helpers.paths import SAMPLES
from helpers.predictors import assert_same_table, noise, read_table, saved_network

# Dask and its libraries warn about themselves.
pytestmark = pytest.mark.filterwarnings("ignore")


def done(executor, work, numbers=range(40), *, size=4, after=lambda count: None):
    """What each number became; None where it has no answer. `after` is called with the number of finished pieces."""
    found = {}
    for count, (items, answer) in enumerate(spread(executor, work, batched(numbers, size), ahead=6), start=1):
        after(count)
        assert not found.keys() & set(items)
        found |= dict.fromkeys(items) if answer is None else dict(zip(items, answer, strict=True))
    return found


SQUARES = {number: number**2 for number in range(40)}


class KilledWorker(Exception):
    """As Dask's: a worker died after the work, and the next one before the end of it."""


class TestThreads:
    def test_every_piece_is_done_once(self):
        with ThreadPoolExecutor(3) as pool:
            assert done(pool, pieces.squares) == SQUARES

    def test_no_more_pieces_are_taken_than_are_worked_on(self):
        taken, lock, most = [], Lock(), []

        def numbers():
            for number in range(30):
                taken.append(number)
                yield [number]

        with ThreadPoolExecutor(2) as pool:
            for count, _ in enumerate(spread(pool, pieces.squares, numbers(), ahead=5), start=1):
                with lock:
                    most.append(len(taken) - count)
        assert max(most) <= 5

    def test_what_the_work_raises_ends_it(self):
        with ThreadPoolExecutor(2) as pool, pytest.raises(LookupError, match="no weights here"):
            done(pool, pieces.refuses)

    def test_work_that_is_always_cancelled_is_given_up(self):
        class Cancelling:
            calls = 0

            def submit(self, *_):
                self.calls += 1
                future = Future()
                future.set_exception(CancelledError())
                return future

        executor = Cancelling()
        with pytest.raises(SpreadError, match="cancelled the same work several times"):
            done(executor, pieces.squares, range(1))
        assert executor.calls == 3


def test_a_pool_that_loses_a_process_says_with_what():
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
        pytest.raises(
            SpreadError, match=r"worker process died, perhaps with one of 1\d.*again with a new pool"
        ),
    ):
        done(pool, pieces.squares_unless_deadly, range(10, 20), size=10)


@pytest.fixture(scope="module")
def client():
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    settings = {
        "distributed.scheduler.allowed-failures": 0,
        # By default, a worker that takes 15 s to start again is given up, and the tests would wait for ever.
        "distributed.deploy.lost-worker-timeout": "10 minutes",
        "distributed.nanny.environ": {"M4KIT_TEST_WORKER": "1", "OMP_NUM_THREADS": "1"},
        "distributed.admin.log-format": "",
    }
    with dask.config.set(settings):
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=None, silence_logs=100
        )
        with cluster, distributed.Client(cluster) as client:
            yield client
    gc.collect()


class TestDask:
    def test_every_piece_is_done_once(self, client):
        assert done(client.get_executor(), pieces.squares) == SQUARES
        # Even with the same arguments as before.
        assert done(client.get_executor(), pieces.squares) == SQUARES

    def test_a_worker_that_dies_costs_nothing(self, client, tmp_path):
        assert done(client.get_executor(), pieces.DiesOnce(tmp_path)) == SQUARES
        assert (tmp_path / "died").exists()

    @pytest.mark.parametrize("size", [1, 4])
    def test_an_item_that_ends_its_worker_each_time_costs_itself(self, client, size):
        assert done(client.get_executor(), pieces.squares_unless_deadly, size=size) == SQUARES | {13: None}

    def test_what_the_work_raises_ends_it(self, client):
        with pytest.raises(LookupError, match="no weights here"):
            done(client.get_executor(), pieces.refuses)

    def test_a_restart_of_all_workers_costs_nothing_and_repeats_nothing(self, client):
        def restart(count):
            if count == 4:
                # It forgets all work.
                client.restart()

        assert done(client.get_executor(), pieces.slow_squares, size=2, after=restart) == SQUARES

    @pytest.mark.parametrize(("status", "error"), [("error", KilledWorker), ("finished", OSError)])
    def test_an_answer_that_is_lost_on_its_way_is_made_again(self, status, error):
        def add_callback(function):
            # In a thread, as Dask does: this one may have a loop of its own, from the tests of a browser.
            threading.Thread(target=lambda: asyncio.run(function())).start()

        class Client:
            loop, calls, status = SimpleNamespace(add_callback=add_callback), 0, "running"

            def submit(self, work, items, *, pure):
                return SimpleNamespace(answer=work(items), status=status)

            async def gather(self, task, *, asynchronous):
                self.calls += 1
                if self.calls == 1:
                    raise error
                return task.answer

        executor = SimpleNamespace(_client=Client(), _kwargs={})
        assert done(executor, pieces.squares) == SQUARES
        assert executor._client.calls == 11

    def test_a_cluster_without_workers_is_said_and_waited_for(self, monkeypatch):
        distributed = pytest.importorskip("distributed")
        monkeypatch.setattr("m4kit.spread._SILENCE", 0.1)
        options = {"n_workers": 0, "processes": False, "dashboard_address": None}
        with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
            with pytest.warns(UserWarning, match="Dask has no workers"):
                executor = client.get_executor()
                timer = threading.Timer(1, cluster.scale, [1])
                timer.start()
                assert done(executor, pieces.squares) == SQUARES
            timer.join()

    def test_the_table_is_the_serial_one_though_a_photo_ends_its_worker(self, client, tmp_path):
        (tmp_path / "photos").mkdir()
        for seed, width in enumerate((150, 50, pieces.DEADLY_WIDTH, 320, 210, 260)):
            Image.fromarray(noise(width, seed)).save(tmp_path / "photos" / f"{seed}.png")
        options = {"detector": pieces.deadly, "network": saved_network(tmp_path), "progress": False}
        photos = tmp_path / "photos"
        tabulate(photos, tmp_path / "serial", **options)
        tabulate(photos, tmp_path / "spread", batch_size=2, executor=client.get_executor(), **options)
        serial, ours = (read_table(tmp_path / name) for name in ("serial", "spread"))
        lost = ours[ours["error"].notna()]
        assert lost["photo"].tolist() == [str(photos / "2.png")]
        assert "each worker that had it died" in lost["error"].iloc[0]
        assert_same_table(*(table[~table["photo"].isin(lost["photo"])] for table in (ours, serial)))
        # It continues with or without the cluster.
        tabulate(photos, tmp_path / "spread", **options)
        assert len(pandas.read_parquet(tmp_path / "spread")) == len(ours)

    def test_scenes_and_evaluations_are_the_serial_ones(self, client, tmp_path):
        executor, predictor = client.get_executor(), Predictor(network="m4net-small")
        assert_same_analysis(executor, predictor, tmp_path)
        assert_same_evaluation(executor, tmp_path)

    def test_the_command_line_takes_the_workers_of_a_scheduler(self, client, tmp_path, capsys, monkeypatch):
        photo = tmp_path / "hopper.png"
        Image.fromarray(cv2.resize(load_image(SAMPLES / "grace_hopper.jpg"), (200, 240))).save(photo)
        command = ["predict", str(photo), "--weights", "m4net-small", "--quiet", "--out"]
        assert main([*command, str(tmp_path / "here")]) == 0
        # Its networks are loaded in the workers alone.
        monkeypatch.setattr("m4kit.tabulation._table", None)
        assert main([*command, str(tmp_path / "there"), "--dask", client.scheduler.address]) == 0
        here, there = (pandas.read_csv(tmp_path / name / "faces.csv") for name in ("here", "there"))
        pandas.testing.assert_frame_equal(here.drop(columns="seconds"), there.drop(columns="seconds"))

    def test_an_address_without_a_scheduler_is_said(self, port, tmp_path, capsys):
        import dask

        with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
            command = ["predict", str(SAMPLES / "grace_hopper.jpg"), "--out", str(tmp_path / "out")]
            assert main([*command, "--dask", f"tcp://127.0.0.1:{port}"]) == 2
        assert "--dask: expected the address of a scheduler" in capsys.readouterr().err


def test_scenes_and_evaluations_of_a_pool_of_processes_are_the_serial_ones(tmp_path):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert_same_analysis(pool, Predictor(network="m4net-small"), tmp_path)
        assert_same_evaluation(pool, tmp_path)


def assert_same_analysis(executor, predictor, folder):
    """An analysis that is spread gives the tables of one that is not."""
    photos = [folder / "hopper.png", folder / "noise.png", folder / "broken.png"]
    Image.fromarray(cv2.resize(load_image(SAMPLES / "grace_hopper.jpg"), (200, 240))).save(photos[0])
    Image.fromarray(noise(150)).save(photos[1])
    photos[2].write_bytes(b"no image")
    samples = benchmark(photos, None, ["focus", "rain"], [0, 3])
    serial = analyse(samples, predictor=predictor, progress=False)
    ours = analyse(samples, predictor=predictor, folder=folder / "scenes", executor=executor, progress=False)
    assert ours.photos["read"].tolist() == [True] * 8 + [False] * 4
    pandas.testing.assert_frame_equal(
        ours.photos.drop(columns="seconds"), serial.photos.drop(columns="seconds")
    )
    assert len(ours.faces) >= 4
    pandas.testing.assert_frame_equal(ours.faces, serial.faces, atol=1e-3)
    assert ours.thumbnail(0).shape == (120, 120, 3)


def assert_same_evaluation(executor, folder):
    """So does an evaluation, with the faces in their order."""
    samples = read(write_set(folder / "set"), "aflw2000-3d")
    (folder / "set" / "AFLW2000" / "image00004.jpg").write_bytes(b"no image")
    engine, model = exact_engine("m4net-small", M4Net.load), FaceModel.load()
    options = {"batch_size": 1, "progress": False}
    serial, ours = (
        predict_heads(engine, model, samples, executor=one, **options) for one in (None, executor)
    )
    assert [sample.name for sample in ours.samples] == ["image00002", "image00006"]
    assert len(ours.left_out) == 1
    np.testing.assert_allclose(ours.heads, serial.heads, atol=1e-5)
    predict_crops = crop_predictor(engine, model)
    serial, ours = (
        evaluate_chain(predict_crops, samples, executor=one, progress=False) for one in (None, executor)
    )
    np.testing.assert_allclose(ours.iou, serial.iou, atol=1e-6)
    assert ours.left_out == serial.left_out


def test_what_cannot_be_sent_to_workers_is_said():
    samples = [Sample("a", lambda: noise(150))]
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(TypeError, match=r"can be sent to workers.*give samples of"),
    ):
        analyse(samples, executor=pool, progress=False)


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class TestDaskScheduler:
    """A scheduler that is killed in the middle; its two workers then end themselves."""

    def test_if_it_starts_again_with_workers_nothing_is_lost_and_nothing_done_twice(self, port, tmp_path):
        distributed = pytest.importorskip("distributed")

        def restart(count):
            if count == 4:
                processes.kill()
                processes.start()

        with (
            dask_processes(port, tmp_path) as processes,
            distributed.Client(processes.address, set_as_default=False) as client,
        ):
            assert done(client.get_executor(), pieces.slow_squares, size=2, after=restart) == SQUARES

    def test_if_it_stays_away_the_table_says_what_to_do_and_goes_on_with_another(self, port, tmp_path):
        distributed = pytest.importorskip("distributed")
        photos = tmp_path / "photos"
        photos.mkdir()
        for seed in range(30):
            Image.fromarray(noise(50 + 40 * (seed % 5), seed)).save(photos / f"{seed:02}.png")
        options = {
            "detector": pieces.slow_by_width,
            "network": saved_network(tmp_path),
            "batch_size": 2,
            "progress": False,
        }
        out, journal = tmp_path / "spread", tmp_path / "spread" / ".part-00000.arrows"
        with dask_processes(port, tmp_path) as processes:
            with distributed.Client(processes.address, timeout=5, set_as_default=False) as client:

                def kill_when_rows_are_there():
                    while not (journal.exists() and list(table_folder.whole_batches(journal))):
                        time.sleep(0.02)
                    processes.kill()

                killer = threading.Thread(target=kill_when_rows_are_there)
                killer.start()
                with pytest.raises(
                    TableError, match=r"the Dask scheduler is gone; start .* finished is kept"
                ):
                    tabulate(photos, out, executor=client.get_executor(), **options)
                killer.join()
            finished = pandas.read_parquet(out)["photo"].unique()
            assert 0 < len(finished) < 30
            processes.start()
            with distributed.Client(processes.address, set_as_default=False) as client:
                tabulate(photos, out, executor=client.get_executor(), **options)
        tabulate(photos, tmp_path / "serial", **options)
        ours = read_table(out)
        assert ours["error"].isna().all()
        assert_same_table(ours, read_table(tmp_path / "serial"))

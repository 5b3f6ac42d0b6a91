"""Work spread over threads, processes and a Dask cluster of two worker processes, some of which die."""

import gc
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from threading import Lock

import numpy as np
import pandas
import pytest
from PIL import Image

from m4kit.spread import SpreadError, spread

from helpers import pieces
from helpers.predictors import frontal, network_around, noise

# Dask and its libraries warn about themselves.
pytestmark = pytest.mark.filterwarnings("ignore")


def batches(numbers, size):
    return [tuple(numbers[start : start + size]) for start in range(0, len(numbers), size)]


def done(executor, work, numbers=range(40), *, size=4, ahead=6):
    """What each number became; None where it has no answer."""
    found = {}
    for items, answer in spread(executor, work, batches(numbers, size), ahead=ahead):
        assert not found.keys() & set(items)
        found |= dict.fromkeys(items) if answer is None else dict(zip(items, answer, strict=True))
    return found


SQUARES = {number: number**2 for number in range(40)}


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


@pytest.fixture(scope="module")
def client():
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    settings = {
        "distributed.scheduler.allowed-failures": 0,
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

    def test_the_table_is_the_serial_one_though_a_photo_ends_its_worker(self, client, tmp_path):
        from m4kit.tabulation import tabulate

        network_around(frontal(), spread=0.1).save(tmp_path / "small.safetensors")
        (tmp_path / "photos").mkdir()
        for seed, width in enumerate((150, 50, pieces.DEADLY_WIDTH, 320, 210, 260)):
            Image.fromarray(noise(width, seed)).save(tmp_path / "photos" / f"{seed}.png")
        options = {
            "detector": pieces.deadly,
            "network": str(tmp_path / "small.safetensors"),
            "progress": False,
        }
        photos = tmp_path / "photos"
        tabulate(photos, tmp_path / "serial", **options)
        tabulate(photos, tmp_path / "spread", batch_size=2, executor=client.get_executor(), **options)
        serial, ours = (
            pandas.read_parquet(tmp_path / name).sort_values(["photo", "face"], ignore_index=True)
            for name in ("serial", "spread")
        )
        lost = ours[ours["error"].notna()]
        assert lost["photo"].tolist() == [str(photos / "2.png")]
        assert "its worker died twice" in lost["error"].iloc[0]
        kept, wanted = (table[~table["photo"].isin(lost["photo"])] for table in (ours, serial))
        assert kept["photo"].tolist() == wanted["photo"].tolist()
        for name in ("face", "left", "crop_size", "yaw", "failure_probability"):
            np.testing.assert_allclose(kept[name].astype(float), wanted[name].astype(float), atol=0.01)
        # It continues with or without the cluster.
        tabulate(photos, tmp_path / "spread", **options)
        assert len(pandas.read_parquet(tmp_path / "spread")) == len(ours)

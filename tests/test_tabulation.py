"""Tables of many photos: their rows, stops at any moment, and folders that are not theirs."""

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from m4kit import table_folder
from m4kit.face_table import TableError, faces_from
from m4kit.images import list_images
from m4kit.predictor import Predictor, predict
from m4kit.tabulation import tabulate

from helpers.full_disk import appends_fit_until
from helpers.paths import SAMPLES
from helpers.predictors import assert_same_table, by_width, noise, read_table, saved_network


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return {"detector": by_width, "network": saved_network(tmp_path_factory.mktemp("weights"))}


@pytest.fixture
def photos(tmp_path):
    """Eleven photos with 0 to 3 faces, in two folders with photos of the same names."""
    for seed in range(11):
        folder = tmp_path / "photos" / ("one", "two")[seed % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(50 + 70 * (seed % 5), seed)).save(folder / f"{seed // 2}.png")
    return tmp_path / "photos"


quiet = partial(tabulate, recursive=True, progress=False)


class TestRows:
    def test_every_face_of_every_photo_is_there_once(self, photos, options, tmp_path):
        assert quiet(photos, tmp_path / "out", batch_size=3, **options) == tmp_path / "out"
        table = read_table(tmp_path / "out")
        predictor = Predictor(**options)
        wanted = {str(path): predictor(path) for path in list_images(photos, recursive=True)}
        assert table.groupby("photo")["face"].count().to_dict() == {
            path: len(prediction) for path, prediction in wanted.items()
        }
        faces = iter(faces_from(table))
        for prediction in (wanted[path] for path in table["photo"].unique()):
            for face in prediction:
                np.testing.assert_allclose(next(faces).vertices, face.vertices, atol=0.05)

    def test_a_face_knows_as_much_of_its_error_as_in_a_prediction(self, tmp_path):
        photos = list_images(SAMPLES)[:3]
        tabulate(photos, tmp_path / "out", progress=False, batch_size=3)
        table = read_table(tmp_path / "out").set_index(["photo", "face"])
        for path in photos:
            for number, face in enumerate(predict(path), start=1):
                row = table.loc[str(path), number]
                assert row["failure_probability"] == pytest.approx(face.failure_probability, abs=1e-3)
                assert tuple(row["reasons"]) == face.reasons

    def test_a_batch_that_cannot_be_measured_at_once_is_measured_one_by_one(
        self, photos, options, tmp_path, monkeypatch
    ):
        quiet(photos, tmp_path / "together", **options)

        def spoilt(faces):
            raise FloatingPointError

        monkeypatch.setattr("m4kit.many.measure_together", spoilt)
        quiet(photos, tmp_path / "alone", **options)
        together, alone = read_table(tmp_path / "together"), read_table(tmp_path / "alone")
        assert_same_table(together, alone)
        assert together["reasons"].map(str).tolist() == alone["reasons"].map(str).tolist()
        assert alone["error"].isna().all()

    def test_a_photo_that_cannot_be_read_is_a_row_and_is_counted(self, photos, options, tmp_path):
        (photos / "one" / "broken.jpg").write_bytes(b"no image")
        with pytest.warns(UserWarning, match=r"1 photos could not be predicted.*broken\.jpg"):
            quiet(photos, tmp_path / "out", **options)
        table = read_table(tmp_path / "out")
        assert table["error"].notna().sum() == 1
        assert table["photo"].nunique() == 12

    def test_names_of_any_kind(self, photos, options, tmp_path):
        names = [b"two words.png", b"a'b\"c.png", b"two\nlines.png", b"caf\xe9.png", "あ.png".encode()]
        for name in names:
            with open(os.path.join(os.fsencode(photos), name), "wb") as file:
                Image.fromarray(noise(110)).save(file, format="png")
        for _ in range(2):
            quiet(str(photos), tmp_path / "out", **options)
            table = read_table(tmp_path / "out")
            assert table["photo"].nunique() == len(table["photo"].drop_duplicates()) == 16
            assert {os.path.basename(name) for name in table["photo"]} >= {"two\nlines.png", "caf\\udce9.png"}

    def test_a_photo_that_is_given_twice_is_there_once(self, photos, options, tmp_path):
        path = photos / "one" / "1.png"
        tabulate([path, str(path), path], tmp_path / "out", progress=False, **options)
        assert read_table(tmp_path / "out")["photo"].nunique() == 1

    def test_what_is_no_path_is_refused(self, options, tmp_path):
        with pytest.raises(TypeError, match="predict_many takes other sources"):
            tabulate([noise(110)], tmp_path / "out", progress=False, **options)


class TestStops:
    def test_a_second_call_adds_what_is_new_and_repeats_nothing(self, photos, options, tmp_path):
        seen = []

        def counting(image):
            seen.append(image.shape)
            return by_width(image)

        options = options | {"detector": counting}
        tabulate(photos / "one", tmp_path / "out", progress=False, **options)
        quiet(photos, tmp_path / "out", batch_size=2, **options)
        quiet(photos, tmp_path / "out", **options)
        assert len(seen) == 11
        assert read_table(tmp_path / "out")["photo"].nunique() == 11

    @pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
    def test_a_killed_process_loses_nothing_that_was_finished(self, photos, options, tmp_path):
        out = tmp_path / "out"
        code = (
            "import sys, time; from m4kit.tabulation import tabulate; from helpers import predictors\n"
            "def slow(image):\n"
            " time.sleep(0.1); return predictors.by_width(image)\n"
            "slow.__qualname__ = 'by_width'\n"
            f"tabulate({str(photos)!r}, {str(out)!r}, recursive=True, batch_size=1, workers=1, progress=False,"
            f" detector=slow, network={options['network']!r})"
        )
        path = os.pathsep.join(sys.path)
        process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path})
        journal, deadline = out / ".part-00000.arrows", time.monotonic() + 120
        while not (journal.exists() and len(list(table_folder.whole_batches(journal))) >= 3):
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(TableError, match="another process writes this table"):
            quiet(photos, out, **options)
        process.send_signal(signal.SIGKILL)
        process.wait()
        # As if it had been killed while it wrote.
        with journal.open("ab") as file:
            file.write(journal.read_bytes()[-700:-300])
        finished = {
            name for batch in table_folder.whole_batches(journal) for name in batch["photo"].to_pylist()
        }
        again = []

        def watching(image):
            again.append(image.shape)
            return by_width(image)

        watching.__qualname__ = "by_width"
        quiet(photos, out, **options | {"detector": watching})
        assert len(finished) >= 3
        assert len(again) == 11 - len(finished)
        quiet(photos, tmp_path / "at once", **options)
        assert_same_table(read_table(out), read_table(tmp_path / "at once"))

    def test_a_journal_whose_part_is_there_already_counts_once(self, photos, options, tmp_path, monkeypatch):
        out = tmp_path / "out"
        with monkeypatch.context() as killed:
            killed.setattr(table_folder.Path, "unlink", lambda *_, **__: None)
            quiet(photos, out, **options)
        assert (out / ".part-00000.arrows").exists()
        quiet(photos, out, **options)
        assert [path.name for path in out.glob("*.parquet")] == ["part-00000.parquet"]
        assert not (out / ".part-00000.arrows").exists()
        assert read_table(out)["photo"].nunique() == 11

    def test_parts_are_closed_when_they_are_full(self, photos, options, tmp_path, monkeypatch):
        monkeypatch.setattr(table_folder, "_PART_ROWS", 4)
        monkeypatch.setattr(table_folder, "_GROUP", 1)
        quiet(photos, tmp_path / "out", batch_size=2, workers=1, **options)
        assert len(list((tmp_path / "out").glob("part-*.parquet"))) > 2
        assert read_table(tmp_path / "out")["photo"].nunique() == 11

    @pytest.mark.parametrize("where", ["journal", "part"])
    def test_a_full_disk_keeps_what_is_finished(self, photos, options, tmp_path, monkeypatch, where):
        out = tmp_path / "out"

        def full(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            if where == "part":
                patch.setattr(table_folder.parquet.ParquetWriter, "write_table", full)
            else:
                appends_fit_until(patch, 4)
            with pytest.raises(TableError, match="No space left on device; make room, and start again"):
                quiet(photos, out, batch_size=1, workers=1, **options)
        quiet(photos, out, **options)
        quiet(photos, tmp_path / "at once", **options)
        assert_same_table(read_table(out), read_table(tmp_path / "at once"))


class TestFolders:
    def test_another_process_that_writes_is_refused(self, photos, options, tmp_path):
        (tmp_path / "out").mkdir()
        with FileLock(tmp_path / "out" / ".lock"), pytest.raises(TableError, match="another process"):
            quiet(photos, tmp_path / "out", **options)
        quiet(photos, tmp_path / "out", **options)

    def test_other_settings_are_refused(self, photos, options, tmp_path):
        quiet(photos, tmp_path / "out", **options)
        with pytest.raises(TableError, match=r"got others \(passes 2, now 1\)"):
            quiet(photos, tmp_path / "out", passes=1, **options)

    def test_another_version_is_refused(self, photos, options, tmp_path, monkeypatch):
        with monkeypatch.context() as later:
            later.setattr(table_folder, "VERSION", 2)
            quiet(photos, tmp_path / "out", **options)
        with pytest.raises(TableError, match="expected a table of version 1, got version 2"):
            quiet(photos, tmp_path / "out", **options)

    def test_a_folder_with_other_files_is_refused_and_left_alone(self, photos, options, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "notes.txt").write_text("mine")
        with pytest.raises(TableError, match=r"one with other files \(notes\.txt\)"):
            quiet(photos, tmp_path / "out", **options)
        assert os.listdir(tmp_path / "out") == ["notes.txt"]

    def test_a_broken_part_is_named(self, photos, options, tmp_path):
        quiet(photos, tmp_path / "out", **options)
        (tmp_path / "out" / "part-00000.parquet").write_bytes(b"PAR1")
        with pytest.raises(TableError, match=r"part-00000\.parquet: expected a part of a table"):
            quiet(photos, tmp_path / "out", **options)

    def test_a_path_that_is_no_folder_is_refused(self, photos, options):
        with pytest.raises(TableError, match="expected a folder to write into"):
            quiet(photos, photos / "one" / "0.png", **options)


class TestExecutors:
    @pytest.mark.parametrize("kind", ["threads", "processes"])
    def test_the_table_is_the_serial_one(self, photos, options, tmp_path, kind):
        quiet(photos, tmp_path / "serial", workers=1, **options)
        if kind == "threads":
            pool = ThreadPoolExecutor(2)
        else:
            import multiprocessing

            pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        with pool:
            quiet(photos, tmp_path / "spread", batch_size=4, executor=pool, **options)
        assert_same_table(read_table(tmp_path / "spread"), read_table(tmp_path / "serial"))

    def test_options_that_cannot_be_sent_are_refused(self, photos, options, tmp_path):
        with ThreadPoolExecutor(1) as pool, pytest.raises(TypeError, match="can be sent to workers"):
            quiet(
                photos,
                tmp_path / "out",
                executor=pool,
                **options | {"detector": lambda image: []},
            )

    def test_a_pool_that_was_shut_down_is_said(self, photos, options, tmp_path):
        pool = ThreadPoolExecutor(1)
        pool.shutdown()
        with pytest.raises(TableError, match=r"takes no more work.*what is finished is kept"):
            quiet(photos, tmp_path / "out", executor=pool, **options)

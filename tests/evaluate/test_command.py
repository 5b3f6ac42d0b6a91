"""`m4kit evaluate`: its exit status, and what it keeps when something goes wrong."""

import csv
import errno
import re

import pytest

from m4kit.cli import main
from m4kit.commands import Stopped
from m4kit.evaluate import heads

from helpers.aflw_like import write_set
from helpers.paths import SAMPLES


@pytest.fixture
def folder(tmp_path):
    return write_set(tmp_path / "set")


def command(folder, out):
    landmarks = ["landmarks", str(folder), "--dataset", "aflw2000-3d"]
    return ["evaluate", *landmarks, "--weights", "m4net-small", "--out", str(out), "--quiet"]


def test_works_of_art_get_a_floor_and_a_page_by_style(tmp_path, capsys):
    options = ["--dataset", "artistic-faces", "--floor", "--weights", "m4net-small", "--quiet"]
    assert main(["evaluate", "landmarks", str(SAMPLES / "art"), *options, "--out", str(tmp_path)]) == 0
    report = capsys.readouterr().out
    error = float(re.search(r"NME over all faces: ([\d.]+) %", report)[1])
    floor, missed = re.search(r"floor, .*: NME ([\d.]+) %.*network - floor ([\d.]+) %", report).groups()
    # Both are parts of the network's error.
    assert 0.5 < float(floor) < error
    assert float(floor) + float(missed) == pytest.approx(error, abs=0.011)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("<h2>") == 7 and page.count("data:image/jpeg;base64,") == 8
    assert "<h2>caricature</h2>\n<p>2 faces, NME" in page


def rows(out):
    with (out / "faces.csv").open(encoding="utf-8") as file:
        return [row["name"] for row in csv.DictReader(file)]


def test_the_same_command_replaces_its_own_files_and_no_others(folder, tmp_path, capsys):
    out = tmp_path / "out"
    for _ in range(2):
        assert main(command(folder, out)) == 0
    assert len(rows(out)) == 3
    (out / "faces.csv").write_text("corrected")
    assert main(command(folder, out)) == 2
    assert "(faces.csv), so nothing was done" in capsys.readouterr().err
    assert (out / "faces.csv").read_text() == "corrected"


def test_an_unreadable_picture_costs_its_row_and_the_status(folder, tmp_path):
    (folder / "AFLW2000" / "image00004.jpg").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="1 face left out"):
        assert main(command(folder, tmp_path / "out")) == 1
    assert rows(tmp_path / "out") == ["image00002", "image00006"]


def test_a_name_that_is_not_valid_utf8_is_written(folder, tmp_path):
    for ending in ("jpg", "mat"):
        (folder / "AFLW2000" / f"image00004.{ending}").rename(folder / "AFLW2000" / f"caf\udce9.{ending}")
    assert main(command(folder, tmp_path / "out")) == 0
    assert "caf\\udce9" in rows(tmp_path / "out")
    assert "caf\\udce9" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_a_stopped_run_reports_and_keeps_the_faces_so_far(folder, tmp_path, monkeypatch, capsys):
    batches = heads.over_crops

    def stopping(run, samples, **options):
        yield from batches(run, samples[:2], **options)
        raise Stopped(15)

    monkeypatch.setattr(heads, "over_crops", stopping)
    assert main(command(folder, tmp_path / "out")) == 143
    assert capsys.readouterr().out.startswith("stopped: 2 of 3 faces\n")
    assert len(rows(tmp_path / "out")) == 2


def test_a_full_disk_is_said_after_the_report(folder, tmp_path, monkeypatch, capsys):
    rescued = tmp_path / "rescued"
    rescued.mkdir()
    monkeypatch.setattr("m4kit.files.tempfile.mkdtemp", lambda prefix: str(rescued))

    def full(table, path, **_):
        if path.parent != rescued:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_text("")

    monkeypatch.setattr("pandas.DataFrame.to_csv", full)
    assert main(command(folder, tmp_path / "out")) == 1
    captured = capsys.readouterr()
    assert "NME balanced" in captured.out
    assert f"faces.csv: No space left on device; it is in {rescued / 'faces.csv'} instead" in captured.err
    assert (tmp_path / "out" / "predictions.npz").is_file()

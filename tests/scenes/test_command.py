"""`m4kit scenes`: the layouts that it detects, what it writes, and its errors."""

import errno
import shutil

import cv2
import numpy as np
import pandas
import pytest
from PIL import Image

from m4kit import predict
from m4kit.cli import main
from m4kit.images import load_image
from m4kit.scenes import data
from m4kit.scenes.command import layout_of
from m4kit.scenes.report import SceneReport

from helpers.full_disk import appends_fit_until
from helpers.paths import SAMPLES


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A small photo with one face."""
    path = tmp_path_factory.mktemp("photos") / "hopper.png"
    image = cv2.resize(load_image(SAMPLES / "grace_hopper.jpg"), (200, 240), interpolation=cv2.INTER_AREA)
    Image.fromarray(image).save(path)
    return path


def said(capsys):
    return capsys.readouterr().err


def test_clean_photos_are_degraded_and_the_same_command_continues(photo, tmp_path, capsys):
    out = tmp_path / "report"
    command = ["scenes", str(photo), "--out", str(out), "--conditions", "focus", "--severities", "0", "5"]
    assert main([*command, "--html"]) == 0
    printed = capsys.readouterr().out
    assert ["focus", "5"] in [line.split()[:2] for line in printed.splitlines()]
    assert printed.splitlines()[-1].endswith("index.html")
    report = SceneReport.load(out)
    assert report.photos["severity"].tolist() == [0, 5]
    assert report.photos["reference"].tolist() == ["clean", "clean"]
    assert "| focus | 5 |" in (out / "findings.md").read_text(encoding="utf-8")
    summary = pandas.read_csv(out / "summary.csv")
    assert summary["severity"].tolist() == [0, 5]
    assert summary["recall"].tolist() == pytest.approx(report.summary()["recall"].tolist(), abs=1e-4)
    first = (out / "summary.csv").read_bytes()
    journal = out / "progress.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    assert main([*command, "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert (out / "summary.csv").read_bytes() == first


def test_a_labelled_sets_photos_are_degraded_and_compared_with_its_landmarks(photo, tmp_path):
    landmarks = predict(photo)[0].landmarks[:, :2]
    for name in ("a", "b", "c"):
        shutil.copy(photo, tmp_path / f"{name}.png")
        np.savetxt(tmp_path / f"{name}.txt", landmarks)
    command = ["scenes", str(tmp_path), "--as", "txt", "--out", str(tmp_path / "out"), "--quiet"]
    assert main([*command, "--faces", "2", "--conditions", "focus", "--severities", "0", "5"]) == 0
    report = SceneReport.load(tmp_path / "out")
    assert report.photos["severity"].tolist() == [0, 5, 0, 5]
    assert set(report.photos["reference"]) == {"truth"}
    nme = report.faces["nme"]
    assert nme[report.faces["severity"] == 0].max() < 0.5
    assert np.nanmax(nme) > 1


def test_folders_named_by_condition_are_taken_as_such(photo, tmp_path):
    for name in ("haze", "clean"):
        (tmp_path / "set" / name).mkdir(parents=True)
        shutil.copy(photo, tmp_path / "set" / name / "a.png")
    assert main(["scenes", str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    report = SceneReport.load(tmp_path / "out")
    assert set(report.photos["condition"].fillna("")) == {"", "haze"}
    assert np.nanmax(report.faces["landmark_drift"]) == 0


def test_two_sets_with_photos_of_one_name_stay_apart(photo, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(photo, tmp_path / name / "a.png")
        (tmp_path / name / f"{name}.csv").write_text("path,condition\na.png,rain\n")
    paths = [str(tmp_path / name / f"{name}.csv") for name in ("one", "two")]
    assert main(["scenes", *paths, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert SceneReport.load(tmp_path / "out").photos["photo"].tolist() == ["one.csv/a", "two.csv/a"]


def test_sets_whose_folders_have_one_name_stay_apart_too(photo, tmp_path):
    for name in ("one", "two"):
        folder = tmp_path / name / "faces"
        folder.mkdir(parents=True)
        shutil.copy(photo, folder / "a.png")
        np.savetxt(folder / "a.txt", predict(photo)[0].landmarks[:, :2])
    paths = [str(tmp_path / name / "faces") for name in ("one", "two")]
    command = ["scenes", *paths, "--as", "txt", "--out", str(tmp_path / "out"), "--quiet"]
    assert main([*command, "--conditions", "focus", "--severities", "1"]) == 0
    photos = SceneReport.load(tmp_path / "out").photos
    assert photos["photo"].tolist() == ["faces#1/a/focus-1-0", "faces#2/a/focus-1-0"]
    assert photos["clean"].tolist() == ["faces#1/a", "faces#2/a"]
    assert photos["faces"].tolist() == [1, 1]


def test_the_layout_of_a_path_is_detected(photo, tmp_path):
    assert layout_of(photo) == "photos"
    assert layout_of(photo.parent) == "photos"
    assert layout_of(tmp_path / "table.csv") == "table"
    (tmp_path / "ufdd").mkdir()
    (tmp_path / "ufdd" / "UFDD_val_bbx_gt.txt").write_text("")
    assert layout_of(tmp_path / "ufdd") == "ufdd"
    with pytest.raises(FileNotFoundError, match="found nothing"):
        layout_of(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--severities", "1", "7"], "expected a severity from 0 to 5, got 7"),
        (["--as", "table", "--severities", "1"], "only clean photos are degraded"),
        (["--faces", "3"], "--faces 3: expected at least 1, and a labelled set to draw from"),
        (["--threshold", "2"], "threshold: expected a number from 0 to 1"),
        (["--weights", "nothing"], "no such file, and no registered weights"),
    ],
)
def test_a_mistake_is_named_before_anything_is_done(photo, tmp_path, capsys, options, message):
    assert main(["scenes", str(photo), "--out", str(tmp_path / "out"), *options]) == 2
    assert message in said(capsys)
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_and_a_report_of_other_photos_are_named(photo, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["scenes", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 2
    assert "found no file in it that ends in .jpg" in said(capsys)
    # The report's folder holds pictures of its own, and is no set of photos.
    assert not (tmp_path / "out").exists()


class TestHostileFolders:
    """One condition at severity 0, so that each photo is predicted once."""

    def command(self, path, out, *options):
        short = ["--conditions", "focus", "--severities", "0", "--quiet"]
        return ["scenes", str(path), "--out", str(out), *short, *options]

    @pytest.fixture
    def photos(self, photo, tmp_path):
        folder = tmp_path / "photos"
        folder.mkdir()
        shutil.copy(photo, folder / "a.png")
        return folder

    def test_an_unreadable_photo_is_a_row_and_the_status(self, photos, tmp_path):
        (photos / "b.jpg").write_bytes(b"no picture")
        with pytest.warns(UserWarning, match=r"1 face left out: b/focus-0-0 \(.*b\.jpg: expected an image"):
            assert main(self.command(photos, tmp_path / "out")) == 1
        assert SceneReport.load(tmp_path / "out").photos["read"].tolist() == [True, False]

    @pytest.mark.parametrize("error", [MemoryError(), RuntimeError("odd")])
    def test_whatever_a_photo_raises_the_others_are_analysed(
        self, photo, photos, tmp_path, monkeypatch, error
    ):
        shutil.copy(photo, photos / "b.png")
        load = data.load_image

        def odd(path):
            if path.name == "b.png":
                raise error
            return load(path)

        monkeypatch.setattr(data, "load_image", odd)
        with pytest.warns(UserWarning, match=type(error).__name__):
            assert main(self.command(photos, tmp_path / "out")) == 1
        assert SceneReport.load(tmp_path / "out").photos["read"].tolist() == [True, False]

    def test_names_that_are_not_valid_utf8_and_broken_files_of_such_names_are_written(self, photos, tmp_path):
        (photos / "a.png").rename(photos / "caf\udce9 \n.png")
        (photos / "\udce9.png").write_bytes(b"")
        with pytest.warns(UserWarning, match="left out"):
            assert main(self.command(photos, tmp_path / "out", "--html")) == 1
        report = SceneReport.load(tmp_path / "out")
        assert report.photos["photo"].tolist() == ["caf\\udce9 \n/focus-0-0", "\\udce9/focus-0-0"]
        assert "\\udce9.png: expected an image, got an empty file" in report.photos["error"][1]

    @pytest.mark.parametrize("name", ["summary.csv", "progress.jsonl"])
    def test_a_file_of_the_users_is_not_overwritten(self, photos, tmp_path, capsys, name):
        out = tmp_path / "out"
        out.mkdir()
        (out / name).write_text("mine")
        assert main(self.command(photos, out)) == 2
        assert name in said(capsys)
        assert (out / name).read_text() == "mine"

    def test_the_photos_folder_may_be_the_reports(self, photos):
        for _ in range(2):
            assert main(self.command(photos, photos, "--html")) == 0
        assert len(SceneReport.load(photos)) == 1

    def test_on_a_full_disk_the_report_goes_elsewhere(self, photos, tmp_path, monkeypatch):
        out, rescued = tmp_path / "out", tmp_path / "rescued"
        rescued.mkdir()
        monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: str(rescued))
        appends_fit_until(monkeypatch, 0)

        def full(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        def save(self, folder):
            return saved(self, folder) if folder == str(rescued) else full(folder)

        saved = SceneReport.save
        monkeypatch.setattr(SceneReport, "save", save)
        with pytest.warns(UserWarning, match=f"No space left on device; the report is in {rescued} instead"):
            assert main(self.command(photos, out)) == 1
        report = SceneReport.load(rescued)
        assert report.thumbnail(0).shape == (120, 120, 3)
        # The journal holds no half line: the same command continues.
        assert len((out / "progress.jsonl").read_text(encoding="utf-8").splitlines()) == 1

"""`m4kit predict`: the table, the pages, pictures and meshes, and what else may be in the folder."""

import csv
import errno
import json
import os
import re
import warnings
from contextlib import contextmanager
from urllib.parse import unquote_to_bytes

import numpy as np
import pandas
import pytest
from PIL import Image

from m4kit import cli, files, photo_files, predict_page, table_folder
from m4kit.commands import Stopped
from m4kit.face_table import faces_from
from m4kit.files import OutputError
from m4kit.images import load_image, source_name
from m4kit.photo_files import PhotoFiles, common_root
from m4kit.prediction import Prediction
from m4kit.predictor import Located

from helpers.faces import ellipsoid
from helpers.synthetic import photo


@pytest.fixture
def faults():
    """What the predictor raises, or the text of its warning, by the photo's name."""
    return {}


@pytest.fixture
def predictor(monkeypatch, faults):
    """A predictor that finds faces by the photo's name: none in `empty`, three in `group`, else one.

    Gives the options that it got, and the names of the photos that it saw.
    """

    class Predictor:
        detector, settings, made, seen, model = None, {}, [], [], ellipsoid().model

        def locate(self, source):
            image, name = load_image(source), source_name(source)
            fault = faults.get(os.path.basename(name))
            if isinstance(fault, str):
                warnings.warn(fault, stacklevel=1)
            elif fault is not None:
                raise fault
            self.seen.append(os.path.basename(name))
            return Located(image, name, np.zeros((0, 5)), 0, "")

        def predictions(self, photos):
            return [self.predicted(one.image, one.source) for one in photos]

        def predicted(self, image, name):
            stem = os.path.basename(name)
            count = 0 if "empty" in stem else 3 if "group" in stem else 1
            faces = tuple(ellipsoid(centre=(50 + 50 * k, 100), height=60, yaw=20) for k in range(count))
            return Prediction(image=image, faces=faces, source=name)

    one = Predictor()
    one.made, one.seen = [], []

    def predictor_with(options):
        if options.get("threshold", 0) > 1:
            raise ValueError("expected a threshold between 0 and 1")
        one.made.append(options)
        return one

    monkeypatch.setattr("m4kit.predictor.predictor_with", predictor_with)
    return one


@pytest.fixture
def quick(monkeypatch):
    """Overlays of a few pixels, for tests of what else is in the folder."""
    monkeypatch.setattr(
        photo_files,
        "overview_pictures",
        lambda prediction, max_side: {photo_files.NO_FACE: prediction.image[:8, :8]},
    )


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "b.png", "empty.png"):
        Image.fromarray(photo()).save(folder / name)
    (folder / "README.md").write_text("no photo")
    return folder


@pytest.fixture
def out(tmp_path):
    """The folder of the results."""
    return tmp_path / "out"


def run(*words):
    return cli.main(["predict", *map(str, words)])


def table(out):
    return pandas.read_parquet(out / "faces").sort_values(["photo", "face"], ignore_index=True)


def page(out, name="index.html"):
    return (out / name).read_text(encoding="utf-8")


class TestResults:
    def test_a_folder_gives_a_table_and_a_page(self, predictor, photos, out, capsys):
        assert run(photos, "--out", out) == 0
        assert {path.name for path in out.iterdir()} == {"faces", "faces.csv", "index.html", ".m4kit.json"}
        rows = table(out)
        assert rows["photo"].tolist() == [str(photos / name) for name in ("a.jpg", "b.png", "empty.png")]
        assert rows["face"].fillna(0).tolist() == [1, 1, 0]
        (one, _) = faces_from(rows, model=ellipsoid().model)
        wanted = ellipsoid(centre=(50, 100), height=60, yaw=20)
        np.testing.assert_allclose(one.landmarks, wanted.landmarks, atol=1e-3)
        with (out / "faces.csv").open(encoding="utf-8") as file:
            short = list(csv.DictReader(file))
        assert [row["face"] for row in short] == ["1", "1", ""]
        assert [row["yaw"] for row in short] == ["20.0", "20.0", ""]
        assert predictor.made == [{"network": "m4net-base"}]
        assert capsys.readouterr() == (f"{out / 'index.html'}\n", "")

    def test_quiet_prints_nothing(self, predictor, photos, tmp_path, capsys):
        run(photos, "--out", tmp_path / "out", "--quiet")
        assert capsys.readouterr() == ("", "")

    def test_overlays_are_files_beside_the_page_which_loads_them_as_one_scrolls(self, predictor, photos, out):
        run(photos, "--out", out, "--overlay", "--quiet")
        names = ["a.jpg_overlay.jpg", "b.png_overlay.jpg", "empty.png_overlay.jpg"]
        assert sorted(path.name for path in (out / "overlays").iterdir()) == names
        assert re.findall(r'<img loading="lazy" [^>]*src="([^"]*)"', page(out)) == [
            f"overlays/{name}" for name in names
        ]
        assert not re.search(r"(src|href)=.https?:|<script src|<link", page(out))
        with Image.open(out / "overlays" / "a.jpg_overlay.jpg") as picture:
            # Four pictures, which are enlarged to 480 pixels.
            assert picture.size == (4 * 480 + 3 * photo_files.GAP, 480)
        assert "no face found" in page(out)
        assert re.search(r"1 face · \d+ ms", page(out))

    def test_the_faces_of_a_group_have_numbers_in_the_picture_and_in_an_open_table(
        self, predictor, photos, out
    ):
        Image.fromarray(photo()).save(photos / "group.png")
        run(photos / "group.png", photos / "a.jpg", "--out", out, "--overlay", "--quiet")
        numbers = re.findall(r'<text x="([\d.]+)" y="([\d.]+)">(\d)</text>', page(out))
        assert [number for *_, number in numbers] == ["1", "2", "3"]
        rows = table(out).query("photo.str.endswith('group.png')")
        middle = (rows["left"] + rows["right"]) / 2
        # The second picture of the row; photos of 200 pixels are shown with 480.
        np.testing.assert_allclose([float(x) for x, *_ in numbers], 480 + 8 + 2.4 * middle, atol=0.1)
        assert "face 3: yaw +20°" in page(out)
        assert page(out).count("<b>yaw +20°  pitch 0°  roll 0°</b>") == 1

    def test_meshes_are_written_in_the_format_that_is_asked_for(self, predictor, photos, tmp_path):
        run(photos, "--out", tmp_path, "--mesh", "obj", "--quiet")
        names = sorted(path.name for path in (tmp_path / "meshes").iterdir())
        assert names == ["a.jpg_1.obj", "b.png_1.obj"]
        assert (tmp_path / "meshes" / names[0]).read_text().count("\nv ") > 1000

    @pytest.mark.usefixtures("quick")
    def test_subfolders_are_mirrored(self, predictor, photos, out):
        (photos / "more" / "yet").mkdir(parents=True)
        Image.fromarray(photo()).save(photos / "more" / "yet" / "a.jpg")
        run(photos, "--out", out, "--overlay", "--recursive", "--quiet")
        assert (out / "overlays" / "more" / "yet" / "a.jpg_overlay.jpg").is_file()
        assert "overlays/more/yet/a.jpg_overlay.jpg" in page(out)
        titles = re.findall(r'<a href="[^"]*">([^<]*)</a> <small>', page(out))
        assert titles == ["photos/a.jpg", "b.png", "empty.png", "yet/a.jpg"]

    @pytest.mark.usefixtures("quick")
    def test_many_photos_have_several_pages(self, predictor, photos, out, monkeypatch):
        monkeypatch.setattr(predict_page, "_PHOTOS", 2)
        run(photos, "--out", out, "--overlay", "--quiet")
        assert 'href="pages/2.html">2</a>' in page(out)
        second = page(out, "pages/2.html")
        assert 'href="../index.html">1</a>' in second
        assert 'src="../overlays/empty.png_overlay.jpg"' in second
        assert 'href="../faces.csv"' in second

    def test_a_page_of_300_photos_is_small(self, predictor, photos, tmp_path):
        for number in range(300):
            (photos / f"group{number}.jpg").hardlink_to(photos / "a.jpg")
        run(photos, "--out", tmp_path / "out", "--quiet")
        assert len(page(tmp_path / "out").encode()) < 2_000_000

    def test_options_reach_the_predictor(self, predictor, photos, tmp_path):
        options = ["--threshold", "0.4", "--min-face", "25", "--passes", "1", "--max-faces", "3", "--quiet"]
        run(
            photos / "a.jpg",
            "--out",
            tmp_path / "out",
            *options,
            "--try-turns",
            "--weights",
            "m4net-small",
            "--engine",
            "torch",
        )
        assert predictor.made == [
            {
                "threshold": 0.4,
                "min_face": 25,
                "passes": 1,
                "max_faces": 3,
                "try_turns": True,
                "engine": "torch",
                "network": "m4net-small",
            }
        ]

    def test_names_of_any_kind_are_written_and_linked(self, predictor, photos, out):
        names = [
            b"two words.png",
            b"<b>&'\".png",
            b"two\nlines.png",
            b"caf\xe9.png",
            ("あ" * 82 + ".png").encode(),
        ]
        for name in names:
            with open(os.path.join(os.fsencode(photos), name), "wb") as file:
                Image.fromarray(photo()).save(file, format="png")
        assert run(photos, "--out", out, "--overlay", "--quiet") == 0
        html = page(out)
        assert "&lt;b&gt;&amp;" in html
        assert "caf\\udce9.png" in html
        links = re.findall(r'src="([^"]*)"', html)
        assert len(links) == 8
        assert all(os.path.isfile(os.path.join(os.fsencode(out), unquote_to_bytes(link))) for link in links)


class TestNames:
    def test_no_two_photos_have_one_overlay(self, tmp_path):
        ours = PhotoFiles(tmp_path, "/photos")
        names = ("a.jpg", "a.png", "a.png.jpg", "a.jpeg", "b/a.jpg", "a.b.jpg", "a")
        assert len({ours.overlay_of(f"/photos/{name}") for name in names}) == len(names)

    def test_photos_of_several_folders_are_mirrored_from_where_they_part(self, tmp_path):
        for name in ("x/one", "x/two"):
            (tmp_path / name).mkdir(parents=True)
        assert common_root([tmp_path / "x" / "one"]) == str(tmp_path / "x" / "one")
        assert common_root([tmp_path / "x" / "one", tmp_path / "x" / "two" / "a.jpg"]) == str(tmp_path / "x")

    def test_photos_in_a_folder_that_is_written_to_are_refused(self, tmp_path):
        with pytest.raises(OutputError, match="holds inputs and would be written to"):
            photo_files.check_apart(tmp_path, [tmp_path / "overlays" / "more" / "a.jpg"])


@pytest.mark.usefixtures("quick")
class TestWhatIsInTheFolder:
    def test_a_second_run_replaces_its_own_results_and_takes_none_for_a_photo(self, predictor, photos):
        command = [photos, "--out", photos, "--quiet", "--overlay", "--recursive"]
        assert run(*command) == 0
        before = {path.name for path in photos.iterdir()}
        assert run(*command) == 0
        assert {path.name for path in photos.iterdir()} == before
        assert len(table(photos)) == 3
        assert len(predictor.seen) == 6

    def test_a_run_that_is_resumed_keeps_what_is_finished(self, predictor, photos, tmp_path):
        assert run(photos / "a.jpg", "--out", tmp_path / "out", "--quiet", "--overlay") == 0
        assert run(photos, "--out", tmp_path / "out", "--quiet", "--overlay", "--resume") == 0
        assert predictor.seen == ["a.jpg", "b.png", "empty.png"]
        assert len(table(tmp_path / "out")) == 3
        assert page(tmp_path / "out").count("<img") == 3

    def test_results_that_are_no_longer_asked_for_are_gone(self, predictor, photos, tmp_path):
        run(photos, "--out", tmp_path / "out", "--quiet", "--overlay", "--mesh", "ply")
        run(photos, "--out", tmp_path / "out", "--quiet")
        assert not (tmp_path / "out" / "overlays").exists()
        assert not (tmp_path / "out" / "meshes").exists()

    @pytest.mark.parametrize("name", ["index.html", "faces"])
    def test_a_file_of_the_users_is_not_overwritten(self, predictor, photos, out, capsys, name):
        out.mkdir()
        (out / name).write_text("mine")
        assert run(photos, "--out", out) == 2
        assert (
            f"would overwrite files that m4kit did not write there, or that were changed since ({name})"
            in (capsys.readouterr().err)
        )
        assert [path.name for path in out.iterdir()] == [name]
        assert (out / name).read_text() == "mine"

    def test_an_overlay_is_not_overwritten_while_it_is_an_input(self, predictor, photos, capsys):
        assert run(photos / "a.jpg", "--out", photos, "--quiet", "--overlay") == 0
        before = (photos / "overlays" / "a.jpg_overlay.jpg").read_bytes()
        assert run(photos / "overlays" / "a.jpg_overlay.jpg", "--out", photos, "--overlay") == 2
        assert "overlays: holds inputs" in capsys.readouterr().err
        assert (photos / "overlays" / "a.jpg_overlay.jpg").read_bytes() == before

    def test_what_a_folder_holds_beyond_its_photos_is_counted(self, predictor, photos, tmp_path, capsys):
        for name in ("x.heic", "y.HEIC", "z.tga", "notes.txt"):
            (photos / name).write_bytes(b"")
        (photos / "more").mkdir()
        (photos / "lost.jpg").symlink_to(photos / "nowhere")
        assert run(photos, "--out", photos / "out") == 0
        error = capsys.readouterr().err
        assert "photos: passed over .heic (2), .tga (1), broken links (1), folders (1); " in error
        assert "; give folders by their paths; save pictures as JPEG or PNG\n" in error
        assert run(photos, "--out", photos / "out", "--recursive") == 0
        assert "folders" not in capsys.readouterr().err
        assert run(photos, "--out", photos / "out", "--quiet") == 0
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("words", [["x.jpg", "--out", ""], ["", "--out", "out"]])
    def test_an_empty_path_is_not_the_current_folder(self, words, capsys):
        with pytest.raises(SystemExit) as stopped:
            run(*words)
        assert stopped.value.code == 2
        assert "expected a path, got an empty one" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
class TestWhenSomethingGoesWrong:
    def test_an_unreadable_photo_costs_one_row_and_the_exit_status(self, predictor, photos, tmp_path, capsys):
        (photos / "broken.jpg").write_bytes((photos / "a.jpg").read_bytes()[:500])
        out, missing = tmp_path / "out", tmp_path / "missing.jpg"
        assert run(photos, missing, "--out", out) == 1
        assert page(out).count("not read</small>") == 2
        assert table(out)["error"].notna().sum() == 2
        error = capsys.readouterr().err
        assert "not read: 2" in error
        assert "broken.jpg" in error
        assert str(missing) in error
        # What is finished stays finished.
        assert run(photos, missing, "--out", out, "--resume") == 1

    def test_many_unreadable_photos_are_counted_and_some_are_named(self, predictor, photos, tmp_path, capsys):
        missing = [tmp_path / f"{number}.jpg" for number in range(30)]
        assert run(photos, *missing, "--out", tmp_path / "out", "--quiet") == 1
        error = capsys.readouterr().err
        assert "not read: 30" in error
        assert "and 10 more: faces.csv has all" in error
        assert error.count("expected an image") == 20

    def test_an_empty_folder_beside_photos_costs_the_exit_status(self, predictor, photos, tmp_path, capsys):
        (tmp_path / "none").mkdir()
        assert run(photos, tmp_path / "none", "--out", tmp_path / "out", "--quiet") == 1
        assert "expected a folder with images" in capsys.readouterr().err
        assert len(table(tmp_path / "out")) == 3

    def test_nothing_to_read_is_an_error_and_leaves_no_folder(self, predictor, tmp_path, capsys):
        (tmp_path / "none").mkdir()
        for given in ("none.jpg", "none"):
            assert run(tmp_path / given, "--out", tmp_path / "out") == 2
            assert given in capsys.readouterr().err
            assert not (tmp_path / "out").exists()

    def test_an_option_out_of_range_is_said_without_a_traceback(self, predictor, photos, tmp_path, capsys):
        assert run(photos, "--out", tmp_path / "out", "--threshold", "7") == 2
        assert "between 0 and 1" in capsys.readouterr().err

    def test_a_folder_that_cannot_be_written_to_is_said_without_a_traceback(
        self, predictor, photos, tmp_path, monkeypatch, capsys
    ):
        assert run(photos, "--out", photos / "a.jpg") == 2
        assert re.search(
            r"a\.jpg: expected a folder to write into, got File exists; give", capsys.readouterr().err
        )

        def denied(*_):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr("m4kit.files.write_whole", denied)
        assert run(photos, "--out", tmp_path) == 2
        assert "got Permission denied; give another with --out" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "error", [MemoryError(), RuntimeError("odd"), NotImplementedError(), OSError(5, "I/O")]
    )
    def test_one_odd_photo_costs_its_row_alone(self, predictor, faults, photos, capsys, error):
        faults["a.jpg"] = error
        out = photos / "out"
        assert run(photos, "--out", out, "--quiet") == 1
        assert type(error).__name__ in capsys.readouterr().err
        assert table(out)["face"].notna().sum() == 1

    def test_so_does_one_whose_picture_cannot_be_drawn(self, predictor, photos, monkeypatch, capsys):
        def drawn(prediction, max_side):
            if prediction.source.endswith("a.jpg"):
                raise RuntimeError("odd")
            return {photo_files.NO_FACE: prediction.image}

        monkeypatch.setattr(photo_files, "overview_pictures", drawn)
        assert run(photos, "--out", photos / "out", "--quiet", "--overlay") == 1
        assert "RuntimeError: odd" in capsys.readouterr().err
        assert table(photos / "out")["photo"].nunique() == 3

    def test_warnings_stand_at_the_end(self, predictor, faults, photos, capsys):
        faults |= {"a.jpg": "a.jpg: many small faces", "b.png": "b.png: two frames"}
        assert run(photos, "--out", photos / "out", "--quiet") == 0
        assert capsys.readouterr().err.splitlines() == [
            "m4kit predict: warning: a.jpg: many small faces",
            "m4kit predict: warning: b.png: two frames",
        ]

    @pytest.mark.parametrize(("stop", "status"), [(KeyboardInterrupt(), 130), (Stopped(15), 143)])
    def test_a_stopped_run_keeps_what_it_has_and_is_resumed(
        self, predictor, photos, monkeypatch, stop, status
    ):
        for number in range(60):
            (photos / f"c{number}.jpg").hardlink_to(photos / "a.jpg")
        out, add = photos / "out", table_folder.TableFolder.add

        def stops(self, table):
            add(self, table)
            raise stop

        with monkeypatch.context() as patch:
            patch.setattr(table_folder.TableFolder, "add", stops)
            assert run(photos, "--out", out, "--quiet") == status
        finished = set(table(out)["photo"])
        assert 1 <= len(finished) < 63
        assert f"stopped before {63 - len(finished)} photos" in page(out)
        predictor.seen.clear()
        assert run(photos, "--out", out, "--quiet", "--resume") == 0
        assert len(predictor.seen) == 63 - len(finished)
        assert table(out)["photo"].nunique() == 63

    def test_a_full_disk_loses_no_table(self, predictor, photos, tmp_path, monkeypatch, capsys):
        out, rescued = tmp_path / "out", tmp_path / "rescued"
        rescued.mkdir()
        monkeypatch.setattr(files.tempfile, "mkdtemp", lambda prefix: str(rescued))
        write = files.whole_file

        @contextmanager
        def full(path):
            if path == out / "faces.csv":
                raise OSError(errno.ENOSPC, "No space left on device")
            with write(path) as part:
                yield part

        monkeypatch.setattr(files, "whole_file", full)
        assert run(photos, "--out", out, "--quiet") == 1
        error = capsys.readouterr().err
        assert "not written: 1" in error
        assert f"faces.csv: No space left on device; it is in {rescued / 'faces.csv'}" in error
        assert len(table(out)) == 3
        assert (rescued / "faces.csv").read_text(encoding="utf-8").count("b.png") == 1

    def test_a_full_disk_under_the_overlays_ends_the_run(
        self, predictor, photos, tmp_path, monkeypatch, capsys
    ):
        @contextmanager
        def full(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
            yield

        with monkeypatch.context() as patch:
            patch.setattr(photo_files, "whole_file", full)
            assert run(photos, "--out", tmp_path / "out", "--quiet", "--overlay") == 2
        assert "No space left on device; make room, and run the same command again" in capsys.readouterr().err
        assert run(photos, "--out", tmp_path / "out", "--quiet", "--overlay", "--resume") == 0
        assert json.loads((tmp_path / "out" / ".m4kit.json").read_text())["files"]["faces"] is None

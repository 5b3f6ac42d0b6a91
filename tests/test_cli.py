"""The command line and the folder that it writes."""

import csv
import errno
import json
import os
import re
import subprocess
import sys
import tomllib
import types
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from m4kit import cli, files, predict_page
from m4kit.commands import Stopped
from m4kit.images import load_image, source_name
from m4kit.prediction import Prediction
from m4kit.visualize.figures import NO_FACE

from helpers.faces import ellipsoid
from helpers.paths import ROOT
from helpers.synthetic import photo, prediction


@pytest.fixture
def faults():
    """What the predictor raises, or the text of its warning, by the photo's name."""
    return {}


@pytest.fixture
def predictor(monkeypatch, faults):
    """A predictor that finds a face in each photo not named `empty`; gives the options that it got."""
    made = []

    class Predictor:
        def __init__(self, **options):
            if options.get("threshold", 0) > 1:
                raise ValueError("expected a threshold between 0 and 1")
            made.append(options)

        def __call__(self, source):
            image, name = load_image(source), source_name(source)
            fault = faults.get(source.name)
            if isinstance(fault, str):
                warnings.warn(fault, stacklevel=1)
            elif fault is not None:
                raise fault
            return Prediction(image=image, faces=() if "empty" in name else (ellipsoid(yaw=20),), source=name)

    module = types.ModuleType("m4kit.predictor")
    module.Predictor = Predictor
    monkeypatch.setitem(sys.modules, "m4kit.predictor", module)
    return made


@pytest.fixture
def quick(monkeypatch):
    """Overviews of a few pixels, for tests of what else is in the folder."""
    monkeypatch.setattr(
        predict_page, "overview_pictures", lambda prediction, max_side: {NO_FACE: prediction.image[:8, :8]}
    )


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "b.png", "empty.png"):
        Image.fromarray(photo()).save(folder / name)
    (folder / "README.md").write_text("no photo")
    return folder


def test_a_folder_gives_an_overview_a_table_and_a_page(predictor, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["predict", str(photos), "--out", str(out)]) == 0
    names = {path.name for path in out.iterdir()}
    overviews = {"a_overview.jpg", "b_overview.jpg", "empty_overview.jpg"}
    assert names == {*overviews, "faces.csv", "landmarks.json", "index.html", ".m4kit.json"}
    with (out / "faces.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["photo"] for row in rows] == [str(photos / name) for name in ("a.jpg", "b.png")]
    assert [row["face"] for row in rows] == ["1", "1"]
    assert [float(row["yaw_degrees"]) for row in rows] == [20, 20]
    record = json.loads((out / "landmarks.json").read_text(encoding="utf-8"))
    assert [len(entry["faces"]) for entry in record] == [1, 1, 0]
    np.testing.assert_allclose(record[0]["faces"][0]["landmarks"], ellipsoid(yaw=20).landmarks, atol=0.006)
    assert predictor == [{}]
    captured = capsys.readouterr()
    assert captured.out.strip() == str(out / "index.html")
    assert captured.err == ""


def test_the_page_holds_its_pictures_and_quiet_prints_nothing(predictor, photos, tmp_path, capsys):
    cli.main(["predict", str(photos), "--out", str(tmp_path / "out"), "--quiet"])
    assert capsys.readouterr() == ("", "")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert len(sources) == 4 + 4 + 1
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"https?:|<script|<link|url\(", page)
    assert NO_FACE in page
    assert re.search(r"1 face · \d+ ms", page)


def test_the_angles_stand_below_the_pictures_of_few_faces_and_in_an_open_table_of_many(tmp_path):
    few, many = tuple(ellipsoid(yaw=20 * k) for k in range(2)), (ellipsoid(),) * 5
    with predict_page.Gallery(tmp_path, ["one.png", "two.png", "five.png"]) as results:
        for source, faces in (("one.png", few[1:]), ("two.png", few), ("five.png", many)):
            results.add(prediction(*faces, source=source))
    page = results.page.read_text(encoding="utf-8")
    assert page.count("<b>yaw +20°  pitch 0°  roll 0°</b>") == 1
    assert "<b>face 1: yaw" in page
    assert "<b>face 2: yaw" in page
    assert page.count("<details open>") == 1
    assert "<b>angles by number in the table</b>" in page
    # The faces' numbers stand over the picture at the top of their boxes.
    box, numbers = few[1].box, re.findall(r'<text x="([\d.]+)" y="([\d.]+)">(\d)</text>', page)
    assert [number for *_, number in numbers] == ["1", "2", "1", "2", "3", "4", "5"]
    assert float(numbers[1][0]) == pytest.approx((box.left + box.right) / 2, abs=0.1)
    assert float(numbers[1][1]) == pytest.approx(box.top, abs=0.1)


def test_an_unreadable_photo_costs_one_row_and_the_exit_status(predictor, photos, tmp_path, capsys):
    (photos / "broken.jpg").write_bytes((photos / "a.jpg").read_bytes()[:500])
    out = tmp_path / "out"
    missing = str(tmp_path / "missing.jpg")
    assert cli.main(["predict", str(photos), missing, "--out", str(out)]) == 1
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("not read</small>") == 2
    assert (out / "b_overview.jpg").exists()
    error = capsys.readouterr().err
    assert "not read: 2" in error
    assert "broken.jpg" in error
    assert missing in error


def test_nothing_to_read_is_an_error_and_leaves_no_folder(predictor, tmp_path, capsys):
    assert cli.main(["predict", str(tmp_path / "none.jpg"), "--out", str(tmp_path / "out")]) == 2
    assert "none.jpg" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_options_reach_the_predictor(predictor, photos, tmp_path):
    options = ["--threshold", "0.4", "--min-face", "25", "--passes", "1", "--max-faces", "3", "--quiet"]
    options += ["--engine", "torch"]
    cli.main(["predict", str(photos / "a.jpg"), "--out", str(tmp_path / "out"), *options])
    expected = {"threshold": 0.4, "min_face": 25, "passes": 1, "max_faces": 3, "engine": "torch"}
    assert predictor == [expected]


def test_a_folder_that_cannot_be_written_to_is_said_without_a_traceback(
    predictor, photos, tmp_path, monkeypatch, capsys
):
    assert cli.main(["predict", str(photos), "--out", str(photos / "a.jpg")]) == 2
    assert re.search(
        r"a\.jpg: expected a folder to write into, got File exists; give", capsys.readouterr().err
    )

    def denied(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("m4kit.files.write_whole", denied)
    assert cli.main(["predict", str(photos), "--out", str(tmp_path)]) == 2
    assert "got Permission denied; give another with --out" in capsys.readouterr().err


def test_an_option_out_of_range_is_said_without_a_traceback(predictor, photos, tmp_path, capsys):
    assert cli.main(["predict", str(photos), "--out", str(tmp_path / "out"), "--threshold", "7"]) == 2
    assert "between 0 and 1" in capsys.readouterr().err


def test_photos_of_one_name_do_not_overwrite_each_other(tmp_path):
    sources = ("one/face.jpg", "two/face.png", "<array>", "one/face.jpg")
    with predict_page.Gallery(tmp_path, sources) as results:
        paths = [results.add(prediction(ellipsoid(), source=source)) for source in sources]
    assert [path.name for path in paths] == [
        "face_overview.jpg",
        "face_2_overview.jpg",
        "array_overview.jpg",
        "face_3_overview.jpg",
    ]
    assert all(path.is_file() for path in paths)


def test_photos_of_one_name_are_told_apart_by_their_folders(tmp_path):
    sources = ("/a/x.jpg", "b/a/x.jpg", "c/x.jpg", "only/y.jpg", "<array>")
    with predict_page.Gallery(tmp_path, sources) as results:
        for source in sources:
            results.add(prediction(source=source))
    titles = re.findall("<h2>(.*?) <small>", results.page.read_text(encoding="utf-8"))
    assert titles == ["/a/x.jpg", "b/a/x.jpg", "c/x.jpg", "y.jpg", "&lt;array&gt;"]


def test_names_that_are_long_or_not_valid_utf8_are_written(tmp_path):
    names = ("あ" * 82 + ".jpg", "caf\udce9.jpg", "two\nlines.jpg")
    with predict_page.Gallery(tmp_path, [*names, "\udce9.jpg"]) as results:
        paths = [results.add(prediction(ellipsoid(), source=name)) for name in names]
        results.add_failure("\udce9.jpg", "\udce9.jpg: broken")
    page = results.page.read_text(encoding="utf-8")
    assert all(path.is_file() for path in paths)
    assert "caf\\udce9.jpg" in page
    assert '<p class="failure">\\udce9.jpg: broken' in page
    with (tmp_path / "faces.csv").open(encoding="utf-8") as file:
        assert [row["photo"] for row in csv.DictReader(file)] == [names[0], "caf\\udce9.jpg", names[2]]


def test_a_page_of_many_photos_stays_small(tmp_path, monkeypatch):
    monkeypatch.setattr(predict_page, "_PAGE_BYTES", 1_000_000)
    with predict_page.Gallery(tmp_path, [f"{number}.png" for number in range(4)]) as results:
        for number in range(4):
            noise = np.random.default_rng(number).integers(0, 256, (400, 400, 3), dtype=np.uint8)
            results.add(Prediction(image=noise, faces=(ellipsoid(),), source=f"{number}.png"))
    assert results.page.stat().st_size < 1_400_000


def test_names_are_escaped_in_the_page(tmp_path):
    with predict_page.Gallery(tmp_path, ["<b>&.jpg"]) as results:
        results.add(prediction(source="<b>&.jpg"))
        results.add_failure("<i>.jpg", "<i>.jpg: expected an image")
    page = results.page.read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;.jpg" in page
    assert "<i>" not in page


@pytest.mark.usefixtures("quick")
class TestWhatIsInTheFolder:
    def test_a_second_run_replaces_its_own_results_and_takes_none_for_a_photo(self, predictor, photos):
        command = ["predict", str(photos), "--out", str(photos), "--quiet"]
        assert cli.main(command) == 0
        before = {path.name for path in photos.iterdir()}
        assert cli.main(command) == 0
        assert {path.name for path in photos.iterdir()} == before
        assert len(json.loads((photos / "landmarks.json").read_text(encoding="utf-8"))) == 3

    @pytest.mark.parametrize("name", ["index.html", "a_overview.jpg"])
    def test_a_file_of_the_users_is_not_overwritten(self, predictor, photos, tmp_path, capsys, name):
        out = tmp_path / "out"
        out.mkdir()
        (out / name).write_text("mine")
        assert cli.main(["predict", str(photos), "--out", str(out)]) == 2
        assert (
            f"would overwrite files that m4kit did not write there, or that were changed since ({name})"
            in (capsys.readouterr().err)
        )
        assert [path.name for path in out.iterdir()] == [name]
        assert (out / name).read_text() == "mine"

    def test_an_input_is_not_overwritten_though_it_is_a_result(self, predictor, photos, capsys):
        assert cli.main(["predict", str(photos / "a.jpg"), "--out", str(photos), "--quiet"]) == 0
        both = [str(photos / name) for name in ("a.jpg", "a_overview.jpg")]
        before = (photos / "a_overview.jpg").read_bytes()
        assert cli.main(["predict", *both, "--out", str(photos)]) == 2
        assert "a_overview.jpg: is one of the inputs" in capsys.readouterr().err
        assert (photos / "a_overview.jpg").read_bytes() == before

    def test_a_run_that_was_killed_is_run_again(self, predictor, photos, tmp_path, monkeypatch):
        out = tmp_path / "out"
        with monkeypatch.context() as killed:
            killed.setattr(predict_page.Gallery, "__exit__", lambda *_: None)
            cli.main(["predict", str(photos), "--out", str(out), "--quiet"])
        assert (out / "a_overview.jpg").exists()
        assert cli.main(["predict", str(photos), "--out", str(out), "--quiet"]) == 0

    @pytest.mark.parametrize("words", [["x.jpg", "--out", ""], ["", "--out", "out"]])
    def test_an_empty_path_is_not_the_current_folder(self, words, capsys):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["predict", *words])
        assert stopped.value.code == 2
        assert "expected a path, got an empty one" in capsys.readouterr().err

    def test_what_a_folder_holds_beyond_its_photos_is_counted(self, predictor, photos, tmp_path, capsys):
        for name in ("x.heic", "y.HEIC", "z.tga", "notes.txt"):
            (photos / name).write_bytes(b"")
        (photos / "more").mkdir()
        (photos / "lost.jpg").symlink_to(photos / "nowhere")
        command = ["predict", str(photos), "--out", str(photos / "out")]
        assert cli.main(command) == 0
        error = capsys.readouterr().err
        assert "photos: passed over .heic (2), .tga (1), broken links (1), folders (1); " in error
        assert "; give folders by their paths; save pictures as JPEG or PNG\n" in error
        assert cli.main([*command, "--quiet"]) == 0
        assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("quick")
class TestWhenSomethingGoesWrong:
    @pytest.mark.parametrize(
        "error", [MemoryError(), RuntimeError("odd"), NotImplementedError(), OSError(5, "I/O")]
    )
    def test_one_odd_photo_costs_its_row_alone(self, predictor, faults, photos, capsys, error):
        faults["a.jpg"] = error
        out = photos / "out"
        assert cli.main(["predict", str(photos), "--out", str(out), "--quiet"]) == 1
        assert type(error).__name__ in capsys.readouterr().err
        assert (out / "faces.csv").read_text(encoding="utf-8").count("b.png") == 1

    def test_warnings_stand_at_the_end(self, predictor, faults, photos, capsys):
        faults |= {"a.jpg": "a.jpg: many small faces", "b.png": "b.png: two frames"}
        assert cli.main(["predict", str(photos), "--out", str(photos / "out"), "--quiet"]) == 0
        assert capsys.readouterr().err.splitlines() == [
            "m4kit predict: warning: a.jpg: many small faces",
            "m4kit predict: warning: b.png: two frames",
        ]

    @pytest.mark.parametrize(("stop", "status"), [(KeyboardInterrupt(), 130), (Stopped(15), 143)])
    def test_a_stopped_run_keeps_what_it_has(self, predictor, faults, photos, stop, status):
        faults["b.png"] = stop
        out = photos / "out"
        assert cli.main(["predict", str(photos), "--out", str(out), "--quiet"]) == status
        assert (out / "faces.csv").read_text(encoding="utf-8").count("a.jpg") == 1
        assert len(json.loads((out / "landmarks.json").read_text(encoding="utf-8"))) == 1
        assert "stopped before 2 photos" in (out / "index.html").read_text(encoding="utf-8")

    def test_a_full_disk_loses_no_table(self, predictor, photos, tmp_path, monkeypatch, capsys):
        out, rescued = tmp_path / "out", tmp_path / "rescued"
        rescued.mkdir()
        monkeypatch.setattr(files.tempfile, "mkdtemp", lambda prefix: str(rescued))
        write = files.whole_file

        @contextmanager
        def full(path):
            if path == out / "landmarks.json":
                raise OSError(errno.ENOSPC, "No space left on device")
            with write(path) as part:
                yield part

        monkeypatch.setattr(files, "whole_file", full)
        assert cli.main(["predict", str(photos), "--out", str(out), "--quiet"]) == 1
        error = capsys.readouterr().err
        assert "not written: 1" in error
        assert f"landmarks.json: No space left on device; it is in {rescued / 'landmarks.json'}" in error
        assert (out / "faces.csv").read_text(encoding="utf-8").count("b.png") == 1
        assert len(json.loads((rescued / "landmarks.json").read_text(encoding="utf-8"))) == 3


class TestTheProcess:
    def run(self, *words, body="return 0", **options):
        """`m4kit` with these words. Without any, a command runs that has this body."""
        code = f"import os, sys, warnings\nfrom m4kit import cli, commands\ndef run(words):\n {body}\n"
        code += "sys.exit(cli.main())" if words else "cli._run = run\nsys.exit(cli.main())"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.run([sys.executable, "-c", code, *words], text=True, check=False, **pipes)

    def test_the_version_is_the_packages(self):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert self.run("--version").stdout == f"m4kit {project['version']}\n"

    @pytest.mark.parametrize(("words", "body"), [(["--help"], ""), ([], "commands.say(1); return 0")])
    def test_a_reader_that_has_gone_is_no_error(self, words, body):
        read, write = os.pipe()
        os.close(read)
        done = self.run(*words, body=body or "pass", stdout=write)
        os.close(write)
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
    def test_output_that_does_not_fit_is_an_error(self):
        body = "try: commands.say(1)\n except OSError as error: print(error, file=sys.stderr); return 2"
        with open("/dev/full", "w") as full:
            done = self.run(body=body, stdout=full)
        assert (done.returncode, done.stderr) == (
            2,
            "[Errno 28] No space left on device: 'standard output'\n",
        )

    def test_a_signal_ends_a_command_as_ctrl_c_does(self):
        body = "try: os.kill(os.getpid(), 15)\n except KeyboardInterrupt as stop: return stop.status"
        assert self.run(body=body).returncode == 143

    def test_names_that_are_not_valid_utf8_and_warnings_can_be_printed(self):
        done = self.run(body=r"print('caf\udce9'); warnings.warn('two frames'); return 0")
        assert (done.stdout, done.stderr) == ("caf\\udce9\n", "warning: two frames\n")


def test_help_names_the_commands_without_loading_what_they_need(tmp_path):
    code = (
        "import sys; from m4kit import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'matplotlib', 'open3d', 'm4kit.predict_page', 'm4kit.visualize'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name in done.stdout for name in ("predict", "evaluate", "ablate", "train"))


def test_no_command_shows_what_there_is(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([])
    assert stopped.value.code == 2
    assert "COMMAND" in capsys.readouterr().err

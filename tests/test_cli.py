"""The command line and the folder that it writes."""

import csv
import json
import re
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image

from m4kit import cli, predict_page
from m4kit.images import load_image, source_name
from m4kit.prediction import Prediction
from m4kit.visualize.figures import NO_FACE

from helpers.faces import ellipsoid
from helpers.synthetic import photo, prediction


@pytest.fixture
def predictor(monkeypatch):
    """A predictor that finds a face in each photo not named `empty`; gives the options that it got."""
    made = []

    class Predictor:
        def __init__(self, **options):
            if options.get("threshold", 0) > 1:
                raise ValueError("expected a threshold between 0 and 1")
            made.append(options)

        def __call__(self, source):
            image, name = load_image(source), source_name(source)
            return Prediction(image=image, faces=() if "empty" in name else (ellipsoid(yaw=20),), source=name)

    module = types.ModuleType("m4kit.predictor")
    module.Predictor = Predictor
    monkeypatch.setitem(sys.modules, "m4kit.predictor", module)
    return made


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
    assert names == {*overviews, "faces.csv", "landmarks.json", "index.html"}
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


def test_the_page_holds_its_pictures_and_asks_for_nothing_from_elsewhere(predictor, photos, tmp_path):
    cli.main(["predict", str(photos), "--out", str(tmp_path / "out"), "--quiet"])
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert len(sources) == 4 + 4 + 1
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"https?:|<script|<link|url\(", page)
    assert NO_FACE in page
    assert re.search(r"1 face · \d+ ms", page)


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
    options = ["--threshold", "0.4", "--passes", "1", "--max-faces", "3", "--quiet"]
    cli.main(["predict", str(photos / "a.jpg"), "--out", str(tmp_path / "out"), *options])
    assert predictor == [{"threshold": 0.4, "passes": 1, "max_faces": 3}]


def test_a_folder_that_cannot_be_written_to_is_said_without_a_traceback(
    predictor, photos, tmp_path, monkeypatch, capsys
):
    assert cli.main(["predict", str(photos), "--out", str(photos / "a.jpg")]) == 2
    assert re.search(
        r"a\.jpg: expected a folder to write into, got File exists; give", capsys.readouterr().err
    )
    monkeypatch.setattr("os.access", lambda *_: False)
    assert cli.main(["predict", str(photos), "--out", str(tmp_path)]) == 2
    assert "got Permission denied; give another with --out" in capsys.readouterr().err


def test_an_option_out_of_range_is_said_without_a_traceback(predictor, photos, tmp_path, capsys):
    assert cli.main(["predict", str(photos), "--out", str(tmp_path / "out"), "--threshold", "7"]) == 2
    assert "between 0 and 1" in capsys.readouterr().err


def test_quiet_says_nothing(predictor, photos, tmp_path, capsys):
    cli.main(["predict", str(photos), "--out", str(tmp_path / "out"), "--quiet"])
    assert capsys.readouterr() == ("", "")


def test_photos_of_one_name_do_not_overwrite_each_other(tmp_path):
    results = predict_page.Gallery(tmp_path, photos=3)
    sources = ("one/face.jpg", "two/face.png", "<array>")
    paths = [results.add(prediction(ellipsoid(), source=source)) for source in sources]
    assert [path.name for path in paths] == ["face_overview.jpg", "face_2_overview.jpg", "array_overview.jpg"]


def test_photos_of_one_name_are_told_apart_by_their_folders(tmp_path):
    results = predict_page.Gallery(tmp_path, photos=5)
    for source in ("/a/x.jpg", "b/a/x.jpg", "c/x.jpg", "only/y.jpg", "<array>"):
        results.add(prediction(source=source))
    page = results.close().read_text(encoding="utf-8")
    titles = re.findall("<h2>(.*?) <small>", page)
    assert titles == ["/a/x.jpg", "b/a/x.jpg", "c/x.jpg", "y.jpg", "&lt;array&gt;"]


def test_names_that_are_long_or_no_text_are_written(tmp_path):
    results = predict_page.Gallery(tmp_path, photos=2)
    paths = [results.add(prediction(source=name)) for name in ("あ" * 82 + ".jpg", "caf\udce9.jpg")]
    results.add_failure("\udce9.jpg", "\udce9.jpg: broken")
    page = results.close().read_text(encoding="utf-8")
    assert all(path.is_file() for path in paths)
    assert "caf\\udce9.jpg" in page
    assert '<p class="failure">\\udce9.jpg: broken' in page


def test_a_page_of_many_photos_stays_small(tmp_path, monkeypatch):
    monkeypatch.setattr(predict_page, "_PAGE_BYTES", 1_000_000)
    results = predict_page.Gallery(tmp_path, photos=4)
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (400, 400, 3), dtype=np.uint8)
        results.add(Prediction(image=noise, faces=(ellipsoid(),), source=f"{number}.png"))
    assert results.close().stat().st_size < 1_400_000


def test_names_are_escaped_in_the_page(tmp_path):
    results = predict_page.Gallery(tmp_path, photos=1)
    results.add(prediction(source="<b>&.jpg"))
    results.add_failure("<i>.jpg", "<i>.jpg: expected an image")
    page = results.close().read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;.jpg" in page
    assert "<i>" not in page


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


def test_the_help_of_predict_names_its_options(capsys):
    with pytest.raises(SystemExit):
        cli.main(["predict", "--help"])
    text = capsys.readouterr().out
    assert all(option in text for option in ("--out", "--threshold", "--passes", "--max-faces", "--quiet"))


def test_no_command_shows_what_there_is(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([])
    assert stopped.value.code == 2
    assert "COMMAND" in capsys.readouterr().err

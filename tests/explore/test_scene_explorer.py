"""The scene explorer, used as a person would: by filters, clicks and lassos."""

import json
from dataclasses import replace

import numpy as np
import pytest

from m4kit.camera import Crop
from m4kit.conditions import CONDITIONS
from m4kit.datasets import Sample
from m4kit.explore import SceneExplorer
from m4kit.explore.face_grid import FaceGrid, GridFace
from m4kit.explore.photo_in_depth import PHOTO_SIDE
from m4kit.explore.scene_explorer import PAGE, TABS
from m4kit.face_model import packaged_model
from m4kit.images import load_image
from m4kit.prediction import Face, FaceBox, Prediction
from m4kit.scenes import analyse, benchmark, figures

from helpers.made_report import answer_of, made_report
from helpers.paths import SAMPLES

PHOTO = np.random.default_rng(0).integers(60, 200, (160, 200, 3)).astype(np.uint8)


class Finder:
    """Finds one face in the middle of any photo that is not too dark; counts how often it is asked."""

    def __init__(self):
        self.asked = 0

    def __call__(self, image):
        self.asked += 1
        if image.mean() > 230 or image.mean() < 20:
            return Prediction(image, ())
        heads = np.tile(answer_of(seed=int(image.mean()) % 5), (4, 1))
        return Prediction(
            image,
            (
                Face(
                    FaceBox(50, 30, 130, 120, 0.9),
                    Crop(30, 10, 120),
                    heads,
                    np.full(4, 0.25),
                    packaged_model(),
                ),
            ),
        )


@pytest.fixture(scope="module")
def report():
    return made_report()


@pytest.fixture(scope="module")
def source():
    photos = [Sample(f"scene{k}", lambda: PHOTO) for k in range(6)]
    return benchmark(photos, severities=(0, 1, 3, 5))


@pytest.fixture
def explorer(report, source):
    return SceneExplorer(report, source=source, predictor=Finder())


def cell_of(explorer, condition, severity):
    table = explorer.heat_view.table
    return dict(table["rows"])[condition][table["severities"].index(severity)]


def click_cell(explorer, line, column):
    explorer.heat_view.clicked = [line, column, explorer.heat_view.clicked[2] + 1]


def points(explorer, axis):
    return np.concatenate([trace[axis] for trace in explorer.scatter.data])


def go_to(explorer, name):
    explorer.tabs.selected_index = TABS.index(name)


def test_the_heat_map_shows_the_means_and_counts_of_the_metric(explorer):
    table = explorer.heat_view.table
    assert [name for name, _ in table["rows"]] == list(CONDITIONS)
    assert table["severities"] == ["0", "1", "3", "5"]
    assert [cell_of(explorer, "haze", one)["mean"] for one in "013"] == ["2.00", "3.00", "5.00"]
    assert cell_of(explorer, "haze", "3")["about"].startswith("6 faces, 95 % interval")
    explorer.metric.value = "recall"
    assert (cell_of(explorer, "haze", "5")["mean"], cell_of(explorer, "haze", "0")["mean"]) == ("83", "100")
    assert explorer.heat_view.table["title"] == "Recall, %"


def test_the_heat_map_follows_the_filters(explorer):
    explorer.filters["size"].value = (55, 70)
    # Scenes 4 and 5 of six, with errors 1.12 and 1.2 times as large.
    assert cell_of(explorer, "haze", "3")["mean"] == "5.80"
    assert cell_of(explorer, "haze", "3")["faces"] == 2
    assert explorer.heat_view.table["about"] == "56 of 168 faces pass the filters"
    explorer.clear.click()
    explorer.filters["failures"].value = "landmarks drifted"
    assert cell_of(explorer, "haze", "1") is None
    # At severity 5, scenes 3, 4 and 5 have errors above 7 %.
    assert cell_of(explorer, "haze", "5")["faces"] == 3
    explorer.filters["failures"].value = "missed"
    assert "no face passes" in explorer.heat_view.table["about"]


def test_the_cells_of_other_conditions_and_severities_stay_but_are_pale(explorer):
    assert not any(cell["faded"] for _, cells in explorer.heat_view.table["rows"] for cell in cells)
    explorer.filters["condition"].value = "haze"
    explorer.filters["severity"].value = 3.0
    strong = [
        (name, cell["severity"])
        for name, cells in explorer.heat_view.table["rows"]
        for cell in cells
        if not cell["faded"]
    ]
    assert strong == [("haze", "3")]
    assert cell_of(explorer, "rain", "5")["mean"] == "7.28"


def test_a_click_on_a_cell_shows_its_faces_worst_first(explorer, report):
    click_cell(explorer, 1, 2)
    rows = explorer.rows
    assert len(rows) == 6
    assert set(report.faces["condition"].iloc[rows]) == {"haze"}
    assert (np.diff(report.faces["nme"].iloc[rows]) < 0).all()
    assert TABS[explorer.tabs.selected_index] == "Faces"
    assert [card.row for card in explorer.grid.faces] == rows.tolist()


def test_a_click_on_a_cell_keeps_the_other_filters_and_shows_as_many_faces_as_the_cell_says(explorer):
    explorer.filters["size"].value = (55, 70)
    said = cell_of(explorer, "haze", "3")["faces"]
    click_cell(explorer, 1, 2)
    assert explorer.filters["size"].value == (55, 70)
    assert (explorer.filters["condition"].value, explorer.filters["severity"].value) == ("haze", 3.0)
    assert len(explorer.rows) == said == 2
    card = explorer.grid.faces[0]
    assert (card.title, card.text) == ("haze 3", "error 6.0 %, p 30 %; blurred")
    explorer.clear.click()
    assert len(explorer.rows) == len(explorer.report.faces)


def test_real_photos_are_a_column_of_their_own_that_can_be_chosen(report, source):
    real = replace(report, faces=report.faces.copy())
    real.faces.loc[real.faces["severity"] == 5, "severity"] = np.nan
    explorer = SceneExplorer(real, source=source, predictor=Finder())
    assert explorer.heat_view.table["severities"] == ["real", "0", "1", "3"]
    click_cell(explorer, 1, 0)
    assert explorer.filters["severity"].value == "real"
    # Of six faces one is missed, and has no error to be in the mean.
    assert len(explorer.rows) == cell_of(explorer, "haze", "real")["faces"] + 1 == 6


def test_filters_by_yaw_size_and_failure_leave_out_what_has_neither(explorer, report):
    explorer.filters["size"].value = (55, 70)
    rows = explorer.rows
    assert set(report.faces["size"].iloc[rows]) == {60.0, 70.0}
    explorer.filters["yaw"].value = (45, 90)
    assert set(report.faces["yaw"].iloc[explorer.rows]) == {50.0}
    explorer.clear.click()
    explorer.filters["failures"].value = "missed"
    assert report.faces["face"].iloc[explorer.rows].isna().all()
    assert len(explorer.rows) == 7


def drawn(view):
    return json.loads(view.figure)


def test_charts_and_scatter_follow_the_filters(explorer):
    explorer.filters["condition"].value = "rain"
    go_to(explorer, "Charts")
    lines, faces = map(drawn, explorer.charts)
    assert [trace["name"] for trace in lines["data"] if trace.get("name")] == ["rain"]
    assert faces["layout"]["xaxis"]["ticktext"] == ["rain<br>n = 17"]
    explorer.metric.value = "recall"
    assert drawn(explorer.charts[0])["layout"]["yaxis"]["title"]["text"] == "Recall, %"
    go_to(explorer, "Scatter")
    assert [trace.name for trace in explorer.scatter.data] == ["rain"]
    # The probability is in percent, a twentieth of the error as a share.
    np.testing.assert_allclose(points(explorer, "x"), points(explorer, "y") * 5)
    explorer.across.value = "size"
    assert set(points(explorer, "x")) <= {20, 30, 40, 50, 60, 70}


def test_axes_are_named_in_plain_words_with_units(explorer):
    go_to(explorer, "Scatter")
    titles = [explorer.scatter.layout[axis].title.text for axis in ("xaxis", "yaxis")]
    assert titles == ["Checked failure probability, %", "NME, %"]
    assert not any("_" in label for label in explorer.across._options_labels)


def test_few_faces_are_points_and_a_click_on_one_shows_its_photo(explorer, report):
    go_to(explorer, "Charts")
    # An outline without values, six points, and the mean, for each condition.
    explorer.filters["severity"].value = 3.0
    figure = drawn(explorer.charts[1])
    assert len(figure["data"]) == 3 * 7
    explorer.charts[1].clicked = [4, 2, 1]
    (row,) = np.flatnonzero(report.faces["photo"] == "scene2/haze-3-0")
    assert explorer._spread_rows[4][2] == row
    assert TABS[explorer.tabs.selected_index] == "One photo"
    assert "scene2/haze-3-0" in explorer.depth.children[0].value
    go_to(explorer, "Charts")
    # The mean is no face.
    explorer.charts[1].clicked = [5, 0, 2]
    assert TABS[explorer.tabs.selected_index] == "Charts"


def test_a_chart_of_nothing_says_so_where_it_would_be(explorer):
    explorer.filters["condition"].value = "rain"
    explorer.filters["failures"].value = "missed"
    go_to(explorer, "Charts")
    assert "No face that passes the filters has this metric" in explorer.chart_errors.value
    assert [view.layout.display for view in explorer.charts] == ["none", "none"]
    explorer.clear.click()
    assert explorer.chart_errors.value == ""
    assert explorer.charts[0].layout.display is None


def test_a_lasso_chooses_its_faces_and_a_click_beside_the_points_lets_them_go(explorer, report):
    go_to(explorer, "Scatter")
    explorer.scatter_view.selected = [[0, 0], [0, 2], [3, 9]]
    wanted = {int(explorer._points[trace][point]) for trace, point in explorer.scatter_view.selected}
    assert set(explorer.rows.tolist()) == wanted
    assert set(report.faces["condition"].iloc[list(wanted)]) == {"focus", "lens"}
    assert explorer.count.value == "3 faces in the lasso, worst first"
    go_to(explorer, "Faces")
    assert {card.row for card in explorer.grid.faces} == wanted
    explorer.scatter_view.selected = []
    assert len(explorer.rows) == len(report.faces["face"])


def test_the_scatter_keeps_what_lies_beside_the_lasso(explorer):
    go_to(explorer, "Scatter")
    explorer.up.value = "score"
    before = len(points(explorer, "x"))
    explorer.scatter_view.selected = [[0, 0], [0, 2]]
    explorer.across.value = "size"
    assert len(explorer.rows) == 2
    assert len(points(explorer, "x")) == before


def test_the_same_lasso_after_other_filters_chooses_again(explorer):
    go_to(explorer, "Scatter")
    explorer.scatter_view.selected = [[0, 0], [0, 2]]
    explorer.clear.click()
    assert len(explorer.rows) == len(explorer.report.faces)
    explorer.scatter_view.selected = [[0, 0], [0, 2]]
    assert len(explorer.rows) == 2


def test_a_click_on_a_point_shows_its_photo(explorer, report):
    go_to(explorer, "Scatter")
    explorer.scatter_view.clicked = [1, 5, 1]
    row = int(explorer._points[1][5])
    assert TABS[explorer.tabs.selected_index] == "One photo"
    assert report.faces["photo"].iloc[row] in explorer.depth.children[0].value
    assert report.faces["condition"].iloc[row] == "haze"


def test_the_gallery_goes_page_by_page_and_draws_what_is_chosen(explorer, report):
    go_to(explorer, "Faces")
    first = explorer.grid.faces
    assert len(first) == PAGE
    explorer.page.value = 2
    assert [card.row for card in explorer.grid.faces] == explorer.rows[PAGE : 2 * PAGE].tolist()
    drawn = explorer.grid.faces[0].jpeg
    explorer.overlay.value = "none"
    assert explorer.grid.faces[0].jpeg != drawn
    assert explorer.page.max == -(-len(report.faces["face"]) // PAGE)


def test_a_click_on_a_face_shows_its_photo_clean_and_made_worse(explorer, report):
    (row,) = np.flatnonzero(report.faces["photo"] == "scene2/motion-3-0")
    explorer.choose(int(row))
    shown = explorer.photo
    assert TABS[explorer.tabs.selected_index] == "One photo"
    assert (shown.condition.value, shown.severity.value, shown.seed.value) == ("motion", 3.0, 7)
    assert explorer._predictor.asked == 2
    clean, worse = (picture.value for picture in shown.pictures)
    assert "drift" in shown.captions[1].value
    shown.severity.value = 5.0
    assert explorer._predictor.asked == 3
    assert shown.pictures[0].value == clean
    assert shown.pictures[1].value != worse
    shown.overlay.value = "solid mesh"
    assert explorer._predictor.asked == 3
    assert shown.pictures[0].value != clean


def test_the_photo_in_depth_has_the_checked_failure_probability_that_the_report_has():
    # Larger than the copy on which a slider works.
    photo = load_image(SAMPLES / "grace_hopper.jpg")
    assert max(photo.shape) > PHOTO_SIDE
    samples = benchmark([Sample("hopper", photo.copy)], conditions=["motion"], severities=[5])
    report = analyse(samples, progress=False)
    explorer = SceneExplorer(report, source=samples)
    explorer.choose(0)
    caption = explorer.photo.captions[1]
    known = f"checked failure probability {100 * report.faces['checked_failure_probability'][0]:.0f} %"
    assert caption.value.startswith("<b>motion 5</b>: drift ")
    assert known in caption.value
    assert figures.caption(report, 0).split("\n")[0] in explorer.depth.children[0].value
    explorer.photo.severity.value = 4.0
    assert caption.value.startswith("<b>motion 4, on a copy of 480 px</b>")
    explorer.photo.severity.value = 5.0
    assert known in caption.value


def test_a_real_photo_is_shown_as_it_was_photographed(report):
    clean, hazy = np.full((160, 200, 3), 120, np.uint8), np.full((160, 200, 3), 180, np.uint8)
    real = replace(report, faces=report.faces.copy())
    real.faces.loc[real.faces["condition"] == "haze", "severity"] = np.nan
    name = "scene2/haze-3-0"
    pair = Sample(name, lambda: hazy, condition="haze", clean="scene2", clean_image=lambda: clean)
    explorer = SceneExplorer(real, source=[pair], predictor=Finder())
    explorer.choose(int(np.flatnonzero(real.faces["photo"] == name)[0]))
    assert explorer.photo.worse.image.mean() == 180
    assert explorer.photo.captions[1].value.startswith("<b>haze, as photographed</b>")
    explorer.photo.severity.value = 5.0
    assert explorer.photo.captions[1].value.startswith("<b>haze 5</b>")


def test_a_photo_in_which_nothing_is_found_is_said_and_the_explorer_goes_on(explorer, report):
    explorer.choose(0)
    shown = explorer.photo
    shown.predictor = lambda image: Prediction(image, ())
    shown.severity.value = 4.5
    assert "0 faces found, this one is missed" in shown.captions[1].value
    shown.show(PHOTO)
    assert "0 faces found" in shown.captions[0].value


def test_without_its_source_a_click_says_what_is_needed_where_it_is_seen(report):
    explorer = SceneExplorer(report)
    explorer.grid.on_click(3)
    assert "give SceneExplorer(report, source=samples)" in explorer.error_line.value
    assert isinstance(explorer.errors.pop(), ValueError)
    explorer.filters["condition"].value = "haze"
    assert explorer.error_line.value == ""
    assert len(explorer.rows) == 24


def test_a_report_without_a_face_is_an_error_that_says_so(report):
    empty = made_report(scenes=1, conditions=("haze",), severities=(3,))
    object.__setattr__(empty, "faces", empty.faces.head(0))
    with pytest.raises(ValueError, match="expected a report with at least one face, got none"):
        SceneExplorer(empty)


def test_a_reader_without_a_kernel_sees_the_heat_map(explorer):
    bundle = explorer._repr_mimebundle_()
    assert len(bundle["image/png"]) > 5_000
    assert bundle["text/plain"] == "SceneExplorer of 168 photos"


def test_of_two_thousand_faces_a_page_is_drawn_at_a_time(monkeypatch):
    drawn = []
    explorer = SceneExplorer(made_report(scenes=72))
    assert len(explorer.rows) == 2016
    go_to(explorer, "Faces")
    monkeypatch.setattr(explorer, "_card", lambda row, card=explorer._card: drawn.append(row) or card(row))
    explorer.filters["condition"].value = "snow"
    assert 0 < len(drawn) <= PAGE


def test_a_grid_tells_a_browser_that_opens_later_what_to_show(monkeypatch):
    said, clicked = [], []
    monkeypatch.setattr(FaceGrid, "send", lambda self, content, buffers=None: said.append((content, buffers)))
    grid = FaceGrid()
    grid.on_click = clicked.append
    grid.show([GridFace(7, b"jpeg", "haze 3", "too dark", "a.jpg", bad=True)])
    grid._received(None, {"kind": "ready"}, [])
    assert said[0] == said[1]
    assert said[0][0]["faces"][0]["row"] == 7
    assert said[0][1] == [b"jpeg"]
    grid._received(None, {"kind": "clicked", "row": 7}, [])
    assert clicked == [7]

"""The scene explorer, used as a person would: by filters, clicks and lassos."""

import json

import numpy as np
import pytest

from m4kit.camera import Crop
from m4kit.datasets import Sample
from m4kit.explore import SceneExplorer
from m4kit.explore.face_grid import FaceGrid, GridFace
from m4kit.explore.scene_explorer import PAGE, TABS
from m4kit.face_model import packaged_model
from m4kit.prediction import Face, FaceBox, Prediction
from m4kit.scenes.data import benchmark

from helpers.made_report import answer_of, made_report

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


def brightness(step):
    _, colour = step
    return sum(int(colour[place : place + 2], 16) for place in (1, 3, 5))


def click_cell(explorer, line, column):
    explorer.heat_view.clicked = [0, [line, column], explorer.heat_view.clicked[2] + 1]


def points(explorer, axis):
    return np.concatenate([trace[axis] for trace in explorer.scatter.data])


def go_to(explorer, name):
    explorer.tabs.selected_index = TABS.index(name)


def test_the_heat_map_shows_the_means_and_counts_of_the_metric(explorer):
    (heat,) = explorer.heat.data
    assert list(heat.y) == ["focus", "haze", "illumination", "lens", "motion", "snow", "rain"]
    assert list(heat.x) == ["0", "1", "3", "5"]
    assert list(heat.z[1][:3]) == pytest.approx([2, 3, 5])
    assert heat.text[1][2] == "<b>5.00</b><br>n = 6"
    # Darker is worse: large errors, but low recalls.
    assert brightness(heat.colorscale[0]) > brightness(heat.colorscale[-1])
    explorer.metric.value = "recall"
    (heat,) = explorer.heat.data
    assert (heat.z[1][3], heat.z[1][0]) == (pytest.approx(100 * 5 / 6), 100)
    assert brightness(heat.colorscale[0]) < brightness(heat.colorscale[-1])
    assert json.loads(explorer.heat_view.figure)["layout"]["title"]["text"] == "<b>Recall, %</b>"
    assert explorer.errors == []


def test_a_click_on_a_cell_shows_its_faces_worst_first(explorer, report):
    click_cell(explorer, 1, 2)
    rows = explorer.rows
    assert len(rows) == 6
    assert set(report.faces["condition"].iloc[rows]) == {"haze"}
    assert (np.diff(report.faces["nme"].iloc[rows]) < 0).all()
    assert TABS[explorer.tabs.selected_index] == "Faces"
    assert [card.row for card in explorer.grid.faces] == rows.tolist()


def test_a_click_on_a_cell_shows_all_of_its_faces_whatever_the_filters_were(explorer, report):
    explorer.filters["yaw"].value = (0, 1)
    explorer.filters["failures"].value = explorer.filters["failures"].options[-1]
    click_cell(explorer, 1, 2)
    assert len(explorer.rows) == 6
    card = explorer.grid.faces[0]
    assert (card.title, card.text) == ("haze 3", "error 6.0 %, p 30 %; blurred")
    explorer.clear.click()
    assert len(explorer.rows) == len(report.faces["face"])
    assert explorer.errors == []


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
    assert explorer.errors == []


def test_charts_and_scatter_follow_the_filters(explorer):
    explorer.filters["condition"].value = "rain"
    go_to(explorer, "Charts")
    first = bytes(explorer.charts[0].value)
    assert all(bytes(picture.value[:2]) == b"\xff\xd8" for picture in explorer.charts)
    explorer.metric.value = "recall"
    assert bytes(explorer.charts[0].value) != first
    go_to(explorer, "Scatter")
    assert [trace.name for trace in explorer.scatter.data] == ["rain"]
    np.testing.assert_allclose(points(explorer, "y"), points(explorer, "x") * 20)
    explorer.across.value = "size"
    assert set(points(explorer, "x")) <= {20, 30, 40, 50, 60, 70}
    assert explorer.errors == []


def test_a_chart_of_nothing_says_so_where_it_would_be(explorer):
    explorer.filters["condition"].value = "rain"
    explorer.filters["failures"].value = "missed"
    go_to(explorer, "Charts")
    assert "got none" in explorer.chart_errors.value
    assert explorer.charts[0].layout.display == "none"
    explorer.clear.click()
    assert explorer.charts[0].layout.display is None
    assert explorer.errors == []


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
    assert explorer.errors == []


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
    assert explorer.errors == []


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
    assert explorer.errors == []


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
    assert explorer.errors == []


def test_a_photo_in_which_nothing_is_found_is_said_and_the_explorer_goes_on(explorer, report):
    explorer.choose(0)
    shown = explorer.photo
    shown.predictor = lambda image: Prediction(image, ())
    shown.severity.value = 4.5
    assert "0 faces found, this one is missed" in shown.captions[1].value
    shown.show(PHOTO)
    assert "0 faces found" in shown.captions[0].value
    assert explorer.errors == []


def test_without_its_source_a_click_says_what_is_needed_where_it_is_seen(report):
    explorer = SceneExplorer(report)
    explorer.grid.on_click(3)
    assert "give SceneExplorer(report, source=samples)" in explorer.error_line.value
    assert len(explorer.errors) == 1
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
    assert explorer.errors == []


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

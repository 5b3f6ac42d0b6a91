"""Figures of a report, by what they contain, and the report's page."""

import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from m4kit.datasets import DatasetError, Sample
from m4kit.scenes import figures
from m4kit.scenes.figures import OVERLAYS
from m4kit.scenes.report_data import ReportError

from helpers.faces import ellipsoid
from helpers.made_report import made_report
from helpers.synthetic import prediction


@pytest.fixture(scope="module")
def report():
    return made_report()


def words(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_a_heat_map_has_a_number_and_a_count_for_each_cell(report):
    figure = figures.heat_map(report, "nme")
    assert isinstance(figure, Figure)
    (axes,) = figure.axes
    np.testing.assert_allclose(axes.images[0].get_array()[0], [2, 3, 5, 7.0 + 7 * 0.04], atol=0.01)
    assert len(words(figure)) == 28
    assert words(figure)[2] == "5.00\n$n$ = 6"
    assert [tick.get_text() for tick in axes.get_yticklabels()][:2] == ["focus", "haze"]


def test_a_heat_map_of_what_should_be_high_is_dark_where_it_is_low(report):
    (axes,) = figures.heat_map(report, "recall").axes
    image = axes.images[0]
    low, high = image.cmap(image.norm(100 * 5 / 6)), image.cmap(image.norm(100.0))
    assert sum(low[:3]) < sum(high[:3])


def test_a_line_for_each_condition_with_its_interval(report):
    (axes,) = figures.line_chart(report, "nme").axes
    assert [line.get_label() for line in axes.lines] == list(figures.CONDITIONS)
    assert len(axes.collections) == 7
    np.testing.assert_allclose(axes.lines[0].get_ydata()[:3], [2, 3, 5])


def few_at(report, condition, severity, count):
    """The report with only so many faces of a condition and severity."""
    rows = report.faces.index[
        (report.faces["condition"] == condition) & (report.faces["severity"] == severity)
    ]
    return replace(report, faces=report.faces.drop(index=rows[count:]))


def test_a_mean_over_few_faces_has_no_colour_in_a_heat_map_and_says_why(report):
    worst = few_at(report, "rain", 5, 2)
    worst.faces.loc[(worst.faces["condition"] == "rain") & worst.faces["nme"].notna(), "nme"] = 99.0
    (axes,) = figures.heat_map(worst, "nme").axes
    image = axes.images[0].get_array()
    assert np.ma.getmaskarray(image)[6].tolist() == [False, False, False, True]
    assert len(axes.patches) == 1
    assert axes.patches[0].get_hatch()
    assert "hatched: fewer than 5 faces" in axes.get_xlabel()
    assert words(figures.heat_map(worst, "nme"))[-1].endswith("$n$ = 1")
    # Where no cell has more, all are compared.
    (axes,) = figures.heat_map(made_report(scenes=1), "nme").axes
    assert not axes.patches


def test_a_mean_over_few_faces_is_hollow_in_a_line_chart(report):
    (axes,) = figures.line_chart(few_at(report, "rain", 5, 2), "nme").axes
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [line.get_xdata().tolist() for line in hollow] == [[5.0]]
    assert "hollow" in axes.get_xlabel()


def test_of_few_faces_each_is_a_point_and_of_many_a_violin_holds_the_worst():
    (axes,) = figures.violins(made_report(scenes=19), "nme", severities=[3]).axes
    assert len(axes.collections) == 0
    assert len(axes.lines[0].get_ydata()) == 19
    many = made_report(scenes=200)
    many.faces.loc[
        many.faces.index[(many.faces["condition"] == "haze") & (many.faces["severity"] == 3)][0], "nme"
    ] = 70.0
    (axes,) = figures.violins(many, "nme", severities=[3]).axes
    tops = [body.get_paths()[0].vertices[:, 1].max() for body in axes.collections]
    assert len(tops) == 7
    assert max(tops) == pytest.approx(70)
    assert 70 in axes.lines[4].get_ydata()
    assert axes.get_ylim()[1] > 70


def test_what_a_face_has_or_has_not_is_no_distribution(report):
    (axes,) = figures.violins(report, "recall").axes
    assert len(axes.collections) == 0
    assert [len(line.get_ydata()) for line in axes.lines] == [2, 1] * 7


def test_each_condition_is_named_with_its_number_of_faces(report):
    (axes,) = figures.violins(report, "nme", severities=[3]).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()][1] == "haze\n$n$ = 6"


def test_an_axis_names_the_error_that_it_shows(report):
    assert figures.score_scatter(report).axes[0].get_ylabel() == "NME, %"
    drifted = made_report()
    drifted.faces["nme"] = np.nan
    assert figures.score_scatter(drifted).axes[0].get_ylabel() == "Landmarks' drift from the clean photo, %"
    assert figures.caption(drifted, 2).startswith("focus 3: drift 3.0 %")


def test_every_face_that_has_both_is_in_the_scatter_and_a_clean_one_once(report):
    (axes,) = figures.score_scatter(report).axes
    points = np.concatenate([one.get_offsets() for one in axes.collections])
    found = report.faces["face"].notna()
    clean = found & (report.faces["severity"] == 0)
    photos = len(set(report.faces["clean"][clean]))
    assert clean.sum() == 7 * photos
    assert len(points) == (found & ~clean).sum() + photos
    assert axes.collections[0].get_label() == "clean"
    assert len(axes.collections[0].get_offsets()) == photos
    np.testing.assert_allclose(points[:, 0], np.minimum(100, 5 * points[:, 1]))


def test_without_a_truth_a_clean_photo_proves_nothing():
    report = made_report()
    report.faces["nme"] = np.nan
    (axes,) = figures.score_scatter(report).axes
    assert "clean" not in [one.get_label() for one in axes.collections]
    points = np.concatenate([one.get_offsets() for one in axes.collections])
    assert len(points) == (report.faces["face"].notna() & (report.faces["severity"] > 0)).sum()


def test_reliability_shows_predicted_and_actual_failures(report):
    (axes,) = figures.reliability(report).axes
    (dots,) = [line for line in axes.lines if line.get_marker() == "o"]
    predicted, failed = dots.get_data()
    assert (np.diff(predicted) >= 0).all()
    assert 5 <= len(predicted) <= 10
    assert failed[0] == 0
    (bars,) = axes.collections
    for (x, low), (_, high) in bars.get_segments():
        assert low <= failed[predicted == x] <= high


def test_the_gallery_begins_with_the_worst(report):
    rows = figures.worst_first(report)
    assert report.faces["face"].iloc[rows[:7]].isna().all()
    errors = report.faces["nme"].iloc[rows[7:]]
    assert (np.diff(errors) <= 0).all()
    figure = figures.gallery(report, count=8, columns=4, condition="haze")
    assert len([axes for axes in figure.axes if axes.images]) == 8
    assert figure.axes[0].get_title() == "haze 5\nmissed"
    assert figure.axes[1].get_title() == "haze 5\nerror 8.4 %, p 42 %\nblurred"


@pytest.mark.parametrize("side", [100, 150])
def test_however_long_a_reason_is_the_gallery_holds_it_and_pictures_keep_their_size(report, side):
    reasons = "the landmarks lie beside the edges, and the heads disagree about the jaw"
    told = replace(report, faces=report.faces.assign(reasons=reasons))
    figure = figures.gallery(told, count=6, columns=3, missed=False, side=side)
    figure.draw_without_rendering()
    for axes in figure.axes:
        title = axes.title.get_window_extent()
        assert title.x0 >= 0 and title.x1 <= figure.bbox.width and title.y1 <= figure.bbox.height
        assert title.width < side + 8
        assert axes.get_window_extent().width > 0.95 * side


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_the_user_chooses_is_drawn_over_the_face(report, overlay):
    row = int(figures.worst_first(report)[-1])
    plain = figures.face_picture(report, row, overlay="none", side=150)
    drawn = figures.face_picture(report, row, overlay=overlay, side=150)
    assert drawn.shape == (150, 150, 3)
    assert (np.abs(drawn.astype(int) - plain).max(axis=2) > 30).any() == (overlay != "none")


def test_an_unknown_overlay_is_an_error(report):
    with pytest.raises(ValueError, match="expected an overlay out of landmarks, pose"):
        figures.face_picture(report, 0, overlay="beauty")


def test_the_scene_figure_has_four_rows_and_a_column_a_photo():
    samples = [
        Sample(f"{name}{k}", lambda: prediction().image, condition=name)
        for name in ("haze", "rain")
        for k in (0, 1)
    ]
    figure = figures.scene_figure(
        samples, condition="haze", predictor=lambda image: prediction(ellipsoid(), source="x"), max_side=120
    )
    assert len(figure.axes) == 4 * 2
    assert [axes.get_title() for axes in figure.axes[:2]] == ["haze0", "haze1"]
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == [
        *("landmarks", "head pose", "translucent mesh", "solid mesh"),
    ]
    with pytest.raises(DatasetError, match="expected photos of snow, got none"):
        figures.scene_figure(samples, condition="snow", predictor=lambda image: None)


def test_numbers_that_a_report_lacks_are_an_error_with_a_remedy():
    report = made_report(scenes=1, conditions=("haze",))
    for name in ("nme", "landmark_drift", "checked_failure_probability"):
        report.faces[name] = np.nan
    with pytest.raises(ReportError, match="choose another metric, or analyse with truth"):
        figures.heat_map(report, "nme")
    with pytest.raises(
        ReportError, match="expected faces with a checked failure probability and a true error"
    ):
        figures.reliability(report)
    with pytest.raises(ReportError, match="got none in the report"):
        figures.gallery(replace(report, faces=report.faces.head(0)))


class TestPage:
    def test_it_holds_everything_and_loads_nothing_from_elsewhere(self, report, tmp_path):
        page = report.to_html(tmp_path / "new" / "index.html", title="Seven & more")
        text = page.read_text(encoding="utf-8")
        assert "<title>Seven &amp; more</title>" in text
        assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)
        assert text.count("<article") == len(report.faces["face"])
        assert text.count('class="cell"') >= 28 * 3
        assert 'class="cell few"' not in text
        assert text.count("<svg") >= 5
        assert "half-life: severity 2.0" in text
        assert page.stat().st_size < 10_000_000

    def test_a_faces_lines_are_its_landmarks_and_its_values_are_told(self, report, tmp_path):
        text = report.to_html(tmp_path / "a.html").read_text(encoding="utf-8")
        row = next(row for row in figures.worst_first(report).tolist() if report.faces["face"].notna()[row])
        # iBUG's points 0 to 16 are the jaw; the corner of the first pixel is at -0.5.
        places = report.face(row).landmarks[:17, :2] + 0.5
        jaw = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        assert f'<path class="jaw" d="{jaw}"/>' in text
        assert "<dt>NME</dt><dd>" in text

    def test_without_true_landmarks_it_tells_why_no_nme_doubles(self, tmp_path):
        report = made_report(scenes=2, conditions=("haze", "rain"), missed_from=3.0)
        assert "<th>NME doubles at</th>" in report.to_html(tmp_path / "a.html").read_text(encoding="utf-8")
        report.faces["nme"] = np.nan
        text = report.to_html(tmp_path / "b.html").read_text(encoding="utf-8")
        assert "NME doubles at" not in text
        assert "there is no NME that could double" in text
        assert "NME doubles at" not in report.to_markdown()

    def test_many_faces_are_cut_to_the_worst(self, tmp_path, monkeypatch):
        from m4kit.scenes import page

        monkeypatch.setattr(page, "FACES_BYTES", 40_000)
        report = made_report(scenes=3)
        text = report.to_html(tmp_path / "a.html").read_text(encoding="utf-8")
        shown = text.count("<article")
        assert 2 < shown < len(report.faces["face"])
        assert f"The {shown} worst of {len(report.faces['face'])} faces." in text

    def test_a_report_without_a_single_face_is_a_page_too(self, tmp_path):
        report = made_report(scenes=1, conditions=("haze",), severities=(3,))
        text = (
            replace(report, faces=report.faces.head(0))
            .to_html(tmp_path / "a.html")
            .read_text(encoding="utf-8")
        )
        assert "No face has anything to be compared with" in text
        assert "All 0 faces" in text

    def test_of_a_single_scene_it_promises_no_interval(self, report, tmp_path):
        single = made_report(scenes=1, conditions=("haze",)).to_html(tmp_path / "one.html").read_text("utf-8")
        assert "95 % interval" not in single
        assert "There is one scene, so means have no intervals." in single
        assert "with 95 % intervals" in report.to_html(tmp_path / "many.html").read_text("utf-8")

    def test_words_from_outside_cannot_break_it(self, tmp_path):
        report = made_report(scenes=1, conditions=("haze",), severities=(3,))
        report.faces["photo"] = '<script>alert("{{ title }}")</script>'
        text = report.to_html(tmp_path / "a.html").read_text(encoding="utf-8")
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(&#34;{{ title }}&#34;)" in text

    def test_it_tells_why_there_is_no_failure_probability(self, report, tmp_path):
        note = {"failure_note": "no failure probability: another network"}
        noted = replace(report, settings=report.settings | note)
        assert "No failure probability: another network." in noted.to_html(tmp_path / "a.html").read_text()

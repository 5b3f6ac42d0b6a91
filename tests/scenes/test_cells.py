"""Means by condition and severity, their intervals, and half-lives."""

import numpy as np
import pytest

from m4kit.scenes.cells import METRICS, cells, half_lives, interval, values_of

from helpers.made_report import made_report


@pytest.fixture(scope="module")
def report():
    return made_report()


def cell(table, condition, severity):
    (row,) = np.flatnonzero((table["condition"] == condition) & (table["severity"] == severity))
    return table.iloc[row]


def test_a_cell_holds_mean_count_and_interval(report):
    table = cells(report, "nme")
    assert len(table["mean"]) == 7 * 4
    three = cell(table, "haze", 3)
    assert (three["mean"], three["faces"], three["scenes"]) == (pytest.approx(5.0), 6, 6)
    assert 4.0 < three["low"] < 5.0 < three["high"] < 6.0


def test_recall_counts_missed_faces_and_errors_only_those_found(report):
    assert cell(cells(report, "recall"), "rain", 5)["mean"] == pytest.approx(100 * 5 / 6)
    assert cell(cells(report, "recall"), "rain", 3)["mean"] == 100
    five = cell(cells(report, "nme"), "rain", 5)
    assert (five["faces"], five["mean"]) == (
        5,
        pytest.approx(np.mean([7 * (0.8 + 0.4 * k / 5) for k in range(1, 6)])),
    )


def test_a_missed_face_counts_as_failed(report):
    # At severity 5 the errors are 5.6 (missed), 6.16, 6.72, 7.28, 7.84 and 8.4 %.
    assert cell(cells(report, "failure_rate"), "snow", 5)["mean"] == pytest.approx(100 * 2 / 6)


def test_precision_needs_a_truth_that_names_every_face(report):
    assert len(cells(report, "precision")["mean"]) == 0
    complete = made_report(scenes=2, conditions=("haze",))
    complete.photos["all_labelled"] = True
    assert cell(cells(complete, "precision"), "haze", 1)["mean"] == 100


def test_every_metric_can_be_asked_for_and_no_other(report):
    for metric in METRICS:
        assert len(values_of(report, metric)) == len(report.faces)
    with pytest.raises(ValueError, match=r"expected a metric out of nme, .* got 'beauty'"):
        values_of(report, "beauty")


def test_intervals_draw_scenes_and_not_faces():
    """Ten copies of each of two scenes are no more than two scenes: every draw is one of three means."""
    values, scenes = np.repeat([0.0, 1.0], 10), np.repeat(["a", "b"], 10)
    assert interval(values, scenes) == (0.0, 1.0)
    assert np.isnan(interval(values[:10], scenes[:10])).all()


def test_half_life_is_where_the_error_doubles(report):
    lives = half_lives(report)
    assert lives["condition"].tolist() == ["focus", "haze", "illumination", "lens", "motion", "snow", "rain"]
    # The mean error is 2 + s: it doubles at severity 2.
    np.testing.assert_allclose(lives["nme_doubles"], 2.0)
    assert np.isinf(lives["recall_halves"]).all()
    np.testing.assert_allclose(lives["half_life"], 2.0)


def test_half_life_is_where_half_of_the_faces_are_lost_and_unknown_without_clean_photos():
    lost = made_report(scenes=1, conditions=("rain",), severities=(0, 1, 2, 4), missed_from=3)
    assert half_lives(lost)["recall_halves"].tolist() == [3.0]
    unknown = made_report(conditions=("rain",), severities=(1, 3))
    assert np.isnan(half_lives(unknown)["half_life"]).all()


def test_half_lives_are_measured_as_far_as_the_figures_that_are_known():
    missed = made_report(scenes=1, conditions=("rain",), severities=(0, 1, 2, 4), missed_from=3)
    # Nobody is found at 4, whose error would be known.
    assert half_lives(missed)["measured"].tolist() == [2.0]
    missed.faces["nme"] = np.nan
    assert np.isnan(half_lives(missed)["nme_doubles"]).all()
    assert half_lives(missed)["measured"].tolist() == [4.0]
    unknown = half_lives(made_report(conditions=("rain",), severities=(1, 3)))
    assert np.isnan(unknown["measured"]).tolist() == [True]


def test_half_life_is_beyond_what_was_measured_and_no_farther(tmp_path):
    mild = made_report(conditions=("rain",), severities=(0, 1))
    lives = half_lives(mild)
    assert np.isinf(lives["half_life"]).all()
    assert lives["measured"].tolist() == [1.0]
    assert "| rain | > 1 | > 1 | > 1 |" in mild.to_markdown().splitlines()
    page = mild.to_html(tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<td>&gt; 1</td>" in page


def test_the_findings_are_a_markdown_table(report):
    text = report.to_markdown()
    lines = text.splitlines()
    assert "| haze | 3 | 5.00 (6) [4." in text
    assert "| haze | 2.0 | > 5 | 2.0 |" in lines
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert len(widths) == 2


def test_the_findings_tell_how_well_failures_were_predicted():
    known = made_report()
    known.faces["checked_failure_probability"] = known.faces["nme"] / 10
    text = known.to_markdown()
    # Each condition's worst face at severity 5 has 8.4 %.
    assert "7 with an NME above 8 %: AUROC 1.000" in text
    assert "| snow | 1.00 | 11 | 1 |" in text
    # Six faces under seven conditions at severities 1, 3 and 5, one of them missed at 5, and the six clean ones once.
    assert "Checked failure probability, 125 faces found" in text
    known.faces["checked_failure_probability"] *= -1
    assert "AUROC 0.000" in known.to_markdown()
    known.faces["checked_failure_probability"] = np.nan
    assert "Checked failure probability" not in known.to_markdown()


def test_the_summary_has_the_intervals_too(report):
    summary = report.summary()
    row = summary.iloc[10]
    of = cell(cells(report, "nme"), row["condition"], row["severity"])
    assert (row["nme"], row["nme_low"], row["nme_high"]) == (of["mean"], of["low"], of["high"])
    assert row["recall_low"] <= row["recall"] <= row["recall_high"]

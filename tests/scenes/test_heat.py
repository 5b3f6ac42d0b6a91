"""The cells of a heat map."""

import numpy as np
import pytest

from m4kit.scenes.cells import cells, heat_grid
from m4kit.scenes.heat import heat_rows

from helpers.made_report import made_report


@pytest.fixture
def report():
    return made_report(conditions=("haze", "rain"), severities=(0, 3))


def of(report, condition, severity, metric="nme"):
    places = heat_grid(cells(report, metric))
    line = dict(heat_rows(places, metric))[condition]
    return line[places.severities.index(severity)]


def brightness(colour):
    return sum(int(colour[place : place + 2], 16) for place in (1, 3, 5))


def test_a_cell_has_its_mean_its_count_and_its_interval_in_words(report):
    cell = of(report, "haze", "3")
    assert (cell["mean"], cell["faces"], cell["few"]) == ("5.00", 6, False)
    assert cell["about"].startswith("6 faces, 95 % interval 4.")
    assert brightness(cell["colour"]) < brightness(of(report, "haze", "0")["colour"])


def test_what_should_be_high_is_dark_where_it_is_low():
    lost = made_report(conditions=("haze",), severities=(0, 5))
    dark, light = (brightness(of(lost, "haze", one, "recall")["colour"]) for one in "50")
    assert dark < light


def test_what_few_faces_say_gives_no_colour_and_does_not_pale_the_others(report):
    before = of(report, "haze", "3")["colour"]
    rain = report.faces.index[(report.faces["condition"] == "rain") & (report.faces["severity"] == 3)]
    report.faces.loc[rain, "nme"] = [90.0] + [np.nan] * 5
    cell = of(report, "rain", "3")
    assert (cell["mean"], cell["colour"], cell["few"], cell["about"]) == ("90.0", "", True, "1 face")
    assert of(report, "haze", "3")["colour"] == before


def test_where_nothing_is_there_is_no_cell(report):
    report.faces.loc[report.faces["severity"] == 3, "nme"] = np.nan
    places = heat_grid(cells(report, "nme"), like=cells(report, "recall"))
    assert places.severities == ["0", "3"]
    assert [line[1] for _, line in heat_rows(places, "nme")] == [None, None]

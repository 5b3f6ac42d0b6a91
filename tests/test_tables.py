"""Tables as text."""

import numpy as np
import pandas as pd

from m4kit.tables import as_text


def test_words_stand_on_the_left_numbers_on_the_right_and_the_unknown_is_a_dash():
    table = pd.DataFrame(
        {"name": ["a", None, "long name"], "NME": [1.5, 22.25, np.nan], "faces": [1, 20, 300]}
    )
    lines = as_text(table).splitlines()
    assert [line.split() for line in lines] == [
        ["name", "NME", "faces"],
        ["a", "1.50", "1"],
        ["-", "22.25", "20"],
        ["long", "name", "-", "300"],
    ]
    assert [line[0] for line in lines] == ["n", "a", "-", "l"]
    assert len({len(line) for line in lines[1:]}) == 1


def test_a_wide_and_long_table_is_whole():
    sentence = "a rather long sentence about it " * 3
    table = pd.DataFrame({f"column {k}": [sentence] * 200 for k in range(9)})
    lines = as_text(table).splitlines()
    assert len(lines) == 201
    assert {line.count("a rather long") for line in lines[1:]} == {27}

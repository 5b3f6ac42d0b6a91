"""What the colours stand for is said beside the live view, and in the still picture."""

import numpy as np
import pytest

from m4kit.explore.controls import legend
from m4kit.vertex_colours import VertexColours, scalar_colours, vertex_colours
from m4kit.visualize.legend import with_legend

from helpers.faces import face

NAMES = {"nose <tip>": (250, 10, 20), "left ear": (0, 200, 0), "chin": (0, 0, 255)}
NAMED = VertexColours(np.zeros((4, 3), np.uint8), names=NAMES)


def test_numbers_have_a_bar_with_both_ends_and_a_unit():
    words = legend(scalar_colours(np.array([-1.5, 4.0]), unit="mm from here"))
    assert "linear-gradient" in words
    assert all(f"<span>{text}</span>" in words for text in ("\N{MINUS SIGN}1.5", "4", "mm from here"))


def test_each_name_stands_beside_its_colour():
    items = legend(NAMED).split("<div>")[1:]
    assert [name in item for name, item in zip(("nose &lt;tip&gt;", "left ear", "chin"), items, strict=True)]
    assert [f"rgb{colour}" in item for colour, item in zip(NAMES.values(), items, strict=True)] == [True] * 3


def test_of_a_photo_it_says_how_much_is_not_seen():
    assert "25 %" in legend(VertexColours(np.zeros((4, 3), np.uint8), filled=np.array([True, *[False] * 3])))


def test_one_colour_for_all_needs_no_legend():
    assert legend(VertexColours(np.zeros((4, 3), np.uint8))) == ""


@pytest.mark.parametrize("side", [160, 420])
def test_in_a_still_picture_each_colour_is_seen_in_the_lowest_tenth_alone(side):
    white = np.full((side, side, 3), 255, np.uint8)
    picture = with_legend(white.copy(), NAMED)
    for colour in NAMES.values():
        rows = np.flatnonzero((picture == colour).all(-1).any(1))
        assert len(rows) >= 6
        assert rows.min() > 0.9 * side
    changed = (picture != white).any(-1)
    assert not changed[:, [0, -1]].any()


@pytest.mark.parametrize(("side", "room"), [(120, False), (160, False), (245, True), (320, True)])
def test_the_models_regions_stand_in_a_still_picture_whole_or_not_at_all(side, room):
    white = np.full((side, side, 3), 255, np.uint8)
    regions = vertex_colours(face(), "region")
    picture = with_legend(white.copy(), regions)
    # No name is written over a square, and no square lies over another or at the edge.
    seen = [(picture == colour).all(-1).sum() for colour in regions.names.values()]
    assert seen == [8 * 8 if room else 0] * len(regions.names)
    changed = (picture != white).any(-1)
    assert not changed[: int(0.75 * side)].any() and not changed[:, [0, -1]].any()
    assert changed.any() == room


def test_a_still_picture_of_one_colour_stays_as_it_is():
    white = np.full((80, 80, 3), 255, np.uint8)
    assert (with_legend(white.copy(), VertexColours(np.zeros((4, 3), np.uint8))) == white).all()

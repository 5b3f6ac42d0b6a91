"""Figures in a notebook fit a light and a dark page; on paper they are dark on white."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from m4kit.visualize.notebook_figure import DPI, NotebookFigure
from m4kit.visualize.style import INK, MAT, MAT_INK, SCREEN_INK

PAGES = ("#ffffff", "#111111")
"""Backgrounds of JupyterLab's light and dark theme."""


def contrast(one, other) -> float:
    """WCAG 2's contrast ratio of two colours, 1 to 21."""

    def luminance(colour):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(colour)]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    dark, light = sorted(luminance(colour) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def read(content):
    with Image.open(io.BytesIO(content)) as picture:
        return picture.format, np.asarray(picture.convert("RGBA")).astype(int)


@pytest.fixture
def chart():
    figure = NotebookFigure(figsize=(4, 3), dpi=DPI)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=INK, linewidth=6)
    axes.plot([0, 1], [1, 0], color="#d55e00", linewidth=6)
    axes.set_xlabel("step", color=INK)
    axes.grid(color="#d8dee4")
    return figure


def test_ink_can_be_read_on_both_pages_and_on_the_mat():
    # The best that one colour can have to both is 4.35.
    assert min(contrast(SCREEN_INK, page) for page in PAGES) > 4.25
    assert contrast(MAT_INK, MAT) > 7


def test_a_chart_has_no_ground_and_its_dark_ink_becomes_the_screens(chart):
    kind, pixels = read(chart.to_bytes())
    assert kind == "PNG"
    assert pixels[2, 2, 3] == 0
    assert (pixels[..., 3] == 0).mean() > 0.7
    seen = pixels[pixels[..., 3] == 255][:, :3]
    for colour, many in ((SCREEN_INK, 1000), ("#d55e00", 1000)):
        assert (np.abs(seen - 255 * np.array(to_rgb(colour))).max(-1) < 6).sum() > many
    assert seen.max(-1).min() > 90


def test_a_saved_chart_is_dark_on_white_before_and_after_it_was_shown(chart, tmp_path):
    before = chart.save(tmp_path / "before.png").read_bytes()
    chart.to_bytes()
    after = chart.save(tmp_path / "after.png").read_bytes()
    assert before == after
    _, pixels = read(after)
    assert pixels[2, 2].tolist() == [255, 255, 255, 255]
    assert (np.abs(pixels[..., :3] - 255 * np.array(to_rgb(INK))).max(-1) < 6).sum() > 1000


def test_words_over_the_cells_of_a_heat_map_keep_their_colour():
    figure = NotebookFigure(figsize=(2, 2), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow([[0.0, 0.0], [0.0, 0.0]], cmap="Reds", vmin=0, vmax=1)
    axes.text(0.5, 0.5, "\N{FULL BLOCK}", color=INK, fontsize=40, ha="center", va="center")
    _, pixels = read(figure.to_bytes())
    assert np.abs(pixels[..., :3] - 255 * np.array(to_rgb(INK))).max(-1).min() < 6


def test_photos_lie_on_a_mat_as_jpeg():
    figure = NotebookFigure(figsize=(2, 2), dpi=DPI, facecolor="white")
    figure.add_axes((0.25, 0.25, 0.5, 0.5)).imshow(np.full((9, 9, 3), 200, np.uint8))
    kind, pixels = read(figure.to_bytes())
    assert kind == "JPEG"
    assert np.abs(pixels[3, 3, :3] - 255 * np.array(to_rgb(MAT))).max() < 4

"""What the explorer of the heads' weights says: of an answer, of its accuracy, and below a still picture."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from m4kit.ablation.heads.accuracy import Accuracy, accuracy_at
from m4kit.ablation.heads.record import HeadStudy
from m4kit.explore.head_answers import Answer
from m4kit.explore.legend import legend
from m4kit.explore.simplex_picture import accuracy_scale
from m4kit.visualize import strokes

_INK, _PAPER = (36, 41, 47), (255, 255, 255)
_LINE = 24
"""Height in pixels of a line below a picture."""


def answer_in_words(answer: Answer) -> str:
    """How far an answer is from the network's own, as HTML."""
    change = answer.pose_change
    return block(
        "From the network's own answer:<br>"
        f"landmarks <b>{answer.landmark_distance:.2f} %</b> of the face's size<br>"
        f"head turned by <b>{answer.turn:.1f}°</b> "
        f"(yaw {_signed(change.yaw)}, pitch {_signed(change.pitch)}, roll {_signed(change.roll)})"
    )


def _how(found: Accuracy) -> str:
    return "measured" if found.measured else "interpolated"


def listed(weights: np.ndarray) -> str:
    """Weights with two decimals."""
    return ", ".join(f"{weight:.2f}" for weight in weights)


def _signed(degrees: float) -> str:
    """With its sign and one decimal; no zero is negative."""
    return f"{round(degrees, 1) + 0.0:+.1f}"


def accuracy_in_words(study: HeadStudy, weights: np.ndarray) -> str:
    """What a study says of weights (4,), on which faces, and how to read the cuts, as HTML."""
    found = accuracy_at(study, weights)
    (low, high), (more, least, most) = found.interval, found.difference
    share = f"{100 * study.confidence:.0f} %"
    verdict = "better" if most < 0 else "worse" if least > 0 else "does not differ"
    words = (
        f"{study.criterion} <b>{found.nme:.2f} %</b> (<b>{_how(found)}</b>; {share} interval {low:.2f} to "
        f"{high:.2f})<br>"
        f"less the best measured weights': {more:+.3f} ({least:+.3f} to {most:+.3f}, paired): {verdict}<br>"
        f"on {study.faces} faces of {html.escape(study.dataset)}, not on this photo"
    )
    how_to_read = (
        "Each triangle holds one head's weight as it is and shares the rest among the other three. Red: the present "
        "weights; cross: the lowest on the cut; within the white line, weights do not differ from the best; the last "
        "colour stands for all that is worse. Between the weights that were measured, in steps of 0.1 and finer "
        "around the best, all is interpolated."
    )
    return block(words) + legend(accuracy_scale(study)) + block(how_to_read, faint=True)


def block(words: str, *, faint: bool = False) -> str:
    """Words as a paragraph of HTML."""
    colour = "var(--jp-ui-font-color2, #666)" if faint else "inherit"
    return f'<div style="line-height: 1.45; max-width: 620px; color: {colour}">{words}</div>'


def accuracy_in_a_line(study: HeadStudy, weights: np.ndarray) -> str:
    """What a study says of weights (4,), in a few words."""
    found = accuracy_at(study, weights)
    return f"{study.criterion} {found.nme:.2f} %, {_how(found)}, on {study.faces} other faces"


def in_a_row(pictures: Sequence[tuple[np.ndarray, str]]) -> np.ndarray:
    """Pictures (H, W, 3) uint8 RGB side by side, as tall as the first, with words below each."""
    height, columns = pictures[0][0].shape[0], []
    for picture, words in pictures:
        column = np.full((height + _LINE, picture.shape[1], 3), _PAPER, dtype=np.uint8)
        column[: len(picture)] = picture[: len(column)]
        place = (picture.shape[1] / 2, height + _LINE / 2)
        strokes.words(column, words or " ", place, height=12, colour=_INK, halo=_PAPER)
        columns.append(column)
    return np.concatenate(columns, axis=1)

"""Chart of how much of the differences between drawings is left in a network's meshes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from m4kit import metrics
from m4kit.prediction import Face, check_faces
from m4kit.visualize.style import GRID, INK, SOFT

if TYPE_CHECKING:
    from m4kit.visualize.notebook_figure import NotebookFigure


def likeness_figure(drawn: Sequence[Face], predicted: Sequence[Face], *, height: int = 420) -> NotebookFigure:
    """Draw each pair of n faces as a dot: how far apart they are as drawn, and how far apart the network makes them.

    `drawn` are faces that follow the true points (`exaggeration.follow`), `predicted` the network's of the same
    drawings. A distance is the root mean square of that of the 68 landmarks of both faces, in mm, without pose. On
    the diagonal nothing is lost. Below it the network makes different faces alike: that is what "lack of
    expressiveness in terms of personalization" looks like. The title gives what is left of the distances, the
    predicted mean divided by the drawn one, with its 95 % interval (bootstrap by faces).

    Raises `ValueError` for other numbers of faces, or fewer than three.
    """
    from m4kit.visualize.notebook_figure import DPI, NotebookFigure

    drawn, predicted = (check_faces(some, "likeness_figure") for some in (drawn, predicted))
    if len(drawn) != len(predicted) or len(drawn) < 3:
        raise ValueError(
            f"likeness_figure: expected three or more faces, as many drawn as predicted, got {len(drawn)} and "
            f"{len(predicted)}"
        )
    apart = np.stack([_distances(drawn), _distances(predicted)])
    first, second = np.triu_indices(len(drawn), 1)
    figure = NotebookFigure(
        figsize=(height / DPI, height / DPI), dpi=DPI, layout="constrained", facecolor="white"
    )
    axes = figure.subplots()
    end = 1.05 * apart.max()
    axes.plot([0, end], [0, end], color=SOFT, linewidth=1)
    axes.scatter(*apart[:, first, second], s=14, color="#4c8ed9", alpha=0.6, linewidths=0)
    left = _left(apart)
    low, high = metrics.bootstrap(
        np.arange(len(drawn)), statistic=lambda faces: _left(apart[:, faces][:, :, faces])
    )
    axes.set_title(
        f"{100 * left:.0f} % of the distances are left\n({100 * low:.0f} to {100 * high:.0f} %)",
        color=INK,
        fontsize=10,
    )
    axes.set(xlim=(0, end), ylim=(0, end), aspect="equal")
    axes.set_xlabel("between two drawings, mm", color=INK)
    axes.set_ylabel("between the network's meshes, mm", color=INK)
    axes.annotate("nothing lost", (0.9 * end, 0.9 * end), ha="right", va="bottom", color=SOFT, fontsize=8)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _distances(faces: Sequence[Face]) -> np.ndarray:
    """Root mean square distance of the landmarks of each two faces, (n, n), in mm."""
    points = np.stack([face.model.landmarks(face.identity, face.expression) for face in faces])
    difference = points[:, None] - points[None]
    return np.sqrt(np.square(difference).sum(-1).mean(-1))


def _left(apart: np.ndarray) -> float:
    """Mean predicted distance divided by the mean drawn one of (2, n, n); a face and itself add 0 to both."""
    drawn, predicted = apart.sum(axis=(1, 2))
    return float(predicted / drawn) if drawn > 0 else float("nan")

"""Writes the files of an evaluation: a table, the error curve, the predictions, and a page of the worst faces."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from m4kit import metrics
from m4kit.camera import Crop, cut_square
from m4kit.datasets import DatasetError, Sample
from m4kit.datasets.files import read_arrays
from m4kit.evaluate.crops import check_labelled
from m4kit.evaluate.landmarks import UNKNOWN, LandmarkEvaluation, artists_of, true_landmarks, true_poses
from m4kit.files import OutputFolder, reason_of
from m4kit.pages import picture_url, render_page
from m4kit.visualize import strokes

COLUMNS = (
    *("name", "nme_percent", "error_x_percent", "error_y_percent"),
    *("true_yaw", "true_pitch", "true_roll", "yaw", "pitch", "roll"),
)
"""The columns of `faces.csv`. Angles are in degrees, y points down."""

FILES = ("faces.csv", "predictions.npz", "error_curve.png", "index.html")
"""What `write_results` writes."""

WORST, WORST_OF_ARTIST = 20, 12
"""How many faces the page shows, the worst first: of the set, or of each artist of a set of works of art."""

_SIDES = (360, 320, 240)
_BYTES = 60_000
_MARGIN = 0.25
_CURVE_END = 12.0
"""Where the error curve ends, in percent."""


def write_results(
    result: LandmarkEvaluation, samples: Sequence[Sample], folder: str | Path, *, report: str = ""
) -> Path:
    """Write `FILES` into a folder; return the page.

    `samples` are the evaluated ones. The page shows the pictures of the twenty worst faces, in a set of works of art
    those of the twelve worst of each artist; for a picture that cannot be read it shows the error. `report` is the
    text at its top, by default that of `result`.

    Raises the errors of `files.OutputFolder`.
    """
    numbers = [result.nme, result.error_vectors, result.true_poses, result.predicted_poses]
    table = pd.DataFrame(np.column_stack(numbers).round(3), columns=COLUMNS[1:])
    table.insert(0, COLUMNS[0], result.names)
    arrays = {
        "names": np.array(result.names),
        "landmarks": result.predicted.astype(np.float32),
        "poses": result.predicted_poses.astype(np.float32),
    }
    by_name = {sample.name: sample for sample in samples}
    groups = [
        (title, line, [_card(result, row, by_name[result.names[row]]) for row in rows])
        for title, line, rows in _groups(result)
    ]
    text = render_page(
        "evaluation.html", title="Evaluation of landmarks", report=report or result.report(), groups=groups
    )
    writers = (
        lambda path: table.to_csv(path, index=False),
        lambda path: np.savez_compressed(path, **arrays),
        lambda path: path.write_bytes(_error_curve(result)),
        lambda path: path.write_text(text, encoding="utf-8"),
    )
    with OutputFolder(folder, FILES) as output:
        *_, page = map(output.write, FILES, writers)
    return page


def read_predictions(path: str | Path, samples: Sequence[Sample]) -> LandmarkEvaluation:
    """Evaluate another network's predictions of the same faces.

    The file is an `.npz`, such as `write_results` leaves, with `names` (n,), `landmarks` (n, 68, 2 or 3) in photo
    pixels counted from 0 (depth towards the camera), and optionally `poses` (n, 3): yaw, pitch and roll in degrees.
    Raises `DatasetError` for another file, and for samples without true landmarks or without a prediction.
    """
    check_labelled(samples)
    rows = {"names": [()], "landmarks": [(68, 2), (68, 3)]}
    arrays = read_arrays(Path(path), rows, {"poses": [(3,)]})
    names, landmarks = arrays["names"], arrays["landmarks"].astype(float)
    poses = arrays.get("poses", np.full((len(names), 3), np.nan)).astype(float)
    if not np.isfinite(landmarks).all():
        raise DatasetError(f"{path}: expected finite landmarks, got NaN or infinity; leave those faces out")
    row_of = {str(name): row for row, name in enumerate(names)}
    missing = [sample.name for sample in samples if sample.name not in row_of]
    if missing:
        raise DatasetError(
            f"{path}: expected a prediction for each of {len(samples)} faces, {len(missing)} have none "
            f"(the first: {missing[0]}); use the names of the data set's faces"
        )
    rows = [row_of[sample.name] for sample in samples]
    return LandmarkEvaluation(
        names=tuple(sample.name for sample in samples),
        predicted=landmarks[rows],
        true=true_landmarks(samples),
        predicted_poses=poses[rows],
        true_poses=true_poses(samples),
        inputs=f"predictions of {Path(path).name}",
        artists=artists_of(samples),
    )


def _error_curve(result: LandmarkEvaluation) -> bytes:
    """PNG of the cumulative error curve: the share of faces with at most a given error."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    groups = [("all faces", np.ones(len(result), dtype=bool))]
    if result.turns_known:
        bins = metrics.yaw_bin(result.true_poses[:, 0])
        groups += [
            (f"|yaw| {low} to {high}°", bins == number) for number, (low, high) in enumerate(metrics.YAW_BINS)
        ]
    for number, (name, chosen) in enumerate(groups):
        if chosen.any():
            errors = np.sort(result.nme[chosen])
            share = 100 * np.arange(1, len(errors) + 1) / len(errors)
            axes.step(
                [0, *errors],
                [0, *share],
                where="post",
                label=f"{name}: {errors.mean():.2f} % (n = {len(errors)})",
                color="0.15" if number == 0 else f"C{number - 1}",
                linewidth=2.2 if number == 0 else 1.3,
            )
    axes.set(
        xlim=(0, _CURVE_END),
        ylim=(0, 100),
        xlabel="NME in % of the face's size",
        ylabel="share of the faces in %",
        title=f"Share of faces with at most this error\n{result.inputs}",
    )
    axes.title.set_fontsize(10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, title="mean error")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _groups(result: LandmarkEvaluation) -> list[tuple[str, str, np.ndarray]]:
    """Title, text and rows, worst first, of each group of faces on the page."""
    worst = np.argsort(-result.nme, kind="stable")
    if not result.artists:
        return [(f"The {min(WORST, len(worst))} worst faces", "", worst[:WORST])]
    artists = np.array([name or UNKNOWN for name in result.artists], dtype=object)
    groups = []
    for name, count, nme, low, high in result.by_artist.itertuples(index=False):
        line = f"{count} face{'s' * (count > 1)}, NME {nme:.2f} %"
        line += f" (95 % interval {low:.2f} to {high:.2f})" if count > 1 else ""
        groups.append((name, line, worst[artists[worst] == name][:WORST_OF_ARTIST]))
    return groups


def _card(result: LandmarkEvaluation, row: int, sample: Sample) -> dict[str, object]:
    """What the page shows of one face."""
    picture = error = None
    try:
        compared = _compared(sample.image(), result.true[row][:, :2], result.predicted[row][:, :2])
        picture = picture_url(compared, _BYTES, sides=_SIDES)
    # Whatever a decoder raises: the other faces and the tables count more.
    except Exception as problem:
        error = reason_of(problem)
    known = result.true_poses[row]
    angles = " / ".join("?" if np.isnan(angle) else f"{angle:+.0f}" for angle in known)
    return {
        "name": sample.name,
        "nme": result.nme[row],
        "angles": "" if np.isnan(known).all() else angles,
        "picture": picture,
        "error": error,
    }


def _compared(image: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """A picture of one face with the true landmarks in green and the predicted ones in magenta."""
    both = np.concatenate([true, predicted])
    low, high = both.min(axis=0), both.max(axis=0)
    side = (1 + 2 * _MARGIN) * float((high - low).max())
    square = Crop(*(low + high - side) / 2, side)
    picture = cut_square(image, square, _SIDES[0])
    for points, colour in ((true, (64, 220, 96)), (predicted, (255, 64, 200))):
        placed = square.to_square(points, _SIDES[0])
        strokes.dots(picture, placed, 3.2).paint(picture, (20, 20, 20), opacity=0.6)
        strokes.dots(picture, placed, 2.2).paint(picture, colour)
    return picture

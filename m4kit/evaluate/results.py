"""An evaluation as files: a table, the error curve, predictions to compare with, and the worst faces as a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from m4kit import metrics
from m4kit.camera import Crop, cut_square
from m4kit.datasets import DatasetError, Sample
from m4kit.datasets.files import load_arrays
from m4kit.evaluate.landmarks import LandmarkEvaluation, check_labelled, true_poses
from m4kit.images import ImageError
from m4kit.predict_page import base64_jpeg

COLUMNS = (
    *("name", "nme_percent", "error_x_percent", "error_y_percent"),
    *("true_yaw", "true_pitch", "true_roll", "yaw", "pitch", "roll"),
)
"""The columns of `faces.csv`; angles are in degrees, y points down."""

WORST = 20
_SIDE = 360
_BYTES = 60_000
_MARGIN = 0.25
_FURTHEST = 12.0
"""Where the error curve ends, in percent."""


def write_results(
    result: LandmarkEvaluation, samples: Sequence[Sample], folder: str | Path, *, report: str = ""
) -> Path:
    """Write `faces.csv`, `predictions.npz`, `error_curve.png` and `index.html` into a folder; gives the page.

    `samples` are those that were evaluated, for the pictures of the twenty worst faces; one that cannot be read
    leaves its error in its place. `report` heads the page; by default it is the evaluation's own.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "faces.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        numbers = np.column_stack(
            [result.nme, result.error_vectors, result.true_poses, result.predicted_poses]
        ).round(3)
        writer.writerows([name, *row] for name, row in zip(result.names, numbers.tolist(), strict=True))
    np.savez_compressed(
        folder / "predictions.npz",
        names=np.array(result.names),
        landmarks=result.predicted.astype(np.float32),
        poses=result.predicted_poses.astype(np.float32),
    )
    (folder / "error_curve.png").write_bytes(_error_curve(result))
    page = folder / "index.html"
    page.write_text(_page(result, samples, report or result.report()), encoding="utf-8")
    return page


def read_predictions(path: str | Path, samples: Sequence[Sample]) -> LandmarkEvaluation:
    """Another network's predictions on the same faces, to be judged alike.

    An `.npz` file with `names` (n,), `landmarks` (n, 68, 2 or 3) in photo pixels counted from 0, and optionally
    `poses` (n, 3), yaw, pitch and roll in degrees, as `write_results` leaves one. Raises `DatasetError` for a file
    that is not such, and for faces without true landmarks or without a prediction.
    """
    check_labelled(samples)
    expected = f"{path}: expected predictions (.npz with names, landmarks and optionally poses)"
    arrays = load_arrays(Path(path), expected)
    if not isinstance(arrays, dict) or {"names", "landmarks"} - arrays.keys():
        got = ", ".join(sorted(arrays)) if isinstance(arrays, dict) else "one array"
        raise DatasetError(f"{expected}, got {got}")
    names = np.atleast_1d(arrays["names"])
    n = len(names)
    try:
        landmarks = arrays["landmarks"].astype(float)
        poses = arrays.get("poses", np.full((n, 3), np.nan)).astype(float)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{expected}: {error}") from error
    if landmarks.shape not in ((n, 68, 2), (n, 68, 3)) or poses.shape != (n, 3):
        raise DatasetError(
            f"{path}: expected landmarks ({n}, 68, 2 or 3) and poses ({n}, 3), got {landmarks.shape} and "
            f"{poses.shape}"
        )
    if not np.isfinite(landmarks).all():
        raise DatasetError(f"{path}: expected finite landmarks, got NaN or infinity; leave those faces out")
    row_of = {str(name): row for row, name in enumerate(names)}
    lacking = [sample.name for sample in samples if sample.name not in row_of]
    if lacking:
        raise DatasetError(
            f"{path}: expected a prediction for each of {len(samples)} faces, {len(lacking)} have none "
            f"(the first: {lacking[0]}); names are those of the data set's faces"
        )
    rows = [row_of[sample.name] for sample in samples]
    return LandmarkEvaluation(
        names=tuple(sample.name for sample in samples),
        predicted=landmarks[rows, :, :2],
        true=np.stack([sample.landmarks[:, :2] for sample in samples]),
        predicted_poses=poses[rows],
        true_poses=true_poses(samples),
        inputs=f"predictions of {Path(path).name}",
    )


def _error_curve(result: LandmarkEvaluation) -> bytes:
    """The share of faces with at most a given error, as PNG."""
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
        xlim=(0, _FURTHEST),
        ylim=(0, 100),
        xlabel="NME in % of the face's size",
        ylabel="share of the faces in %",
        title=f"How many faces have at most this error\n{result.inputs}",
    )
    axes.title.set_fontsize(10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, title="mean error")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _page(result: LandmarkEvaluation, samples: Sequence[Sample], report: str) -> str:
    by_name = {sample.name: sample for sample in samples}
    cards = []
    for row in np.argsort(-result.nme)[:WORST]:
        sample = by_name[result.names[row]]
        try:
            picture = _compared(sample.image(), result.true[row], result.predicted[row])
            shown = f'<img alt="{escape(sample.name)}" src="data:image/jpeg;base64,{base64_jpeg(picture, _BYTES)}">'
        except ImageError as error:
            shown = f"<p>{escape(str(error))}</p>"
        angles = " / ".join("?" if np.isnan(angle) else f"{angle:+.0f}" for angle in result.true_poses[row])
        cards.append(
            f"<figure>{shown}<figcaption><b>{result.nme[row]:.1f} %</b> {escape(sample.name)}<br>"
            f"yaw / pitch / roll {angles}°</figcaption></figure>"
        )
    return _PAGE.format(report=escape(report), cards="\n".join(cards), count=len(cards))


def _compared(image: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """A face cut out, with the true landmarks in green and the predicted ones in magenta."""
    from m4kit.visualize import strokes

    both = np.concatenate([true, predicted])
    low, high = both.min(axis=0), both.max(axis=0)
    side = (1 + 2 * _MARGIN) * float((high - low).max())
    corner = (low + high) / 2 - side / 2
    square = Crop(*corner, side)
    picture = cut_square(image, square, _SIDE)
    for points, colour in ((true, (64, 220, 96)), (predicted, (255, 64, 200))):
        placed = square.to_square(points, _SIDE)
        strokes.dots(picture, placed, 3.2).paint(picture, (20, 20, 20), opacity=0.6)
        strokes.dots(picture, placed, 2.2).paint(picture, colour)
    return picture


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Landmarks evaluated</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0 auto; max-width: 1240px; padding: 24px 20px 48px;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }}
pre {{ font-size: 13px; overflow-x: auto; }}
.faces {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 16px; }}
figure {{ margin: 0; }}
img {{ width: 100%; border-radius: 6px; }}
.curve {{ max-width: 640px; }}
figcaption {{ font-size: 13px; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<h1>Landmarks evaluated</h1>
<pre>{report}</pre>
<img class="curve" alt="share of faces by error" src="error_curve.png">
<h2>The {count} worst faces</h2>
<p>True landmarks in green, predicted ones in magenta.</p>
<div class="faces">
{cards}
</div>
</body>
</html>
"""

"""Fits the failure score (`m4kit.confidence.failure`) and measures how good it is.

    python -m m4kit.training.failure --data DATA --labels LABELS --out m4kit/assets/failure.json

The faces are those that the labels hold out of the training. The truth is their annotated points: the labels'
parameters come from networks, so errors that networks share would count as right. The error of a face is the mean
distance of the network's points from the annotated ones, in percent of the face's size, without the network's
habits: where it places a point on average, in the frame of the head, is another definition of the point, not an
error. No condition moves a face, so all photos of a face have the same truth.

Each face gives a few photos: its 120x120 crop with a margin of its blurred rim, so that the face fills a
quarter to a half of the photo's side. Some photos are cut off through the face, some are shrunk. Each gets one of the
seven conditions at a severity from 0 to 5. The detector searches the photo down to a score of 0.05. Every fourth
photo has a given box instead, shifted and scaled like a detector's, so that landmarks rather than the detector must
show a failure. Faces that the detector misses have no probability and are counted separately.

Few of the faces fail, so each score gets few signs: those that lower the log loss on people who are left out, one by
one, until no other lowers it by `LEAST_GAIN`. The printed figures are cross-validated, with all photos of a person
in the same fold and with the signs chosen again in each fold.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from m4kit.boxes import HIT_IOU, pairwise_iou
from m4kit.camera import CROP_SIZE, Crop, box_from_crop, crop_from_landmarks
from m4kit.commands import add_quiet, add_weights, shows_progress
from m4kit.conditions import CONDITIONS, degrade, landmark_depth
from m4kit.confidence import signs
from m4kit.confidence.failure import ALL, SETS, FailureModel, FailureModelError, save_models
from m4kit.confidence.reasons import REASONS, reasons_of
from m4kit.landmarks import face_box, face_size
from m4kit.metrics import FAILURE_NME, auroc, reliability, surest
from m4kit.parameters import fuse, landmarks_in_crop
from m4kit.prediction import Face, Prediction
from m4kit.predictor import Predictor
from m4kit.training import TrainingError
from m4kit.training.data import Labels, read_crops
from m4kit.training.refinement import annotation, annotation_offsets, place_annotated
from m4kit.views import crop_predictor, regress
from m4kit.weights import fingerprint

SEVERITIES = (0, 1, 2, 3, 4, 5)
MARGINS = (30, 60, 100)
"""Pixels around the crop, so that the face fills from a half to a quarter of the photo's side."""

SHRUNK, SMALLEST = 1 / 3, 0.4
CUT, GIVEN = 1 / 8, 1 / 4
"""Shares of photos that are shrunk (to `SMALLEST` of their size or more), cut off, and that have a given box."""

BOX_SHIFT, BOX_SCALE = 0.08, 0.12
"""Standard deviations of a given box's shift, in sides, and of its log size; a third of the boxes have double."""

THRESHOLD = 0.05
"""Of the detector, so that the fit sees low scores too."""

FOLDS = 5

LEAST_GAIN = 0.02
"""A further sign must lower the log loss by this share of it: less is mostly chance."""


class Photo(NamedTuple):
    """A photo (H, W, 3) uint8 RGB made of a crop; landmarks (68, 2), points (89, 2) in its pixels."""

    image: np.ndarray
    landmarks: np.ndarray
    points: np.ndarray


def main(arguments: list[str] | None = None) -> None:
    """Measure, fit, print the figures and write the score."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the archives that the labels name"
    )
    parser.add_argument("--labels", type=Path, required=True, help="labels file (.npz)")
    parser.add_argument("--out", type=Path, required=True, help="file to write (failure.json)")
    add_weights(parser)
    add_quiet(parser)
    options = parser.parse_args(arguments)
    labels = Labels.load(options.labels)
    predictor = Predictor(network=options.weights, threshold=THRESHOLD)
    chosen = labels.split()[1]
    if not len(chosen):
        raise TrainingError(
            f"{options.labels}: expected faces that are held out (validation), got none; mark some"
        )
    photos = measure(predictor, labels.subset(chosen), options.data, progress=shows_progress(options))
    models, text = fitted(photos, predictor)
    print(text)
    about = {"faces": len(chosen), "photos": int(photos["error"].count()), "figures": text.splitlines()}
    save_models(models, options.out, about=about)


def measure(
    predictor: Predictor, labels: Labels, data: Path, *, versions: int = 2, progress: bool = True
) -> pd.DataFrame:
    """Make photos of the labels' faces, predict them, and measure error and signs: a table with a row per photo.

    `versions` is the number of photos of each face. Columns of the table:

    - `error`: in percent, NaN where the face was missed; `given`: whether its box was given.
    - `condition`, `severity`; `person` whose face it is, and `source`, its data set.
    - `reasons` that the prediction gives, and the signs by the names of their values; missing for a missed face.

    Raises `FailureModelError` if no face was found, and `TrainingError` for labels of another face model or for faces
    without annotated points.
    """
    model = predictor.model
    labels.check_fits(model)
    points, trust = annotation(labels.points21, labels.points68)
    bare = np.count_nonzero(~trust.any(axis=1))
    if bare:
        raise TrainingError(
            f"labels: expected annotated points of each face, but {bare} of {len(labels)} have none; leave these out"
        )
    crops = _crops(labels, data)
    answers = fuse(*regress(predictor.engine, model, crops))
    habits = annotation_offsets(model, answers, points, trust)
    landmarks = landmarks_in_crop(model, labels.parameters)[..., :2]
    predict_crops = crop_predictor(predictor.engine, model)
    rows = []
    for place in tqdm(range(len(labels) * versions), desc="photos", disable=not progress, mininterval=2):
        number, version = divmod(place, versions)
        random = np.random.default_rng([number, version])
        # All conditions and severities are equally frequent.
        condition = CONDITIONS[place % len(CONDITIONS)]
        severity = SEVERITIES[place // len(CONDITIONS) % len(SEVERITIES)]
        photo = make_photo(crops[number], landmarks[number], points[number], random)
        depth = landmark_depth(photo.image.shape, [photo.landmarks])
        image = degrade(photo.image, condition, severity, seed=place, depth=depth)
        given = bool(random.random() < GIVEN)
        boxes = jittered_box(photo.landmarks, random)[None] if given else None
        prediction = predictor(image, boxes=boxes)
        face = next(iter(prediction), None) if given else face_at(prediction, photo.landmarks)
        row = {
            "error": np.nan,
            "condition": condition,
            "severity": severity,
            "given": given,
            "person": person_of(str(labels.names[number])),
            "source": str(labels.source[number]),
        }
        if face is not None:
            (values,) = signs.of_faces([face], predict_crops)
            row["reasons"] = reasons_of(face, measured=values)
            row |= values | {"score": np.nan if given else face.box.score}
            row["error"] = error_of(face, photo, trust[number], habits)
        rows.append(row)
    photos = pd.DataFrame(rows)
    if photos["error"].isna().all():
        raise FailureModelError(
            f"failure score: expected predicted faces, but all {len(photos)} photos' faces were missed; "
            "give more faces"
        )
    return photos


def error_of(face: Face, photo: Photo, trust: np.ndarray, habits: np.ndarray) -> float:
    """Compute the distance of a face's points from the annotated ones, in percent of the face's size.

    A mean over the photo's points (89, 2), weighted by the `trust` (89,) in each. `habits` (89, 3) in mm are the mean
    offsets of the annotated points from the network's (`refinement.annotation_offsets`).
    """
    placed = face.crop.to_photo(place_annotated(face.model, face.parameters[None], habits)[0])
    apart = np.linalg.norm(placed - photo.points, axis=1)
    return float(100 * np.average(apart, weights=trust) / face_size(photo.landmarks))


def make_photo(
    crop: np.ndarray, landmarks: np.ndarray, points: np.ndarray, random: np.random.Generator
) -> Photo:
    """Make a photo around a crop (120, 120, 3); landmarks (68, 2) and points (89, 2) are in the crop frame."""
    margin = int(random.choice(MARGINS))
    image = cv2.copyMakeBorder(crop, *[margin] * 4, cv2.BORDER_REPLICATE)
    image = cv2.GaussianBlur(image, (0, 0), 6)
    image[margin:-margin, margin:-margin] = crop
    places = Crop(margin - 0.5, margin - 0.5, CROP_SIZE).to_photo(np.concatenate([landmarks, points]))
    if random.random() < CUT:
        image, places = _cut_off(image, places, random)
    if random.random() < SHRUNK:
        scale = float(np.exp(random.uniform(np.log(SMALLEST), 0)))
        height, width = (max(16, round(side * scale)) for side in image.shape[:2])
        stretch = np.array([width / image.shape[1], height / image.shape[0]])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        places = (places + 0.5) * stretch - 0.5
    return Photo(image, places[:68], places[68:])


def jittered_box(landmarks: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Shift and scale the right box (4,) of a face with these landmarks at random, like a detector's."""
    left, top, right, bottom = box_from_crop(crop_from_landmarks(landmarks))
    side, centre = right - left, np.array([left + right, top + bottom]) / 2
    much = 2.0 if random.random() < 1 / 3 else 1.0
    centre = centre + random.normal(0, much * BOX_SHIFT * side, 2)
    half = side * np.exp(random.normal(0, much * BOX_SCALE)) / 2
    return np.concatenate([centre - half, centre + half])


def person_of(name: str) -> str:
    """Return the person in a crop, by the crop's name.

    >>> person_of("training_Jackie_Sherrill_42.jpg"), person_of("image04423.jpg")
    ('training_Jackie_Sherrill', 'image04423')
    """
    return re.sub(r"_\d+$", "", Path(name).stem)


def fitted(photos: pd.DataFrame, predictor: Predictor) -> tuple[dict[str, FailureModel], str]:
    """Fit the scores of `SETS` to the photos of `measure`; also return their figures on left-out faces, as text."""
    found = photos.dropna(subset="error")
    failed = _failed(found)
    clean = found["severity"].to_numpy() == 0
    own = fingerprint(predictor.network), fingerprint(predictor.detector.network)
    lines = [
        f"{len(failed)} faces of {found['person'].nunique()} people: error above {FAILURE_NME:g} % for "
        f"{failed.sum()} ({100 * failed.mean():.1f} %), at severity 0 for {failed[clean].sum()} of {clean.sum()}; "
        f"{found['given'].sum()} by a given box",
        f"missed by the detector: {_missed_text(photos)}",
    ]
    models = {}
    for title, candidates in SETS.items():
        chosen = chosen_signs(found, candidates)
        model = FailureModel.fit(dict(found), failed, names=chosen, network=own[0], detector=own[1])
        models[title] = model
        effects = (f"{name} {sum(line.rises):.2f}" for name, line in model.lines.items())
        lines += [
            "",
            f"{title} signs, {len(chosen)} chosen of {len(candidates)}, and their largest effect on the log-odds: "
            + ", ".join(effects),
            *_figures(found, cross_validated(found, candidates)),
        ]
    lines += ["", "AUROC of each sign alone:"]
    for name, sign in ALL.items():
        value = found[sign.value].to_numpy() * (1 if sign.more_is_worse else -1)
        known = np.isfinite(value)
        lines.append(f"  {name:16} {auroc(value[known], failed[known]):.3f}")
    lines += ["", "how often each reason is given, for right faces and for failed ones:"]
    for reason in REASONS:
        word = reason.removesuffix("...")
        having = np.array([any(one.startswith(word) for one in reasons) for reasons in found["reasons"]])
        if having.any():
            lines.append(
                f"  {reason:42} {100 * having[~failed].mean():5.1f} %  {100 * having[failed].mean():5.1f} %"
            )
    return models, "\n".join(lines)


def chosen_signs(found: pd.DataFrame, candidates: Iterable[str]) -> tuple[str, ...]:
    """Choose the signs of a score, the most useful first: forward selection by the log loss on left-out people."""
    chosen, least = [], np.inf
    while remaining := [name for name in candidates if name not in chosen]:
        losses = {name: _left_out_loss(found, (*chosen, name)) for name in remaining}
        best = min(losses, key=losses.get)
        if losses[best] > (1 - LEAST_GAIN) * least:
            break
        chosen.append(best)
        least = losses[best]
    return tuple(chosen)


def cross_validated(found: pd.DataFrame, candidates: Iterable[str]) -> np.ndarray:
    """Predict each face's probability (n,) by a score chosen and fitted without photos of the same person."""
    probability = np.empty(len(found))
    for left_out in _folds(found["person"]):
        others = found[~left_out]
        model = _fit(others, chosen_signs(others, candidates))
        probability[left_out] = model.probability(dict(found[left_out]))
    return probability


def _left_out_loss(found: pd.DataFrame, names: Iterable[str]) -> float:
    """Compute the mean log loss of a score with these signs, on people who are left out of its fit."""
    failed, loss = _failed(found), 0.0
    for left_out in _folds(found["person"]):
        probability = _fit(found[~left_out], names).probability(dict(found[left_out]))
        loss -= np.log(np.where(failed[left_out], probability, 1 - probability)).sum()
    return loss / len(failed)


def _fit(found: pd.DataFrame, names: Iterable[str]) -> FailureModel:
    return FailureModel.fit(dict(found), _failed(found), names=names)


def _failed(found: pd.DataFrame) -> np.ndarray:
    return found["error"].to_numpy() > FAILURE_NME


def _folds(person: pd.Series) -> Iterator[np.ndarray]:
    """Yield the faces (n,) bool that each fold leaves out: all those of its people."""
    number, people = pd.factorize(person, sort=True)
    fold = np.random.default_rng(0).permutation(len(people))[number] % FOLDS
    return (fold == one for one in range(FOLDS))


def _crops(labels: Labels, data: Path) -> np.ndarray:
    """Read the crops of the labels' faces, (n, 120, 120, 3) uint8 RGB."""
    crops = np.empty((len(labels), CROP_SIZE, CROP_SIZE, 3), np.uint8)
    for source in np.unique(labels.source):
        own = labels.source == source
        crops[own] = read_crops(data / f"{source}.zip", labels.names[own].tolist())
    return crops


def face_at(prediction: Prediction, truth: np.ndarray) -> Face | None:
    """Find the predicted face at these landmarks (68, 2); None if it was missed."""
    boxes = np.array([np.asarray(face.box) for face in prediction], dtype=float).reshape(-1, 5)
    overlap = pairwise_iou(boxes, face_box(truth)[None])[:, 0] if len(boxes) else np.zeros(0)
    return prediction[int(overlap.argmax())] if overlap.max(initial=0) >= HIT_IOU else None


def _cut_off(
    image: np.ndarray, places: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut off one side of the photo, with up to half of the face; `places` (n, 2) begin with 68 landmarks."""
    axis, far = int(random.integers(2)), bool(random.integers(2))
    low, high = places[:68, axis].min(), places[:68, axis].max()
    depth = random.uniform(0, 0.5) * (high - low)
    across = 1 - axis
    if far:
        end = round(high - depth)
        return np.ascontiguousarray(image.take(range(end), axis=across)), places
    start = max(0, round(low + depth))
    kept = np.ascontiguousarray(image.take(range(start, image.shape[across]), axis=across))
    moved = places.copy()
    moved[:, axis] -= start
    return kept, moved


def _figures(found: pd.DataFrame, probability: np.ndarray) -> list[str]:
    """Describe the figures of cross-validated probabilities in lines of text."""
    failed, error = _failed(found), found["error"].to_numpy()
    kept, of = surest(probability), reliability(probability, failed)
    bins = (
        f"{100 * of.predicted[k]:.1f}: {100 * of.failed[k]:.1f} ({100 * of.low[k]:.1f} to {100 * of.high[k]:.1f})"
        for k in range(len(of.failed))
    )

    def within(name: str, rows: pd.Series) -> str:
        rows = rows.to_numpy()
        area = auroc(probability[rows], failed[rows])
        return f"{name} {area:.3f} ({failed[rows].sum()} of {rows.sum()} failed)"

    ways = {"found by the detector": ~found["given"], "box given": found["given"]}
    sources = {name: found["source"] == name for name in sorted(found["source"].unique())}
    hard = {name: (found["condition"] == name) & (found["severity"] >= 3) for name in CONDITIONS}
    return [
        f"  cross-validated over {FOLDS} folds of people:",
        f"  AUROC {auroc(probability, failed):.3f}; Brier score {np.mean((probability - failed) ** 2):.4f}, of the "
        f"mean rate alone {failed.mean() * (1 - failed.mean()):.4f}",
        f"  error {error.mean():.2f} %; {error[kept].mean():.2f} % without the least sure "
        f"tenth, which holds {100 * failed[~kept].sum() / failed.sum():.0f} % of the failures",
        "  percent predicted: percent failed (95 % interval), bins of equally many faces: " + ", ".join(bins),
        "  AUROC of a part: " + ", ".join(within(*part) for part in (ways | sources).items()),
        "  AUROC within a condition at severity 3 to 5: " + ", ".join(within(*part) for part in hard.items()),
    ]


def _missed_text(photos: pd.DataFrame) -> str:
    """Describe how many faces the detector missed in each condition, and of how many."""
    searched = photos[~photos["given"]].groupby("condition")["error"].agg(["size", "count"])
    counts = searched.reindex(list(CONDITIONS), fill_value=0).itertuples()
    return ", ".join(f"{condition} {of - found}/{of}" for condition, of, found in counts)


if __name__ == "__main__":
    main()

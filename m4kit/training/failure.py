"""Fits the failure score (`m4kit.confidence.failure`) and measures how good it is.

    python -m m4kit.training.failure --data DATA --labels LABELS --out m4kit/assets/failure.json

The faces are those that the labels hold out of the training; their true landmarks are those of the labels'
parameters. Each face gives a few photos: its 120x120 crop with a margin of its blurred rim, so that the face fills a
quarter to a half of the photo's side. Some photos are cut off through the face, some are shrunk. Each gets one of the
seven conditions at a severity from 0 to 5. The detector searches the photo down to a score of 0.05. Every fourth
photo has a given box instead, shifted and scaled like a detector's, so that landmarks rather than the detector must
show a failure. Faces that the detector misses have no probability and are counted separately.

The printed figures are cross-validated, with all photos of a person in the same fold.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from m4kit import metrics
from m4kit.boxes import HIT_IOU, pairwise_iou
from m4kit.camera import CROP_SIZE, Crop, box_from_crop, crop_from_landmarks
from m4kit.commands import add_quiet, add_weights, shows_progress
from m4kit.conditions import CONDITIONS, degrade
from m4kit.confidence import signs
from m4kit.confidence.failure import ALL, SETS, FailureModel, FailureModelError, save_models
from m4kit.confidence.reasons import REASONS, reasons_of
from m4kit.landmarks import face_box
from m4kit.metrics import FAILURE_NME, auroc, surest
from m4kit.network import M4Net
from m4kit.parameters import landmarks_in_crop
from m4kit.prediction import Face, Prediction
from m4kit.predictor import Predictor
from m4kit.training import TrainingError
from m4kit.training.data import Labels, read_crops
from m4kit.views import crop_predictor
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

FOLDS, BINS = 5, 10


class Photo(NamedTuple):
    """A photo (H, W, 3) uint8 RGB that was made of a crop, and the true landmarks (68, 2) in its pixels."""

    image: np.ndarray
    landmarks: np.ndarray


class Measured(NamedTuple):
    """Measurements of n predicted faces.

    `values` holds each sign (n,) by name, `nme` the error in percent, `given` whether the box was given, `person`
    whose face it is. `missed` holds, per condition and severity, how many faces the detector missed, and of how many.
    """

    values: dict[str, np.ndarray]
    nme: np.ndarray
    condition: np.ndarray
    severity: np.ndarray
    given: np.ndarray
    person: np.ndarray
    reasons: tuple[tuple[str, ...], ...]
    missed: dict[tuple[str, int], tuple[int, int]]


def main(arguments: list[str] | None = None) -> None:
    """Measure, fit, print the figures and write the score."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the archives that the labels name"
    )
    parser.add_argument("--labels", type=Path, required=True, help="labels file (.npz)")
    parser.add_argument("--out", type=Path, required=True, help="file to write (failure.json)")
    add_weights(parser)
    parser.add_argument("--versions", type=int, default=2, help="photos per face (default: 2)")
    parser.add_argument("--faces", type=int, help="use only this many random faces")
    add_quiet(parser)
    options = parser.parse_args(arguments)
    labels = Labels.load(options.labels)
    predictor = Predictor(network=M4Net.load(options.weights), threshold=THRESHOLD)
    chosen = labels.split()[1]
    if options.faces is not None:
        chosen = np.sort(np.random.default_rng(0).permutation(chosen)[: options.faces])
    if not len(chosen):
        raise TrainingError(
            f"{options.labels}: expected faces that are held out (validation), got none; mark some"
        )
    measured = measure(
        predictor,
        labels.subset(chosen),
        options.data,
        versions=options.versions,
        progress=shows_progress(options),
    )
    models, text = fitted(measured, predictor)
    print(text)
    save_models(
        models,
        options.out,
        about={"faces": len(chosen), "photos": len(measured.nme), "figures": text.splitlines()},
    )


def measure(
    predictor: Predictor, labels: Labels, data: Path, *, versions: int, progress: bool = True
) -> Measured:
    """Make the photos of the labels' faces, predict them, and measure all signs and the error of each.

    Raises `FailureModelError` if no face was found, and `TrainingError` for labels of another face model.
    """
    labels.check_fits(predictor.model)
    predict_crops = crop_predictor(predictor.network, predictor.model)
    rows, missed = [], {}
    bar = tqdm(total=len(labels) * versions, desc="faces", disable=not progress, mininterval=2)
    for number, name, crop, parameters in _faces(labels, data):
        truth = landmarks_in_crop(predictor.model, parameters[None])[0, :, :2]
        for version in range(versions):
            bar.update()
            random = np.random.default_rng([number, version])
            # All conditions and severities are equally frequent.
            place = number * versions + version
            condition = CONDITIONS[place % len(CONDITIONS)]
            severity = SEVERITIES[place // len(CONDITIONS) % len(SEVERITIES)]
            photo = make_photo(crop, truth, random)
            image = degrade(photo.image, condition, severity, seed=place)
            given = bool(random.random() < GIVEN)
            boxes = jittered_box(photo.landmarks, random)[None] if given else None
            face = _found(predictor(image, boxes=boxes), photo.landmarks, given=given)
            if not given:
                lost, of = missed.get((condition, severity), (0, 0))
                missed[condition, severity] = lost + (face is None), of + 1
            if face is None:
                continue
            values = signs.of_face(image, face)
            values["flip_consistency"] = float(signs.flip_consistency(image, [face], predict_crops)[0])
            values["jitter_consistency"] = float(signs.jitter_consistency(image, [face], predict_crops)[0])
            reasons = reasons_of(face, measured=values)
            values["score"] = np.nan if given else face.box.score
            error = float(metrics.nme(face.landmarks[:, :2], photo.landmarks))
            rows.append((values, error, condition, severity, given, person_of(name), reasons))
    bar.close()
    if not rows:
        raise FailureModelError(
            f"failure score: expected predicted faces, but all {len(labels) * versions} photos' faces were missed; "
            "give more faces, or more versions"
        )
    columns = list(zip(*rows, strict=True))
    return Measured(
        {name: np.array([row[name] for row in columns[0]]) for name in columns[0][0]},
        *(np.array(column) for column in columns[1:6]),
        columns[6],
        missed,
    )


def make_photo(crop: np.ndarray, truth: np.ndarray, random: np.random.Generator) -> Photo:
    """Make a photo around a crop (120, 120, 3) with true landmarks (68, 2) in the crop frame."""
    margin = int(random.choice(MARGINS))
    image = cv2.copyMakeBorder(crop, *[margin] * 4, cv2.BORDER_REPLICATE)
    image = cv2.GaussianBlur(image, (0, 0), 6)
    image[margin:-margin, margin:-margin] = crop
    landmarks = Crop(margin - 0.5, margin - 0.5, CROP_SIZE).to_photo(truth)
    if random.random() < CUT:
        image, landmarks = _cut_off(image, landmarks, random)
    if random.random() < SHRUNK:
        scale = float(np.exp(random.uniform(np.log(SMALLEST), 0)))
        height, width = (max(16, round(side * scale)) for side in image.shape[:2])
        stretch = np.array([width / image.shape[1], height / image.shape[0]])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        landmarks = (landmarks + 0.5) * stretch - 0.5
    return Photo(image, landmarks)


def jittered_box(landmarks: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The right box (4,) of a face with these landmarks, shifted and scaled at random like a detector's."""
    left, top, right, bottom = box_from_crop(crop_from_landmarks(landmarks))
    side, centre = right - left, np.array([left + right, top + bottom]) / 2
    much = 2.0 if random.random() < 1 / 3 else 1.0
    centre = centre + random.normal(0, much * BOX_SHIFT * side, 2)
    half = side * np.exp(random.normal(0, much * BOX_SCALE)) / 2
    return np.concatenate([centre - half, centre + half])


def person_of(name: str) -> str:
    """The person in a crop, by the crop's name.

    >>> person_of("training_Jackie_Sherrill_42.jpg"), person_of("image04423.jpg")
    ('training_Jackie_Sherrill', 'image04423')
    """
    return re.sub(r"_\d+$", "", Path(name).stem)


def fitted(measured: Measured, predictor: Predictor) -> tuple[dict[str, FailureModel], str]:
    """Fit the scores of `SETS` to all faces; also return their figures on left-out faces, as text."""
    failed = measured.nme > FAILURE_NME
    own = fingerprint(predictor.network), fingerprint(predictor.detector.network)
    lines = [
        f"{len(failed)} faces of {len(np.unique(measured.person))} people: NME above {FAILURE_NME:g} % for "
        f"{failed.sum()} ({100 * failed.mean():.1f} %); {measured.given.sum()} by a given box",
        f"missed by the detector: {_missed_text(measured)}",
    ]
    models = {}
    for names in SETS:
        left_out = cross_validated(measured, names)
        models[names] = FailureModel.fit(
            measured.values, failed, names=names, network=own[0], detector=own[1]
        )
        lines += ["", *_figures(measured, left_out, title=f"{names} signs")]
    lines += ["", "largest effect of each cheap sign on the log-odds, and its own AUROC:"]
    for name, line in models["cheap"].lines.items():
        value = measured.values[ALL[name].value]
        known = np.isfinite(value)
        alone = auroc(value[known] * (1 if ALL[name].more_is_worse else -1), failed[known])
        lines.append(f"  {name:16} {sum(line.rises):5.2f}   {alone:.3f}")
    lines += ["", "how often each reason is given, for right faces and for failed ones:"]
    given = {word for reasons in measured.reasons for word in reasons}
    for reason in REASONS:
        word = reason.removesuffix("...")
        having = np.array([any(one.startswith(word) for one in own) for own in measured.reasons])
        if any(one.startswith(word) for one in given):
            lines.append(
                f"  {reason:42} {100 * having[~failed].mean():5.1f} %  {100 * having[failed].mean():5.1f} %"
            )
    return models, "\n".join(lines)


def cross_validated(measured: Measured, names: str) -> np.ndarray:
    """Each face's probability (n,) by a score that was fitted without photos of the same person."""
    failed = measured.nme > FAILURE_NME
    people, person = np.unique(measured.person, return_inverse=True)
    fold = np.random.default_rng(0).permutation(len(people))[person] % FOLDS
    probability = np.empty(len(failed))
    for number in range(FOLDS):
        others = fold != number
        model = FailureModel.fit(
            {name: values[others] for name, values in measured.values.items()}, failed[others], names=names
        )
        probability[~others] = model.probability(
            {name: values[~others] for name, values in measured.values.items()}
        )
    return probability


def _faces(labels: Labels, data: Path) -> Iterator[tuple[int, str, np.ndarray, np.ndarray]]:
    """Yield number, name, crop and raw parameters of the labels' faces."""
    for source in np.unique(labels.source):
        own = np.flatnonzero(labels.source == source)
        names = [str(labels.names[row]) for row in own]
        crops = read_crops(data / f"{source}.zip", names)
        for row, name, crop in zip(own.tolist(), names, crops, strict=True):
            yield row, name, crop, labels.parameters[row]


def _found(prediction: Prediction, truth: np.ndarray, *, given: bool) -> Face | None:
    """The predicted face at these landmarks (68, 2), or None if it was missed."""
    if given:
        return prediction[0] if len(prediction) else None
    boxes = np.array([np.asarray(face.box) for face in prediction], dtype=float).reshape(-1, 5)
    overlap = pairwise_iou(boxes, face_box(truth)[None])[:, 0] if len(boxes) else np.zeros(0)
    return prediction[int(overlap.argmax())] if overlap.max(initial=0) >= HIT_IOU else None


def _cut_off(
    image: np.ndarray, landmarks: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut off one side of the photo, with up to half of the face."""
    axis, far = int(random.integers(2)), bool(random.integers(2))
    low, high = landmarks[:, axis].min(), landmarks[:, axis].max()
    depth = random.uniform(0, 0.5) * (high - low)
    across = 1 - axis
    if far:
        place = round(high - depth)
        return np.ascontiguousarray(image.take(range(place), axis=across)), landmarks
    place = max(0, round(low + depth))
    kept = np.ascontiguousarray(image.take(range(place, image.shape[across]), axis=across))
    moved = landmarks.copy()
    moved[:, axis] -= place
    return kept, moved


def _figures(measured: Measured, probability: np.ndarray, *, title: str) -> list[str]:
    """Lines of text with the figures of cross-validated probabilities."""
    failed = measured.nme > FAILURE_NME
    kept = surest(probability)
    lines = [
        f"{title}, cross-validated over {FOLDS} folds of people:",
        f"  AUROC {auroc(probability, failed):.3f} (found by the detector "
        f"{auroc(probability[~measured.given], failed[~measured.given]):.3f}, box given "
        f"{auroc(probability[measured.given], failed[measured.given]):.3f}); Brier score "
        f"{np.mean((probability - failed) ** 2):.4f}, of the mean rate alone "
        f"{failed.mean() * (1 - failed.mean()):.4f}",
        f"  NME {measured.nme.mean():.2f} %; {measured.nme[kept].mean():.2f} % without the least sure "
        f"tenth, which holds {100 * failed[~kept].sum() / failed.sum():.0f} % of the failures",
        "  reliability, bins with equal numbers of faces: "
        + "  ".join(reliability_text(probability, failed)),
        "  AUROC within a condition at severity 3 to 5: "
        + ", ".join(_within(measured, probability, condition) for condition in CONDITIONS),
    ]
    return lines


def reliability_text(probability: np.ndarray, failed: np.ndarray) -> Iterator[str]:
    """For each bin the mean probability and the share of failures, in percent."""
    for rows in np.array_split(np.argsort(probability), BINS):
        yield f"{100 * probability[rows].mean():.0f}:{100 * failed[rows].mean():.0f}"


def _within(measured: Measured, probability: np.ndarray, condition: str) -> str:
    rows = (measured.condition == condition) & (measured.severity >= 3)
    failed = measured.nme[rows] > FAILURE_NME
    return f"{condition} {auroc(probability[rows], failed):.2f} ({failed.sum()}/{len(failed)})"


def _missed_text(measured: Measured) -> str:
    def share(keys: Mapping) -> str:
        return f"{sum(lost for lost, _ in keys.values())}/{sum(of for _, of in keys.values())}"

    return ", ".join(
        f"{condition} {share({key: value for key, value in measured.missed.items() if key[0] == condition})}"
        for condition in CONDITIONS
    )


if __name__ == "__main__":
    main()

"""Fit of the failure score: photos with known truth, splits by person, and figures."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from m4kit.camera import crop_from_box, crop_from_landmarks, cut_crop
from m4kit.conditions import CONDITIONS
from m4kit.confidence.failure import ALL, CHEAP, FailureModelError, load_models
from m4kit.images import load_image
from m4kit.landmarks import face_size
from m4kit.metrics import auroc
from m4kit.parameters import landmarks_in_crop
from m4kit.predictor import Predictor
from m4kit.training import TrainingError, failure
from m4kit.training.data import Labels
from m4kit.training.failure import (
    Photo,
    chosen_signs,
    cross_validated,
    error_of,
    fitted,
    jittered_box,
    make_photo,
    measure,
    person_of,
)
from m4kit.training.refinement import place_annotated
from m4kit.weights import fingerprint

from helpers.paths import SAMPLES


@pytest.fixture(scope="module")
def predictor():
    return Predictor(threshold=failure.THRESHOLD)


@pytest.fixture(scope="module")
def labelled(predictor, tmp_path_factory):
    """Two crops of one face in an archive, with the network's own answers as labels and as annotated points."""
    image = load_image(SAMPLES / "grace_hopper.jpg")
    face = predictor(image)[0]
    folder = tmp_path_factory.mktemp("data")
    pixels = cut_crop(image, face.crop)
    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        for name in ("a.png", "b_01.png"):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, format="PNG")
            archive.writestr(name, buffer.getvalue())
    labels = Labels(
        np.array(["a.png", "b_01.png"]),
        np.array(["set", "set"]),
        np.stack([face.parameters] * 2),
        np.full((2, 21, 2), np.nan, np.float32),
        np.stack([landmarks_in_crop(predictor.model, face.parameters[None])[0, :, :2]] * 2).astype(
            np.float32
        ),
        np.array([True, True]),
        predictor.model.fingerprint,
    )
    return folder, labels


def test_landmarks_stay_where_they_are_in_the_photo_that_is_made():
    points = np.array([[-20.0, 10.0], [25.0, -30.0]] * 34)
    crop = np.zeros((120, 120, 3), np.uint8)
    for x, y in points[:2]:
        row, column = round(59.5 - y), round(59.5 + x)
        crop[row - 2 : row + 3, column - 2 : column + 3] = 255
    sizes = set()
    for seed in range(40):
        photo = make_photo(crop, points, points[::-1], np.random.default_rng(seed))
        np.testing.assert_allclose(photo.points, photo.landmarks[::-1])
        sizes.add(photo.image.shape)
        height, width = photo.image.shape[:2]
        for x, y in photo.landmarks[:2]:
            if 0 <= round(x) < width and 0 <= round(y) < height:
                assert photo.image[round(y), round(x)].min() > 40
    assert len(sizes) > 8


def test_boxes_are_right_on_average_and_vary():
    landmarks = np.random.default_rng(0).uniform(40, 140, (68, 2))
    right = crop_from_landmarks(landmarks)
    random = np.random.default_rng(1)
    crops = np.array([crop_from_box(jittered_box(landmarks, random)) for _ in range(800)])
    np.testing.assert_allclose(crops.mean(axis=0), right, rtol=0.05, atol=3)
    assert 0.08 < np.log(crops[:, 2] / right.size).std() < 0.25


def test_all_pictures_of_a_person_have_the_same_person():
    assert person_of("training_Jackie_Sherrill_42.jpg") == person_of("training_Jackie_Sherrill_07.jpg")
    assert person_of("image04423.jpg") != person_of("image04424.jpg")


def test_a_ranking_is_judged_as_by_counting_pairs():
    random = np.random.default_rng(0)
    score, failed = random.integers(0, 6, 60).astype(float), random.random(60) < 0.3
    pairs = [(a, b) for a in score[failed] for b in score[~failed]]
    counted = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])
    assert auroc(score, failed) == pytest.approx(counted)
    assert np.isnan(auroc(score, np.zeros(60, bool)))


def test_every_photo_is_measured_or_counted_as_missed(predictor, labelled):
    folder, labels = labelled
    photos = measure(predictor, labels, folder, versions=2, progress=False)
    assert list(photos["person"]) == ["a", "a", "b", "b"]
    assert set(photos["source"]) == {"set"}
    assert {sign.value for sign in ALL.values()} <= set(photos.columns)
    assert photos["error"].isna().equals(photos["head_spread"].isna())
    # The first severity is 0, at which the network answers as on the photo itself.
    assert photos["error"].min() < 5


def test_an_error_is_the_distance_from_the_annotated_points_as_a_share_of_the_faces_size(predictor):
    face = predictor(load_image(SAMPLES / "grace_hopper.jpg"))[0]
    placed = face.crop.to_photo(place_annotated(face.model, face.parameters[None])[0])
    size, none = face_size(face.landmarks), np.zeros((89, 3))
    moved = placed + np.multiply([0.03, 0.04], size)
    trust = np.repeat([1.0, 0.0], [10, 79])
    assert error_of(face, Photo(face.image, face.landmarks, moved), trust, none) == pytest.approx(5, rel=1e-4)
    # A point that nobody annotated does not count, and one that is trusted half counts half.
    moved[10:] = 0
    assert error_of(face, Photo(face.image, face.landmarks, moved), trust, none) == pytest.approx(5, rel=1e-4)
    moved[0], trust[0] = placed[0], 0.5
    expected = 5 * 9 / 9.5
    assert error_of(face, Photo(face.image, face.landmarks, moved), trust, none) == pytest.approx(
        expected, rel=1e-4
    )


def test_where_the_network_places_a_point_on_average_is_no_error(predictor, labelled, monkeypatch):
    folder, labels = labelled
    monkeypatch.setattr(failure, "SEVERITIES", (0,))
    shifted = replace(labels, points68=labels.points68 + np.float32([3, -3]))
    as_is, moved = (measure(predictor, one, folder, versions=1, progress=False) for one in (labels, shifted))
    np.testing.assert_allclose(moved["error"], as_is["error"], atol=0.3)


def test_faces_without_annotated_points_are_an_error(predictor, labelled):
    folder, labels = labelled
    nothing = replace(labels, points68=np.full((2, 68, 2), np.nan, np.float32))
    with pytest.raises(TrainingError, match="annotated points of each face, but 2 of 2 have none"):
        measure(predictor, nothing, folder, versions=1, progress=False)


def synthetic(count=900):
    """What `measure` gives for so many faces, and one face missed in each condition."""
    random = np.random.default_rng(0)
    values = {sign.value: random.uniform(0, 1, count) for sign in ALL.values()}
    found = pd.DataFrame(
        {
            **values,
            "error": np.where(random.random(count) < values["head_spread"] ** 3, 12.0, 3.0),
            "condition": np.resize(CONDITIONS, count),
            "severity": np.resize(np.arange(6), count),
            "given": random.random(count) < 0.25,
            "person": [f"p{number}" for number in random.integers(0, 100, count)],
            "source": np.resize(["clicks", "videos"], count),
            "reasons": [("too dark",)] * count,
        }
    )
    missed = found[: len(CONDITIONS)].assign(error=np.nan, given=False)
    return pd.concat([found, missed], ignore_index=True)


def test_no_face_is_scored_by_a_fit_that_saw_its_person():
    """No sign predicts these failures, so only a fit that saw the people could."""
    found = synthetic().dropna(subset="error")
    noise = np.random.default_rng(5).permutation(found["error"])
    left_out = cross_validated(found.assign(error=noise), ALL)
    assert auroc(left_out, noise > 8) < 0.56
    assert auroc(cross_validated(found, ALL), found["error"].to_numpy() > 8) > 0.8


def test_a_score_has_the_signs_that_tell_of_failures_and_no_others():
    found = synthetic().dropna(subset="error")
    assert chosen_signs(found, CHEAP) == ("heads' spread",)
    # Failures that also follow a second sign need it too, whether more or less of it is worse.
    also = found["error"].mask(found["size"] < 0.15, 12.0)
    assert chosen_signs(found.assign(error=also), CHEAP) == ("heads' spread", "size")


def test_the_text_has_all_figures(predictor):
    photos = synthetic()
    models, text = fitted(photos, predictor)
    assert {name: list(model.lines) for name, model in models.items()} == {
        "cheap": ["heads' spread"],
        "all": ["heads' spread"],
    }
    for words in (
        "900 faces of 100 people",
        f"missed by the detector: focus 1/{np.count_nonzero((photos['condition'] == 'focus') & ~photos['given'])}",
        "cheap signs, 1 chosen of 15",
        "cross-validated over 5 folds",
        "without the least sure tenth",
        "percent predicted: percent failed (95 % interval)",
        "AUROC of a part: found by the detector",
        "clicks 0.",
        "AUROC within a condition at severity 3 to 5: focus",
        "too dark",
    ):
        assert words in text
    failed = (photos["error"] > 8) & (photos["source"] == "clicks")
    assert f"({failed.sum()} of 450 failed), videos" in text


def test_too_few_faces_are_an_error(predictor, labelled, monkeypatch):
    folder, labels = labelled
    few = measure(predictor, labels, folder, versions=1, progress=False)
    with pytest.raises(FailureModelError, match="expected at least 10 faces that failed and 10 that did not"):
        fitted(few, predictor)
    monkeypatch.setattr(failure, "GIVEN", 0)
    monkeypatch.setattr(failure, "face_at", lambda *_: None)
    with pytest.raises(
        FailureModelError, match="expected predicted faces, but all 2 photos' faces were missed"
    ):
        measure(predictor, labels, folder, versions=1, progress=False)


def test_labels_of_another_face_model_are_not_measured(labelled, predictor):
    folder, labels = labelled
    with pytest.raises(TrainingError, match=r"labels: .* of the face model another, got"):
        measure(predictor, replace(labels, face_model="another"), folder, versions=1, progress=False)


def test_the_command_prints_the_figures_and_writes_what_the_package_reads(
    labelled, predictor, monkeypatch, tmp_path, capsys
):
    folder, labels = labelled
    path = tmp_path / "labels.npz"
    labels.save(path)
    asked = []

    def measured(own, chosen, data, *, progress):
        asked.append((len(chosen), data, progress))
        return synthetic()

    monkeypatch.setattr(failure, "measure", measured)
    out = tmp_path / "failure.json"
    failure.main(["--data", str(folder), "--labels", str(path), "--out", str(out), "--quiet"])
    assert asked == [(2, folder, False)]
    printed = capsys.readouterr().out
    models = load_models(out)
    assert models["cheap"].network == fingerprint(predictor.network)
    assert "\n".join(models["all"].about["figures"]) == printed.rstrip("\n")
    replace(labels, validation=np.array([False, False])).save(path)
    with pytest.raises(TrainingError, match="expected faces that are held out"):
        failure.main(["--data", str(folder), "--labels", str(path), "--out", str(out)])

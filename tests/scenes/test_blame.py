"""Parts of the error: they sum to it, and stages that are known to be broken get their share."""

import numpy as np
import pytest

from m4kit.datasets import DatasetError, Sample
from m4kit.images import ImageError
from m4kit.scenes.blame import HEADS, STAGES, blame_stages
from m4kit.scenes.data import benchmark

from helpers.predictors import boxed


@pytest.fixture(scope="module")
def blame(photo, clean, predictor):
    return blame_stages(benchmark([photo], [clean], ["motion"], [0, 4]), predictor=predictor, progress=False)


def sample(photo, face, image=None, **fields):
    return Sample(
        "a",
        (lambda: photo) if image is None else image,
        landmarks=face.landmarks,
        box=np.asarray(face.box)[:4],
        condition="haze",
        severity=3.0,
        clean="a",
        clean_image=lambda: photo,
        **fields,
    )


def test_the_parts_sum_to_the_error(blame):
    faces = blame.faces
    assert faces["severity"].tolist() == [0, 4]
    np.testing.assert_allclose(sum(faces[stage] for stage in STAGES), faces["nme"], atol=1e-9)
    assert (faces["best_head"] <= np.min([faces[name] for name in HEADS], axis=0) + 1e-12).all()


def test_a_stage_that_a_condition_does_not_change_gets_no_part(blame):
    for stage in ("camera", "shape"):
        assert blame.faces[stage][0] == pytest.approx(0, abs=1e-4)
    assert blame.faces["nme"][0] == pytest.approx(0, abs=1e-4)
    assert abs(blame.faces["camera"][1]) + abs(blame.faces["shape"][1]) > 0.2


def test_a_wrong_detector_gets_the_whole_part(photo, clean, predictor):
    left, top, right, bottom = np.asarray(clean[0].box)[:4]
    erring = boxed(predictor, [left - 45, top - 30, right + 15, bottom + 30, 0.9], passes=1)
    faces = blame_stages([sample(photo, clean[0])], predictor=erring, progress=False).faces
    assert faces["crop"][0] > 0.5
    assert faces["camera"][0] == pytest.approx(0, abs=1e-4)
    assert faces["shape"][0] == pytest.approx(0, abs=1e-4)


def test_a_missed_face_has_no_parts_but_an_error_in_the_true_crop(photo, clean, predictor):
    blame = blame_stages([sample(photo, clean[0])], predictor=boxed(predictor), progress=False)
    assert np.isnan(blame.faces["nme"][0])
    assert 0 <= blame.faces["true_crop"][0] < 3
    summary = blame.summary()
    assert (summary["faces"][0], summary["missed"][0]) == (0, 1)
    assert summary["missed_true_crop"][0] == blame.faces["true_crop"][0]


def test_versions_of_one_photo_may_be_of_other_faces_of_it(photo, clean, predictor):
    """Each version is compared with the clean answer for its own faces."""
    two = np.concatenate([photo, photo], axis=1)
    left = clean[0].landmarks[:, :2]
    places = {"left": left, "right": left + np.array([photo.shape[1], 0])}

    def version(name, *faces):
        fields = {"condition": "haze", "clean": "a", "clean_image": clean_image}
        return [
            Sample(f"{name}#{k}", lambda: two, landmarks=places[face], **fields)
            for k, face in enumerate(faces, start=1)
        ]

    def clean_image():
        return two

    samples = version("a", "left") + version("b", "right") + version("c", "left", "right")
    faces = blame_stages(samples, predictor=predictor, progress=False).faces
    assert faces["photo"].tolist() == ["a", "b", "c", "c"]
    assert (faces["clean_photo"] < 3).all()
    np.testing.assert_allclose(faces["clean_photo"], faces["true_crop"], atol=1e-4)


def test_the_summary_and_its_figure_have_a_row_for_each_severity(blame):
    summary = blame.summary()
    assert summary["severity"].tolist() == [0, 4]
    assert summary["crop"][1] == pytest.approx(blame.faces["crop"][1])
    (axes,) = blame.figure().axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["motion 0", "motion 4"]
    assert len(axes.patches) == 2 * len(STAGES)
    assert list(blame.faces["condition"]) == ["motion", "motion"]


def test_faces_without_truth_or_clean_photo_are_an_error(photo, predictor):
    with pytest.raises(DatasetError, match="expected samples with true landmarks and a clean photo"):
        blame_stages([Sample("a", lambda: photo)], predictor=predictor, progress=False)


def test_unreadable_photos_are_named(photo, clean, predictor):
    def broken():
        raise ImageError("x.jpg: expected an image, got noise")

    with (
        pytest.warns(UserWarning, match=r"blame_stages: 1 face left out: a \(x.jpg"),
        pytest.raises(DatasetError, match="got 1 of which none could be read"),
    ):
        blame_stages([sample(photo, clean[0], broken)], predictor=predictor, progress=False)

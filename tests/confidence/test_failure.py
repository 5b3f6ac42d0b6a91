"""The failure score: its fit to known odds, the faces for which it is valid, and the reasons beside it."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.special import expit

from m4kit import predict
from m4kit.conditions import degrade
from m4kit.confidence import failure, signs
from m4kit.confidence.failure import ALL, CHEAP, FailureModel, FailureModelError, load_models, save_models
from m4kit.confidence.reasons import REASONS, reasons_of
from m4kit.face_model import FaceModel
from m4kit.images import load_image
from m4kit.network import M4Net
from m4kit.prediction import Face
from m4kit.predictor import Predictor
from m4kit.weights import fingerprint

from helpers.paths import SAMPLES


def drawn(count, *, seed=0):
    """Signs of random faces, and which failed by odds that two of the signs alone decide."""
    random = np.random.default_rng(seed)
    values = {sign.value: random.uniform(0, 1, count) for sign in ALL.values()}
    odds = -3 + 4 * values["head_spread"] - 3 * values["score"]
    return values, odds, random.random(count) < expit(odds)


@pytest.fixture(scope="module")
def fitted():
    values, _, failed = drawn(6000)
    return FailureModel.fit(values, failed, names=CHEAP)


@pytest.fixture(scope="module")
def photo():
    image = load_image(SAMPLES / "astronaut.jpg")
    return cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def face(photo):
    return predict(photo)[0]


def measured(face, **changes):
    return signs.of_faces([face])[0] | changes


def in_photo(face, image):
    return replace(face, origin=replace(face.origin, image=image))


class TestScore:
    def test_it_finds_the_odds_that_made_the_failures_on_faces_that_it_never_saw(self, fitted):
        values, odds, failed = drawn(4000, seed=1)
        probability = fitted.probability(values)
        assert np.abs(probability - expit(odds)).mean() < 0.03
        for rows in np.array_split(np.argsort(probability), 5):
            assert probability[rows].mean() == pytest.approx(failed[rows].mean(), abs=0.05)

    def test_signs_without_information_get_almost_no_weight(self, fitted):
        rises = {name: sum(line.rises) for name, line in fitted.lines.items()}
        assert min(rises["heads' spread"], rises["detector score"]) > 2
        assert (
            max(rise for name, rise in rises.items() if name not in ("heads' spread", "detector score")) < 0.6
        )

    @pytest.mark.parametrize("name", CHEAP)
    def test_a_worse_sign_never_lowers_the_probability(self, fitted, name):
        sign = CHEAP[name]
        if name in ("darkness", "brightness"):
            line = fitted.lines[name](np.linspace(-2, 2, 50))
            assert (np.diff(line) >= 0).all()
            return
        values = {one.value: np.full(50, 0.5) for one in CHEAP.values()}
        values[sign.value] = np.linspace(-2, 2, 50) * (1 if sign.more_is_worse else -1)
        assert (np.diff(fitted.probability(values)) >= -1e-12).all()

    def test_it_is_constant_beyond_the_range_of_the_fit(self, fitted):
        values = {one.value: np.full(2, 0.5) for one in CHEAP.values()}
        values["head_spread"] = np.array([1.0, 1e6])
        assert np.ptp(fitted.probability(values)) == 0

    def test_an_unknown_sign_adds_the_average(self, fitted):
        values, _, _ = drawn(3000, seed=2)
        unknown = fitted.terms(values | {"score": np.full(3000, np.nan)})["detector score"]
        assert (unknown == 0).all()
        assert fitted.terms(values)["detector score"].mean() == pytest.approx(0, abs=0.05)

    def test_it_comes_back_from_its_file(self, fitted, tmp_path):
        path = tmp_path / "failure.json"
        save_models({"cheap": replace(fitted, network="abc")}, path, about={"faces": 6000})
        again = load_models(path)["cheap"]
        values, _, _ = drawn(100, seed=3)
        np.testing.assert_allclose(again.probability(values), fitted.probability(values), atol=1e-4)
        assert (again.network, again.about) == ("abc", {"faces": 6000})

    def test_a_file_of_another_version_or_none_is_an_error(self, fitted, tmp_path):
        path = tmp_path / "failure.json"
        save_models({"cheap": fitted}, path, about={})
        path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 9}))
        with pytest.raises(FailureModelError, match=r"expected a failure score of version 1 .*version 9"):
            load_models(path)
        with pytest.raises(FailureModelError, match=r"fit it with m4kit\.training\.failure"):
            load_models(tmp_path / "nowhere.json")

    def test_too_few_failures_for_a_fit_are_an_error(self):
        values, _, _ = drawn(30)
        with pytest.raises(
            FailureModelError, match="at least 10 faces that failed and 10 that did not, got 0 and 30"
        ):
            FailureModel.fit(values, np.zeros(30, bool), names=CHEAP)

    def test_a_sign_that_was_not_measured_is_an_error(self, fitted):
        with pytest.raises(FailureModelError, match="expected the signs head_spread"):
            fitted.probability(
                {one.value: np.zeros(1) for one in CHEAP.values() if one.value != "head_spread"}
            )


class TestValidity:
    def test_the_packaged_score_is_fitted_for_the_packaged_network_and_detector(self):
        predictor = Predictor()
        for model in failure.packaged().values():
            assert model.network == fingerprint(predictor.network)
            assert model.detector == fingerprint(predictor.detector.network)

    def test_a_heavily_degraded_photo_is_likelier_to_fail_than_the_clean_one(self, photo, face):
        assert 0 <= face.failure_probability < 0.2
        worse = [
            predict(
                degrade(photo, condition, 5, seed=1),
                boxes=[face.box.left, face.box.top, face.box.right, face.box.bottom],
            )[0]
            for condition in ("focus", "motion")
        ]
        for one in worse:
            assert one.failure_probability > 1.5 * face.failure_probability

    def test_another_network_gets_no_probability_and_a_note_with_the_reason(self, face):
        other = replace(face, origin=replace(face.origin, network="0123456789abcdef"))
        assert other.failure_probability is None
        assert "0123456789abcdef answered; fit one with" in failure.note_of("0123456789abcdef")
        assert failure.note_of(face.origin.network) == ""

    def test_other_head_weights_and_a_face_made_by_hand_get_none(self, face):
        assert face.with_head_weights([0, 0, 0, 1]).failure_probability is None
        by_hand = Face(face.box, face.crop, face.heads, face.head_weights, face.model)
        assert (by_hand.failure_probability, by_hand.reasons) == (None, ())
        assert "other head weights" in failure.note_of("")

    def test_the_score_of_a_given_box_does_not_count_as_the_detectors(self, face, fitted, monkeypatch):
        model = replace(fitted, network=face.origin.network, detector=face.origin.detector)
        monkeypatch.setattr(failure, "packaged", lambda: {"cheap": model})
        given = replace(face, origin=replace(face.origin, detector=""))
        low = replace(given, box=replace(given.box, score=0.06))
        assert low.failure_probability == given.failure_probability
        assert replace(low, origin=face.origin).failure_probability > face.failure_probability

    def test_a_face_in_a_photo_on_its_side_has_the_signs_of_the_upright_one(self, photo, face):
        box = np.asarray(face.box)[None]
        upright = Predictor(
            detector=lambda image: box if np.array_equal(image, photo) else np.zeros((0, 5)), try_turns=True
        )
        (straight,), (turned,) = upright(photo), upright(np.ascontiguousarray(np.rot90(photo)))
        assert abs(turned.pose.roll) > 60
        before, after = signs.of_faces([straight, turned])
        for name in ("size", "turn", "head_spread", "exposure", "outside", "crop_misfit"):
            assert after[name] == pytest.approx(before[name], rel=0.02, abs=0.01)

    def test_a_fingerprint_follows_the_weights(self):
        network = M4Net("small")
        first = fingerprint(network)
        assert fingerprint(network) == first
        network.fix_head_weights([1, 0, 0, 0])
        assert fingerprint(network) != first
        assert len(first) == 16


class TestReasons:
    def test_a_plain_face_has_none(self, face):
        assert face.reasons == ()

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"exposure": 0.1}, "too dark"),
            ({"exposure": 0.9}, "too bright"),
            ({"sharpness": 0.2}, "blurred"),
            ({"contrast": 0.08}, "little contrast"),
            ({"turn": 75.0}, "turned far away"),
            ({"outside": 0.5}, "half outside the photo"),
            ({"outside": 0.2}, "partly outside the photo"),
            ({"size": 20.0}, "tiny"),
            ({"identity_distance": 1.5}, "implausible shape"),
            ({"expression_distance": 2.0}, "implausible expression"),
            ({"edge_agreement": 0.9}, "landmarks lie beside the edges"),
            ({"crop_misfit": 0.2}, "the crop has not settled"),
            ({"box_misfit": 0.5}, "landmarks do not fit the detector's box"),
            ({"clipped": 0.5}, "detail lost in black or white"),
        ],
    )
    def test_a_sign_beyond_its_limit_gives_a_reason(self, face, changes, words):
        assert set(reasons_of(face, measured=measured(face, **changes))) - set(face.reasons) == {words}
        assert words in REASONS

    def test_a_dark_and_a_blurred_photo_get_their_reasons(self, photo, face):
        box = np.asarray(face.box)[:4]
        dark = predict((0.12 * photo).astype(np.uint8), boxes=box)[0]
        assert "too dark" in dark.reasons
        blurred = predict(cv2.GaussianBlur(photo, (0, 0), 7), boxes=box)[0]
        assert "blurred" in blurred.reasons

    def test_a_face_cut_in_half_gets_its_reason(self, photo, face):
        middle = round((face.box.left + face.box.right) / 2)
        half = predict(photo[:, :middle], boxes=np.asarray(face.box)[:4])[0]
        assert half.reasons[0] in ("half outside the photo", "partly outside the photo")

    def test_heads_that_disagree_about_one_place_name_it(self, face):
        model = FaceModel.load()
        heads = face.heads.copy()
        # The mode that opens the jaw moves the lips and the jaw alone.
        opened = np.asarray(model.actions["jawOpen"])
        heads[0, 52:] += 4 * opened
        heads[1, 52:] -= 4 * opened
        torn = replace(face, heads=heads)
        words = [one for one in reasons_of(torn, measured=measured(torn)) if one.startswith("heads disagree")]
        assert words in (["heads disagree about the lips"], ["heads disagree about the jaw"])


class TestSigns:
    def test_what_lies_outside_the_photo_is_measured(self, photo, face):
        low, high = face.landmarks[:, :2].min(axis=0), face.landmarks[:, :2].max(axis=0)
        assert signs.of_faces([face])[0]["outside"] == 0
        # Cut at the middle of the landmarks' box, about half of their area is gone.
        cut = photo[:, : round((low[0] + high[0]) / 2)]
        assert signs.of_faces([in_photo(face, cut)])[0]["outside"] == pytest.approx(0.5, abs=0.12)

    def test_a_face_that_looks_at_the_viewer_is_not_turned(self, face):
        assert signs.turn(face) == pytest.approx(
            np.degrees(np.arccos(np.cos(np.radians(face.pose.yaw)) * np.cos(np.radians(face.pose.pitch)))),
            abs=0.5,
        )

    def test_crops_that_agree_have_no_misfit_and_twice_the_size_has_log_two(self):
        from m4kit.camera import Crop

        assert signs._misfit(Crop(10, 20, 100), Crop(10, 20, 100)) == 0
        assert signs._misfit(Crop(10, 20, 100), Crop(-40, -30, 200)) == pytest.approx(np.log(2))
        assert signs._misfit(Crop(10, 20, 100), Crop(40, 60, 100)) == pytest.approx(0.5)

    def test_quality_is_that_of_the_part_in_the_photo(self, photo, face):
        middle = round((face.box.left + face.box.right) / 2)
        whole, half = signs.of_faces([face, in_photo(face, photo[:, :middle])])
        assert half["exposure"] == pytest.approx(whole["exposure"], abs=0.12)
        assert half["clipped"] < 0.1

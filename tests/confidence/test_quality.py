"""Quality of pictures: formulas against known answers, and the known weaknesses of quality scores."""

import cv2
import numpy as np
import pytest

from m4kit.conditions import degrade
from m4kit.confidence.quality import photo_quality, qualities
from m4kit.images import load_image

from helpers.paths import SAMPLES


@pytest.fixture(scope="module")
def photo():
    return cv2.resize(load_image(SAMPLES / "grace_hopper.jpg"), (320, 400), interpolation=cv2.INTER_AREA)


def rgb(grey):
    return np.repeat(np.round(grey).astype(np.uint8)[..., None], 3, axis=2)


def step(blur, *, low=60, high=180, side=240):
    """A vertical edge in the middle, blurred by a Gaussian of that deviation in pixels."""
    image = np.full((side, side), float(low))
    image[:, side // 2 :] = high
    return rgb(cv2.GaussianBlur(image, (0, 0), blur) if blur else image)


def sharpness(image):
    return photo_quality(image)["sharpness"]


def quality_of(image, inside):
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return {name: value for name, (value,) in qualities([grey], [inside]).items()}


class TestSharpness:
    @pytest.mark.parametrize("blur", [1.0, 2.0, 3.0])
    def test_an_edge_of_known_blur_is_measured(self, blur):
        measured = 1 / sharpness(step(blur)) - 1
        # The pixel grid and the filter add a variance of about half a pixel.
        assert measured == pytest.approx((blur**2 + 0.5) ** 0.5, rel=0.06)

    def test_a_weak_edge_is_as_sharp_as_a_strong_one(self):
        weak = sharpness(step(2.0, low=110, high=150))
        assert weak == pytest.approx(sharpness(step(2.0, low=10, high=240)), rel=0.05)

    def test_size_a_plain_background_and_noise_change_little(self, photo):
        own = sharpness(photo)
        large = cv2.resize(photo, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
        assert sharpness(large) == pytest.approx(own, abs=0.06)
        noise = np.random.default_rng(0).normal(0, 8, photo.shape)
        noisy = np.clip(photo + noise, 0, 255).astype(np.uint8)
        assert sharpness(noisy) == pytest.approx(own, abs=0.06)
        face = photo[60:260, 80:240]
        alone = cv2.copyMakeBorder(face, 0, 0, 16, 16, cv2.BORDER_CONSTANT, value=(90, 120, 140))
        assert sharpness(alone) == pytest.approx(sharpness(face), abs=0.06)

    @pytest.mark.parametrize("condition", ["focus", "motion"])
    def test_more_blur_is_less_sharp(self, photo, condition):
        values = [sharpness(degrade(photo, condition, s, seed=2)) for s in (0, 1.5, 3, 4)]
        assert (np.diff(values) < -0.02).all(), values

    def test_blur_in_one_direction_counts_as_blur(self):
        # Squares have as many edges across as along.
        squares = rgb(60 + 120.0 * ((np.indices((240, 240)) // 24).sum(axis=0) % 2))
        along = cv2.GaussianBlur(squares, (0, 0), sigmaX=3, sigmaY=1e-3)
        both = cv2.GaussianBlur(squares, (0, 0), 3)
        assert sharpness(along) == pytest.approx(sharpness(both), abs=0.03)
        assert sharpness(squares) > 1.8 * sharpness(along)

    def test_a_plain_picture_is_not_sharp(self):
        assert sharpness(np.full((50, 60, 3), 128, np.uint8)) == 0
        noise = np.random.default_rng(0).normal(120, 0.7, (80, 80, 3))
        assert sharpness(np.round(noise).astype(np.uint8)) < 0.9
        assert sharpness(np.zeros((1, 1, 3), np.uint8)) == 0

    def test_only_what_is_inside_counts(self):
        both = np.hstack([step(0.5, side=120), step(3.0, side=120)])
        inside = np.zeros(both.shape[:2], bool)
        inside[:, 20:100] = True
        seen = quality_of(both, inside)["sharpness"]
        assert seen == pytest.approx(sharpness(step(0.5, side=120)), abs=0.02)


class TestLight:
    def test_known_greys_give_known_values(self):
        inside = np.ones((100, 100), bool)
        image = rgb(np.tile(np.repeat([51.0, 102.0, 153.0, 204.0], 25), (100, 1)))
        known = quality_of(image, inside)
        assert known["exposure"] == pytest.approx(0.5)
        assert known["contrast"] == pytest.approx((204 - 51) / 255)
        assert known["clipped"] == 0
        image[:, :10], image[:, 90:] = 0, 255
        assert quality_of(image, inside)["clipped"] == pytest.approx(0.2)

    def test_greys_are_counted_as_numpy_measures_them(self):
        random = np.random.default_rng(0)
        image, inside = rgb(random.integers(0, 256, (37, 53))), random.random((37, 53)) < 0.3
        seen = image[inside][:, 0]
        low, high = np.percentile(seen, [5, 95])
        known = quality_of(image, inside)
        assert known["contrast"] == pytest.approx((high - low) / 255)
        assert known["exposure"] == pytest.approx(seen.mean() / 255)
        assert known["clipped"] == pytest.approx(((seen < 4) | (seen > 251)).mean())

    def test_a_plain_background_however_large_does_not_count(self, photo):
        face = photo[60:260, 80:240]
        for grey in (0, 255):
            alone = cv2.copyMakeBorder(face, 80, 80, 200, 200, cv2.BORDER_CONSTANT, value=(grey,) * 3)
            by_all = abs(alone.mean() - face.mean()) / 255
            assert by_all > 0.25
            # What is left is the background right beside the edge that it makes.
            framed, own = photo_quality(alone), photo_quality(face)
            assert abs(framed["exposure"] - own["exposure"]) < 0.45 * by_all
            assert framed["contrast"] > 0.8 * own["contrast"]

    def test_haze_takes_contrast_and_light_brightens(self, photo):
        hazy = [photo_quality(degrade(photo, "haze", s, seed=0))["contrast"] for s in (0, 1, 3, 5)]
        assert (np.diff(hazy) < 0).all()
        lit = [np.clip(photo * k, 0, 255).astype(np.uint8) for k in (0.4, 1.0, 1.6)]
        dark, plain, bright = (photo_quality(image)["exposure"] for image in lit)
        assert dark < plain < bright


def test_wrong_input_is_an_error_that_tells_what_was_expected():
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8 RGB .*, got float64"):
        photo_quality(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match=r"got int64 \(2,\)"):
        photo_quality([1, 2])

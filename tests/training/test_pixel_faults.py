import numpy as np
import pytest

from m4kit.training import pixel_faults


def stripes(channel):
    """Vertical stripes of one pixel, black and one primary colour."""
    image = np.zeros((120, 120, 3), np.uint8)
    image[:, ::2, channel] = 255
    return image


def contrast_of(image):
    return np.abs(np.diff(image.astype(float).sum(axis=2), axis=1)).mean()


def test_jpeg_keeps_more_of_fine_red_stripes_than_of_blue_ones():
    """JPEG halves the resolution of colour, not of brightness: red has 30 % of the brightness, blue 11 %."""
    red, blue = (contrast_of(pixel_faults.compress(stripes(channel), 60)) for channel in (0, 2))
    assert red > 1.8 * blue


def test_jpeg_keeps_the_colours_of_an_area():
    image = np.full((64, 64, 3), (200, 90, 30), np.uint8)
    np.testing.assert_allclose(pixel_faults.compress(image, 90), image, atol=4)


def test_neutral_strengths_change_nothing():
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    np.testing.assert_allclose(pixel_faults.tone(image), image, atol=1)
    np.testing.assert_array_equal(pixel_faults.saturate(image, 1.0), image)
    np.testing.assert_array_equal(pixel_faults.lose_resolution(image, 1.0), image)
    np.testing.assert_array_equal(pixel_faults.add_noise(image, 0.0, np.random.default_rng(1)), image)


def test_tone_scales_contrast_about_grey_and_tints_each_channel():
    image = np.full((4, 4, 3), 191, np.uint8)
    np.testing.assert_allclose(pixel_faults.tone(image, contrast=0.5), 159, atol=1)
    tinted = pixel_faults.tone(image, tint=np.array([1.2, 1.0, 0.5]))
    np.testing.assert_allclose(tinted[0, 0], [229, 191, 95], atol=1)


def test_no_saturation_leaves_the_brightness():
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    grey = pixel_faults.saturate(image, 0.0)
    assert (grey == grey[..., :1]).all()
    np.testing.assert_allclose(grey[..., 0], image @ [0.299, 0.587, 0.114], atol=1)


def test_grey_noise_is_the_same_in_all_channels():
    image = np.full((50, 50, 3), 128, np.uint8)
    noisy = pixel_faults.add_noise(image, 10.0, np.random.default_rng(0), grey=True)
    assert (noisy == noisy[..., :1]).all()
    assert noisy.std() == pytest.approx(10, rel=0.1)

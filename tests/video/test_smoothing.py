"""One-Euro filters, and faces that are smoothed over time."""

from dataclasses import replace

import numpy as np
import pytest

from m4kit.camera import Crop, euler_from_rotation, rotation_from_euler
from m4kit.parameters import head_spread
from m4kit.video.smoothing import FaceSmoother, OneEuro, _turn_by, _turned

from helpers.faces import face, parameters

TIMES = np.arange(50) / 25


def published(values, times, *, cutoff, gain):
    """The filter of a number, line by line as in the paper's listing."""

    def alpha(frequency, rate):
        return 1.0 / (1.0 + (rate / (2 * np.pi * frequency)))

    found, before, smooth, speed = [], None, None, 0.0
    for value, time in zip(values, times, strict=True):
        if before is None:
            smooth = value
        else:
            rate = 1 / (time - before[1])
            a = alpha(1.0, rate)
            speed = a * (value - before[0]) * rate + (1 - a) * speed
            a = alpha(cutoff + gain * abs(speed), rate)
            smooth = a * value + (1 - a) * smooth
        before = value, time
        found.append(smooth)
    return np.array(found)


class TestOneEuro:
    def test_it_is_the_published_filter(self):
        values = np.random.default_rng(0).normal(size=50).cumsum()
        times = np.cumsum(np.random.default_rng(1).uniform(0.01, 0.1, 50))
        smooth = OneEuro(1.2, 0.3)
        found = [smooth(np.array([value]), time)[0] for value, time in zip(values, times, strict=True)]
        np.testing.assert_allclose(found, published(values, times, cutoff=1.2, gain=0.3), rtol=1e-12)

    def test_what_does_not_move_stays(self):
        smooth = OneEuro(1.0, 1.0)
        for time in TIMES:
            np.testing.assert_array_equal(smooth(np.array([3.0, -1.0]), time), [3.0, -1.0])

    def test_fast_motion_lags_less_with_a_higher_gain(self):
        lag = {}
        for gain in (0.0, 1.0):
            smooth = OneEuro(1.0, gain)
            lag[gain] = [10 * time - smooth(np.array([10 * time]), time)[0] for time in TIMES][-1]
        # Behind a ramp, a low-pass filter of 1 Hz lags by 1 / (2 pi) seconds, less the last step.
        assert lag[0.0] == pytest.approx(10 / (2 * np.pi), rel=0.01)
        assert lag[1.0] < lag[0.0] / 8

    def test_turning_the_world_turns_what_is_smoothed(self):
        random = np.random.default_rng(2)
        world = rotation_from_euler(40, -20, 110)
        plain, turned = (OneEuro(1.0, 1.0, minus=_turned, plus=_turn_by) for _ in range(2))
        for time in TIMES:
            rotation = rotation_from_euler(*random.normal(scale=10, size=3))
            one, other = plain(rotation, time), turned(world @ rotation, time)
            np.testing.assert_allclose(world @ one, other, atol=1e-9)
            np.testing.assert_allclose(one @ one.T, np.eye(3), atol=1e-9)

    def test_a_rotation_is_smoothed_across_plus_and_minus_180_degrees(self):
        smooth = OneEuro(1.0, 0.0, minus=_turned, plus=_turn_by)
        for time in TIMES:
            roll = 180 + 5 * (-1) ** round(25 * time)
            found = smooth(rotation_from_euler(0, 0, roll), time)
        assert abs(euler_from_rotation(found).roll) > 176


class TestFaceSmoother:
    def shaken(self, *, seed=0, noise=0.02):
        """A still face, with noise in all parameters and in the crops."""
        random = np.random.default_rng(seed)
        still = parameters((10, -5, 3), coefficients=random.normal(scale=0.5, size=50))
        for time in TIMES:
            heads = np.tile(still, (4, 1)) + noise * random.normal(size=(4, 62)) * [*[0.05] * 12, *[10] * 50]
            one = face(heads=heads)
            yield replace(one, crop=Crop(*(np.array(one.crop) + random.normal(scale=0.5, size=3)))), time

    def test_a_still_face_stays_where_it_is(self):
        still, smooth = face(pose=(20, 5, -10), coefficients=0.3), FaceSmoother()
        for time in TIMES[:5]:
            found = smooth(still, time)
            np.testing.assert_allclose(found.landmarks, still.landmarks, atol=1e-3)
            np.testing.assert_allclose(found.pose, still.pose, atol=1e-4)

    def test_landmarks_of_a_shaken_face_vary_less(self):
        raw, smooth = [], []
        smoother = FaceSmoother()
        for one, time in self.shaken():
            raw.append(one.landmarks)
            smooth.append(smoother(one, time).landmarks)
        assert np.std(smooth[20:], axis=0).mean() < 0.5 * np.std(raw[20:], axis=0).mean()

    def test_the_identity_is_the_mean_of_all_frames(self):
        smoother, identities = FaceSmoother(), []
        for one, time in self.shaken():
            identities.append(one.identity)
            found = smoother(one, time)
        np.testing.assert_allclose(found.identity, np.mean(identities, axis=0), atol=1e-5)

    def test_the_heads_disagree_as_before(self):
        smoother = FaceSmoother()
        for one, time in self.shaken():
            found = smoother(one, time)
        np.testing.assert_allclose(found.heads - found.parameters, one.heads - one.parameters, atol=1e-5)
        before, after = (head_spread(a.model, a.heads[None], a.head_weights[None])[0] for a in (one, found))
        assert after == pytest.approx(before, rel=0.1)

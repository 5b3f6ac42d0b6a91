"""The faces that are held out of every training."""

import numpy as np
import pytest

from m4kit.datasets import held_out


class TestSplit:
    def test_it_is_fixed(self):
        """`printf image00006.jpg | sha256sum` starts with 034be689, below a twentieth of 16^8; so do three more."""
        held = held_out([f"image{number:05d}.jpg" for number in range(60)], 0.05)
        assert np.flatnonzero(held).tolist() == [6, 16, 35, 39]

    def test_it_does_not_depend_on_the_other_names(self):
        names = [f"face{number}" for number in range(500)]
        together = held_out(names, 0.2)
        assert held_out(names[::-1], 0.2).tolist() == together[::-1].tolist()
        assert [bool(held_out([name], 0.2)[0]) for name in names] == together.tolist()

    @pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
    def test_it_has_about_the_share_asked_for(self, share):
        held = held_out([f"face{number}" for number in range(10_000)], share)
        # Four standard deviations of a fair draw.
        assert abs(held.mean() - share) < 4 * np.sqrt(share * (1 - share) / 10_000)

    def test_a_larger_share_holds_the_smaller_one(self):
        names = [f"face{number}" for number in range(2000)]
        small, large = held_out(names, 0.05), held_out(names, 0.1)
        assert (small <= large).all()
        assert small.sum() < large.sum()
        assert not held_out(names, 0.0).any()
        assert held_out(names, 1.0).all()

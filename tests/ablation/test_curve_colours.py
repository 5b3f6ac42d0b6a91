"""Colour-blind readers can distinguish curves that only their colour identifies."""

from itertools import combinations

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from m4kit.ablation.activations.figures import COLOURS as ACTIVATION_COLOURS
from m4kit.ablation.heads.dynamic_figure import _HEADS
from m4kit.ablation.heads.figures import _COLOURS as SETTING_COLOURS

# How linear RGB is seen without the green or the red cones (Machado et al. 2009).
SIGHT = {
    "all": np.eye(3),
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
}
CURVES = {"activations": ACTIVATION_COLOURS.values(), "settings": SETTING_COLOURS.values(), "heads": _HEADS}


def seen(colour, sight):
    """The colour in CIE Lab."""
    values = np.array(to_rgb(colour))
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return cv2.cvtColor(np.float32([[np.clip(SIGHT[sight] @ linear, 0, 1)]]), cv2.COLOR_LRGB2Lab)[0, 0]


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("curves", CURVES)
def test_any_two_are_far_apart(curves, sight):
    for one, other in combinations(CURVES[curves], 2):
        # Two is just visible side by side.
        assert np.linalg.norm(seen(one, sight) - seen(other, sight)) > 12, (one, other)

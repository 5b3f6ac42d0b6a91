"""Which label a face gets by which rule."""

import numpy as np
import pytest

from m4kit.scenes.taxonomy import RULES, failures_of

RIGHT = {
    **{"face": 0, "truth": 0, "iou": 0.8, "crop_scale": 1.0, "crop_shift": 0.0},
    **{"yaw": 30.0, "pitch": 0.0, "roll": 0.0},
    **{"reference_yaw": 30.0, "reference_pitch": 0.0, "reference_roll": 0.0},
    **{f"error_{group}": 2.0 for group in ("jaw", "brows", "nose", "eyes", "lips")},
    **{"identity_distance": 0.8, "expression_distance": 0.8},
}
"""A face to which no rule applies."""


class TestTaxonomy:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, ()),
            ({"face": None}, ("missed",)),
            ({"truth": None, "iou": 0.0}, ("false alarm",)),
            ({"truth": None, "iou": 0.2}, ("wrong scale or crop",)),
            ({"crop_scale": 1.3}, ("wrong scale or crop",)),
            ({"crop_shift": 0.1}, ("wrong scale or crop",)),
            ({"iou": 0.4}, ()),
            ({"iou": 0.4, "crop_scale": np.nan, "crop_shift": np.nan}, ("wrong scale or crop",)),
            ({"yaw": -20.0}, ("pose flipped",)),
            ({"yaw": -5.0}, ("pose off",)),
            ({"yaw": 10.0}, ("pose off",)),
            ({"roll": 175.0}, ("pose flipped",)),
            ({"roll": -170.0, "reference_roll": 175.0}, ()),
            ({"roll": -170.0, "reference_roll": 170.0}, ("pose off",)),
            ({"pitch": 40.0, "reference_pitch": np.nan}, ()),
            ({"error_jaw": 8.0, "error_lips": 12.0}, ("landmarks drifted: lips, jaw",)),
            ({"identity_distance": 1.4}, ("implausible shape",)),
            ({"expression_distance": 1.8}, ("implausible shape",)),
            ({"yaw": 50.0, "expression_distance": 1.8}, ("pose off", "implausible shape")),
            (
                {"checked_failure_probability": 0.05, "nme": 9.0, "landmark_reference": "truth"},
                ("confident though wrong",),
            ),
            ({"checked_failure_probability": 0.05, "landmark_drift": 9.0}, ("confident though wrong",)),
            ({"checked_failure_probability": 0.3, "nme": 9.0, "landmark_reference": "truth"}, ()),
            (
                {"checked_failure_probability": 0.7, "nme": 3.0, "landmark_reference": "truth"},
                ("low confidence though right",),
            ),
            ({"checked_failure_probability": 0.7, "nme": 3.0, "crop_scale": 1.3}, ("wrong scale or crop",)),
            ({"checked_failure_probability": 0.7}, ()),
        ],
    )
    def test_a_rule_applies_where_it_should(self, changes, expected):
        assert failures_of(RIGHT | changes, all_labelled=True) == expected

    def test_what_is_not_known_is_no_failure(self):
        unknown = {name: np.nan for name in RIGHT} | {"face": 0, "truth": None}
        assert failures_of(unknown, all_labelled=False) == ()

    def test_the_rules_state_their_limits(self):
        assert list(RULES) == [
            *("missed", "false alarm", "wrong scale or crop", "pose flipped", "pose off"),
            *(
                "landmarks drifted",
                "implausible shape",
                "confident though wrong",
                "low confidence though right",
            ),
        ]
        assert "more than 15 degrees" in RULES["pose off"]
        assert "more than 7 %" in RULES["landmarks drifted"]

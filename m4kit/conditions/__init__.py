"""Simulates the seven bad conditions of UFDD on a photo.

    worse = conditions.degrade(image, "haze", 3, seed=0)

UFDD: Nada et al., "Pushing the Limits of Unconstrained Face Detection" (BTAS 2018).
"""

from m4kit.conditions.degradation import CONDITIONS, HARDEST, check_condition, check_severity, degrade
from m4kit.conditions.depth import ground_depth, landmark_depth, scene_depth

__all__ = [
    "CONDITIONS",
    "HARDEST",
    "check_condition",
    "check_severity",
    "degrade",
    "ground_depth",
    "landmark_depth",
    "scene_depth",
]

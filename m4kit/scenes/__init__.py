"""Bad conditions: the seven of UFDD, made from clean photos.

    worse = scenes.degrade(image, "haze", 3, seed=0)

UFDD: Nada et al., "Pushing the Limits of Unconstrained Face Detection" (BTAS 2018).
"""

from m4kit.scenes.conditions import CONDITIONS, degrade
from m4kit.scenes.depth import ground_depth, scene_depth

__all__ = ["CONDITIONS", "degrade", "ground_depth", "scene_depth"]

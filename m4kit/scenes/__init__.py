"""Bad conditions: the seven of UFDD, made from clean photos or read, and where the system fails under them.

    worse = scenes.degrade(image, "haze", 3, seed=0)
    report = scenes.analyse(scenes.benchmark("photos/"), folder="report/")

UFDD: Nada et al., "Pushing the Limits of Unconstrained Face Detection" (BTAS 2018).
"""

from importlib import import_module
from typing import TYPE_CHECKING

from m4kit.scenes.conditions import CONDITIONS, degrade
from m4kit.scenes.depth import ground_depth, scene_depth

if TYPE_CHECKING:
    from m4kit.scenes import failure, figures, signs
    from m4kit.scenes.analysis import analyse
    from m4kit.scenes.blame import Blame, blame_stages
    from m4kit.scenes.data import SceneSample, benchmark
    from m4kit.scenes.readers import read_condition_folders, read_scene_table, read_ufdd
    from m4kit.scenes.report import SceneReport

__all__ = [
    "CONDITIONS",
    "Blame",
    "SceneReport",
    "SceneSample",
    "analyse",
    "benchmark",
    "blame_stages",
    "degrade",
    "failure",
    "figures",
    "ground_depth",
    "read_condition_folders",
    "read_scene_table",
    "read_ufdd",
    "scene_depth",
    "signs",
]

_HOMES = {
    "Blame": "blame",
    "SceneReport": "report",
    "SceneSample": "data",
    "analyse": "analysis",
    "benchmark": "data",
    "blame_stages": "blame",
    "read_condition_folders": "readers",
    "read_scene_table": "readers",
    "read_ufdd": "readers",
}
_MODULES = ("failure", "figures", "signs")


def __getattr__(name: str):
    """Load what is asked for at its first use: the analysis stands on `evaluate`, which itself uses `degrade`."""
    if name in _MODULES:
        return import_module(f"m4kit.scenes.{name}")
    if name in _HOMES:
        return getattr(import_module(f"m4kit.scenes.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'm4kit.scenes' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return list(__all__)

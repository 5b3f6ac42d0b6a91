"""Analyses failures in bad conditions: which photos fail, how, and whether the system knows.

report = scenes.analyse(scenes.benchmark("photos/"), folder="report/")
"""

from m4kit.scenes import figures
from m4kit.scenes.analysis import analyse
from m4kit.scenes.blame import Blame, blame_stages
from m4kit.scenes.data import benchmark
from m4kit.scenes.report import SceneReport

__all__ = [
    "Blame",
    "SceneReport",
    "analyse",
    "benchmark",
    "blame_stages",
    "figures",
]

"""The filters of the scene explorer: their controls, and which faces pass them."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np
import pandas as pd

from m4kit.datasets.scenes import CLEAN
from m4kit.explore.controls import choice
from m4kit.scenes.cells import present, severity_word

ALL, REAL = "all", "real"
"""The choice that lets every face pass, and the one of photos without a severity."""

_RANGES = ("yaw", "size")


class SceneFilters:
    """Filters by condition, severity, failure, yaw and size of a report's faces; `filters[name]` is a control.

    `labels` are the failures to choose from.
    """

    def __init__(self, faces: pd.DataFrame, labels: Sequence[str]):
        self._faces = faces
        severities = [(severity_word(one), one) for one in sorted(faces["severity"].dropna().unique())]
        severities = [(REAL, REAL)] * bool(faces["severity"].isna().any()) + severities
        largest = int(np.ceil(faces["size"].max())) if faces["size"].notna().any() else 1
        self.controls: dict[str, widgets.Widget] = {
            "condition": choice("Condition", [ALL, *present(faces["condition"])]),
            "severity": choice("Severity", [(ALL, ALL), *severities]),
            "failures": choice("Failure", [ALL, *labels]),
            "yaw": _range("|Yaw|", 90),
            "size": _range("Size, px", largest),
        }

    def __getitem__(self, name: str) -> widgets.Widget:
        return self.controls[name]

    @property
    def severities(self) -> list[float] | None:
        """The severity that is chosen, in a list; None for all, and for real photos."""
        severity = self["severity"].value
        return None if severity in (ALL, REAL) else [severity]

    def passing(self, *, but: Sequence[str] = ()) -> np.ndarray:
        """Find the faces that pass the filters, without those that `but` names, (n,) bool."""
        faces, value = self._faces, {name: one.value for name, one in self.controls.items()}
        value |= dict.fromkeys(but, ALL)
        kept = pd.Series(True, index=faces.index)
        if value["condition"] != ALL:
            kept &= faces["condition"].fillna(CLEAN) == value["condition"]
        if value["severity"] == REAL:
            kept &= faces["severity"].isna()
        elif value["severity"] != ALL:
            kept &= faces["severity"] == value["severity"]
        if value["failures"] != ALL:
            kept &= faces["failures"].str.contains(value["failures"], regex=False, na=False)
        for name, sizes in (("yaw", faces["yaw"].abs()), ("size", faces["size"])):
            if value[name] != (self[name].min, self[name].max):
                # A missed face has neither, and does not pass.
                kept &= sizes.between(*value[name])
        return kept.to_numpy()

    def chooses(self, condition: str, severity: str) -> bool:
        """Tell whether condition and severity of a cell, as its headings name them, are among those chosen."""
        wanted = self["severity"].value
        word = wanted if wanted in (ALL, REAL) else severity_word(wanted)
        return self["condition"].value in (ALL, condition) and word in (ALL, severity)

    def choose(self, condition: str, severity: str) -> None:
        """Choose condition and severity of a cell, as its headings name them; the other filters stay."""
        self["condition"].value = condition
        self["severity"].value = next(value for label, value in self["severity"].options if label == severity)

    def clear(self) -> None:
        """Let every face pass."""
        for name, control in self.controls.items():
            control.value = (control.min, control.max) if name in _RANGES else ALL


def _range(label: str, largest: int) -> widgets.IntRangeSlider:
    return widgets.IntRangeSlider(
        value=(0, largest), min=0, max=largest, description=label, layout={"width": "300px"}
    )

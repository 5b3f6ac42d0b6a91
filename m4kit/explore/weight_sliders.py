"""Linked sliders for weights that sum to 1: one is moved, and the others share the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets as widgets
import numpy as np

from m4kit.explore.callbacks import Complaints

STEP = 0.01
"""Of a slider; weights that are set may lie between."""

_SUM_TOLERANCE = 1e-4
_NOTHING = 1e-9


class WeightSliders(widgets.VBox):
    """One slider a weight, in [0, 1] with a sum of 1, and a lock beside each.

    Moving one slider shares what it leaves among the others in the proportion that they had when it was taken up;
    alike where they were all 0. A locked weight keeps its value, and the moved one ends where the locked ones leave
    off. With all others locked it cannot move.

    `weights` (n,) are the exact values, of which the sliders show two decimals. `on_change()` is called once for each
    move, after all sliders follow, and what it raises goes to `complaints`.
    """

    def __init__(self, names: Sequence[str], *, complaints: Complaints, on_change: Callable[[], None]):
        count = len(names)
        self.on_change, self.complaints = on_change, complaints
        self._weights = np.full(count, 1 / count)
        # What a drag of one slider began with: on the way back, the others get back what they had.
        self._taken_up: tuple[int, np.ndarray] | None = None
        self._quiet = False
        self.sliders = [_slider(name, 1 / count) for name in names]
        self.locks = [_lock(name) for name in names]
        for head, (slider, lock) in enumerate(zip(self.sliders, self.locks, strict=True)):
            slider.observe(complaints.guard(lambda change, head=head: self._moved(head)), "value")
            lock.observe(complaints.guard(lambda change, head=head: self._locked(head)), "value")
        rows = zip(self.sliders, self.locks, strict=True)
        super().__init__([widgets.HBox(row, layout={"align_items": "center"}) for row in rows])

    @property
    def weights(self) -> np.ndarray:
        """The weights (n,) as they are."""
        return self._weights.copy()

    def set(self, weights) -> None:
        """Set all weights (n,), locked ones too.

        Raises `ValueError` for another number of them, and for such that are not finite, are negative, or do not
        sum to 1.
        """
        self._weights, self._taken_up = checked(weights, len(self.sliders)), None
        self._follow()

    def _moved(self, head: int) -> None:
        # A browser sends a value that was set here back, rounded to the slider's step: that is no move.
        if self._quiet or abs(self.sliders[head].value - self._weights[head]) < 0.51 * STEP:
            return
        if self._taken_up is None or self._taken_up[0] != head:
            self._taken_up = head, self._weights
        locked = np.array([lock.value for lock in self.locks])
        self._weights = moved(self._taken_up[1], head, self.sliders[head].value, locked=locked)
        self._follow()

    def _locked(self, head: int) -> None:
        lock, self._taken_up = self.locks[head], None
        lock.icon = "lock" if lock.value else "unlock"
        free = sum(not lock.value for lock in self.locks)
        for slider, lock in zip(self.sliders, self.locks, strict=True):
            slider.disabled = lock.value or free < 2

    def _follow(self) -> None:
        self._quiet = True
        try:
            for slider, weight in zip(self.sliders, self._weights, strict=True):
                slider.value = float(np.clip(weight, 0, 1))
        finally:
            self._quiet = False
        self.on_change()


def moved(weights: np.ndarray, head: int, value: float, *, locked: np.ndarray) -> np.ndarray:
    """Weights (n,) with one set to `value`, or as near as the locked ones (n,) bool allow, and the others sharing the
    rest in proportion; alike if they are all 0."""
    weights = np.asarray(weights, dtype=float)
    if locked[head]:
        return weights.copy()
    free = ~np.asarray(locked, dtype=bool)
    free[head] = False
    if not free.any():
        return weights.copy()
    result = weights.copy()
    room = max(0.0, 1 - weights[locked].sum())
    result[head] = np.clip(value, 0, room)
    total, rest = weights[free].sum(), room - result[head]
    result[free] = rest * weights[free] / total if total > _NOTHING else rest / free.sum()
    return result


def checked(weights, count: int) -> np.ndarray:
    """Weights (count,) as they are meant: finite, at least 0, with a sum of exactly 1; else a `ValueError`."""
    expected = f"expected {count} weights, one a head, at least 0 and with a sum of 1"
    try:
        given = np.asarray(weights, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected}, got something else ({error})") from error
    if given.shape != (count,):
        raise ValueError(f"{expected}, got {given.size if given.ndim == 1 else f'shape {given.shape}'}")
    if not np.isfinite(given).all() or (given < 0).any():
        raise ValueError(f"{expected}, got {given.tolist()}; leave a head out with 0")
    if abs(given.sum() - 1) > _SUM_TOLERANCE:
        raise ValueError(f"{expected}, got {given.tolist()}, whose sum is {given.sum():g}; divide by it")
    return given / given.sum()


def _slider(name: str, value: float) -> widgets.FloatSlider:
    return widgets.FloatSlider(
        value,
        min=0.0,
        max=1.0,
        step=STEP,
        description=name,
        readout_format=".2f",
        layout={"width": "274px"},
        style={"description_width": "48px"},
    )


def _lock(name: str) -> widgets.ToggleButton:
    return widgets.ToggleButton(
        icon="unlock", tooltip=f"Keep the weight of {name.lower()}", layout={"width": "36px"}
    )

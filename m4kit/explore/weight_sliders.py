"""Linked sliders for weights that sum to 1."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import ipywidgets as widgets
import numpy as np

from m4kit.explore.controls import slider
from m4kit.explore.explorer import Explorer

STEP, _DECIMALS = 0.01, 2
"""Step of a slider; weights may lie between steps."""

_SUM_TOLERANCE = 1e-4
_ZERO = 1e-9


class WeightSliders(widgets.VBox):
    """One slider per weight, in [0, 1] with a sum of 1, each with a lock.

    When the user moves one slider, the others share the rest in the proportion that they had when the move began, or
    equally if they were all 0. A locked weight keeps its value and limits the moved one; if all others are locked, it
    cannot move.

    `weights` (n,) are the exact values; the sliders show them rounded to their step. `on_change()` is called once per
    move, after all sliders have followed. Errors are shown by `explorer`.
    """

    def __init__(self, names: Sequence[str], *, explorer: Explorer, on_change: Callable[[], None]):
        count = len(names)
        self.on_change, self._explorer = on_change, explorer
        self._weights = np.full(count, 1 / count)
        # The moved slider and the weights when its move began: moved back, the others get back what they had.
        self._move: tuple[int, np.ndarray] | None = None
        self.sliders = [slider(name, 1 / count, 0.0, 1.0, STEP, width="274px") for name in names]
        self.locks = [_lock(name) for name in names]
        for head, (control, lock) in enumerate(zip(self.sliders, self.locks, strict=True)):
            explorer.on(control, functools.partial(self._moved, head))
            explorer.on(lock, functools.partial(self._locked, head))
        rows = zip(self.sliders, self.locks, strict=True)
        super().__init__([widgets.HBox(row, layout={"align_items": "center"}) for row in rows])

    @property
    def weights(self) -> np.ndarray:
        """The weights (n,)."""
        return self._weights.copy()

    def set(self, weights) -> None:
        """Set all weights (n,), also locked ones.

        Raises `ValueError` for a wrong number of weights, and if they are not finite, are negative, or do not sum to
        1.
        """
        self._weights, self._move = checked(weights, len(self.sliders)), None
        self._follow()

    def aim(self, weights) -> None:
        """Set weights (n,) as far as the locks allow: locked ones stay, the others share the rest in proportion."""
        locked = np.array([lock.value for lock in self.locks])
        if locked.sum() > len(locked) - 2:
            return
        aimed, free = checked(weights, len(self.sliders)), ~locked
        rest, total = 1 - self._weights[locked].sum(), aimed[free].sum()
        aimed[free] = rest * aimed[free] / total if total > _ZERO else rest / free.sum()
        self.set(np.where(locked, self._weights, aimed))

    def unlock(self) -> None:
        """Open all locks."""
        for lock in self.locks:
            lock.value = False

    def _moved(self, head: int) -> None:
        # A slider shows its weight rounded; nobody has moved it.
        if abs(self.sliders[head].value - self._weights[head]) < 0.51 * STEP:
            return
        if self._move is None or self._move[0] != head:
            self._move = head, self._weights
        locked = np.array([lock.value for lock in self.locks])
        self._weights = moved(self._move[1], head, self.sliders[head].value, locked=locked)
        self._follow()

    def _locked(self, head: int) -> None:
        lock, self._move = self.locks[head], None
        lock.icon = "lock" if lock.value else "unlock"
        free = sum(not lock.value for lock in self.locks)
        for control, lock in zip(self.sliders, self.locks, strict=True):
            control.disabled = lock.value or free < 2

    def _follow(self) -> None:
        with self._explorer.together():
            for control, weight in zip(self.sliders, self._weights, strict=True):
                # A browser rounds other values, and sends them back.
                control.value = round(float(np.clip(weight, 0, 1)), _DECIMALS)
        self.on_change()


def moved(weights: np.ndarray, head: int, value: float, *, locked: np.ndarray) -> np.ndarray:
    """Set one of the weights (n,) to `value`, as far as the locked ones, (n,) bool, allow.

    The others share the rest in proportion, or equally if they are all 0.
    """
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
    result[free] = rest * weights[free] / total if total > _ZERO else rest / free.sum()
    return result


def checked(weights, count: int) -> np.ndarray:
    """Check weights (count,) and scale their sum to exactly 1; raise `ValueError` if they are not weights."""
    expected = f"expected {count} weights, one per head, at least 0 and with a sum of 1"
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


def _lock(name: str) -> widgets.ToggleButton:
    return widgets.ToggleButton(
        icon="unlock", tooltip=f"Keep the weight of {name.lower()}", layout={"width": "36px"}
    )

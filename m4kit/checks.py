"""Checks arguments. An error says what was expected, what came, and what to do.

Something of another type raises `TypeError`, a value out of range `ValueError`.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType

import numpy as np

_LONGEST_SHOWN = 60


def check_type(value, name: str, *types: type, remedy: str, words: str = ""):
    """Return a value of one of the types; `remedy` ends the error, `words` replaces the types' names in it."""
    if not isinstance(value, types):
        words = words or " or ".join("None" if kind is type(None) else kind.__name__ for kind in types)
        raise TypeError(f"{name}: expected {words}, got {shown(value)}; {remedy}")
    return value


def check_number(
    value,
    name: str,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    unit: str = "",
) -> float:
    """Return a finite number from `least`, or above `above`, to `most`."""
    bounds = _bounds(least, above, most)
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name}: expected a number{bounds}{unit and f', {unit}'}, got {shown(value)}")
    if not (math.isfinite(value) and least <= value <= most and value > above):
        raise ValueError(f"{name}: expected a number{bounds}{unit and f', {unit}'}, got {value}")
    return float(value)


def check_whole(value, name: str, *, least: int = 0, optional: str = "") -> int | None:
    """Return a whole number of at least `least`; or None if `optional` says what that stands for."""
    if optional and value is None:
        return None
    words = f"a whole number of at least {least}{optional and f', or None for {optional}'}"
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{name}: expected {words}, got {shown(value)}")
    if value < least:
        raise ValueError(f"{name}: expected {words}, got {value}")
    return int(value)


def check_choice(value, name: str, known: Iterable[str]) -> str:
    """Return a word that is one of the known ones."""
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name}: expected one of {', '.join(known)}, got {shown(value)}")
    return value


def check_flag(value, name: str) -> bool:
    """Return True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {shown(value)}")
    return bool(value)


def check_array(value, name: str, words: str) -> np.ndarray:
    """Return numbers as an array of float64; `words` says what is expected. Its shape is the caller's to check."""
    if isinstance(value, str | bytes | dict):
        raise TypeError(f"{name}: expected {words}, got {shown(value)}")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name}: expected {words}, got a masked array; fill or leave out what is masked")
    try:
        array = np.asarray(value)
        return array.astype(float, casting="same_kind" if array.dtype.kind != "O" else "unsafe")
    # RuntimeError: a tensor with gradients.
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name}: expected {words}, got {shown(value)} ({error})") from error


def check_shape(value, name: str, shape: tuple[int, ...], words: str = "") -> np.ndarray:
    """Return finite numbers of that shape as an array of float64."""
    words = f"{words or 'finite numbers'} {shape}"
    array = check_array(value, name, words)
    if array.shape != shape or not np.isfinite(array).all():
        came = "NaN or infinity" if array.shape == shape else f"shape {array.shape}"
        raise ValueError(f"{name}: expected {words}, got {came}")
    return array


def check_mesh(vertices, triangles) -> tuple[np.ndarray, np.ndarray]:
    """Return a mesh: finite vertices (V, 3) float64 and triangles (T, 3), at least one of each."""
    vertices, triangles = check_array(vertices, "mesh", "vertices (V, 3)"), np.asarray(triangles)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or len(vertices) == 0:
        raise ValueError(f"expected vertices of shape (V, 3), at least one, got {vertices.shape}")
    if triangles.ndim != 2 or triangles.shape[1] != 3 or len(triangles) == 0:
        raise ValueError(f"expected triangles of shape (T, 3), at least one, got {triangles.shape}")
    if triangles.dtype.kind not in "iu" or triangles.min() < 0 or triangles.max() >= len(vertices):
        raise ValueError(
            f"expected triangles that index {len(vertices)} vertices, got {triangles.min()} to {triangles.max()} "
            f"of {triangles.dtype}"
        )
    if not np.isfinite(vertices).all():
        wrong = int((~np.isfinite(vertices)).any(axis=1).sum())
        raise ValueError(
            f"expected finite vertices, but {wrong} of {len(vertices)} are NaN or infinite; check the parameters "
            "that they come from"
        )
    return vertices, triangles


def read_only(array: np.ndarray) -> np.ndarray:
    """Return a view of an array that cannot be written to; a `copy()` of it can."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def shown(value) -> str:
    """Describe a value in an error: the value itself, and its type unless the value says all."""
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    text, kind = repr(value), type(value).__name__
    return f"{text} ({kind})" if len(text) <= _LONGEST_SHOWN and "\n" not in text else f"a {kind}"


def _bounds(least: float, above: float, most: float) -> str:
    if above > -math.inf:
        return f" above {above:g}" if most == math.inf else f" above {above:g} and up to {most:g}"
    if least > -math.inf:
        return f" of at least {least:g}" if most == math.inf else f" from {least:g} to {most:g}"
    return "" if most == math.inf else f" of at most {most:g}"


def needed(module: str, what: str) -> ModuleType:
    """Import a module that a slim installation may lack.

    `what` is for the message: the function that needs it. Raises `ImportError`, which names the missing package.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or module).split(".")[0]
        if package == "m4kit":
            raise
        raise ImportError(
            f"{what} needs the package {package}, which is not installed: pip install {package}"
        ) from error

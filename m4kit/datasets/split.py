"""Decides by name which faces are held out of every training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

HELD_OUT_PEOPLE = 0.1
"""The share of YouTube Faces' people that no training sees."""


def held_out(names: Sequence[str], share: float) -> np.ndarray:
    """A fixed split by name: True for about that share of the names."""
    digits = [int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) for name in names]
    return np.array(digits) < share * 16**8

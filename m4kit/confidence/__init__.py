"""Tells what the system knows about its own errors: signs, a failure probability, and warnings in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from m4kit.confidence import failure, quality, reasons, signs
from m4kit.prediction import Assessment

if TYPE_CHECKING:
    from m4kit.prediction import Face

__all__ = ["assess", "failure", "quality", "reasons", "signs"]


def assess(faces: Sequence[Face]) -> list[Assessment]:
    """Failure probabilities and warnings of the faces of one predictor, without a further run of the network.

    A `Predictor` attaches this function to its faces: `face.failure_probability` and `face.reasons` call it.
    """
    measured = signs.of_faces(faces)
    probabilities = failure.probabilities_of(faces, measured)
    return [
        Assessment(probability, reasons.reasons_of(face, measured=known))
        for face, probability, known in zip(faces, probabilities, measured, strict=True)
    ]

"""What the system knows about its own errors: signs, a failure probability, and warnings in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m4kit.confidence import failure, reasons, signs
from m4kit.prediction import Assessment

if TYPE_CHECKING:
    from m4kit.prediction import Face

__all__ = ["assess", "failure", "reasons", "signs"]


def assess(face: Face) -> Assessment:
    """Failure probability and warnings of a face, from signs that need no further run of the network.

    A `Predictor` attaches this function to its faces: `face.failure_probability` and `face.reasons` call it.
    """
    measured = signs.of_face(face.origin.image, face)
    return Assessment(
        failure.probability_of(face, measured=measured), reasons.reasons_of(face, measured=measured)
    )

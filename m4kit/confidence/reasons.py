"""Warns about a prediction in words, such as "too dark" or "heads disagree about the jaw".

Each has a fixed limit on one sign, so neither truth nor a fit is needed. `m4kit.training.failure` prints how often
each is given for right and for failed faces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from m4kit.confidence.signs import EXPRESSION_LIMIT, IDENTITY_LIMIT
from m4kit.landmarks import GROUP_MEMBERS, GROUPS
from m4kit.parameters import landmarks_in_crop

if TYPE_CHECKING:
    from m4kit.prediction import Face

TINY, TURNED, OUTSIDE, DARK, BRIGHT = 24.0, 60.0, (0.1, 0.35), 0.2, 0.82
BLURRED, PALE, CLIPPED, UNSURE_DETECTOR = 0.3, 0.1, 0.3, 0.7
SPREAD, BESIDE_EDGES, BOX_MISFIT, CROP_MISFIT = 3.0, 0.97, 0.4, 0.1

REASONS = {
    "half outside the photo": f"more than {100 * OUTSIDE[1]:.0f} % of the area within the landmarks",
    "partly outside the photo": f"more than {100 * OUTSIDE[0]:.0f} % of it",
    "tiny": f"smaller than {TINY:g} photo pixels, the root of the area of the landmarks' box",
    "turned far away": f"looks more than {TURNED:g} degrees away from the viewer",
    "too dark": f"mean grey value below {DARK:g} of white",
    "too bright": f"mean grey value above {BRIGHT:g} of white",
    "little contrast": f"its grey values span less than {PALE:g} of the range from black to white",
    "detail lost in black or white": f"more than {100 * CLIPPED:.0f} % of its pixels are black or white",
    "blurred": f"sharpness below {BLURRED:g}: edges are blurred by {1 / BLURRED - 1:.1f} crop pixels or more",
    "the detector is not sure": f"its score is below {UNSURE_DETECTOR:g}",
    "landmarks do not fit the detector's box": "the crops that both ask for differ by a factor of "
    f"{np.exp(BOX_MISFIT):.1f}, or by {100 * BOX_MISFIT:.0f} % of a side",
    "the crop has not settled": f"a third crop would differ by {100 * CROP_MISFIT:.0f} % in side or place",
    "heads disagree about the ...": f"the heads' landmarks lie {SPREAD:g} % of the face's size from their mean; of "
    f"{', '.join(GROUPS)} the one that they disagree most about",
    "implausible shape": f"identity more than {IDENTITY_LIMIT:.2f} standard deviations from the mean face",
    "implausible expression": f"expression more than {EXPRESSION_LIMIT:.2f} standard deviations from the neutral one",
    "landmarks lie beside the edges": f"`signs.edge_agreement` below {BESIDE_EDGES:g}",
}
"""Every warning with its rule, in the order of `reasons_of`: first those about the picture, then about the answer."""


def reasons_of(face: Face, *, measured: Mapping[str, float]) -> tuple[str, ...]:
    """Warnings about a face that a `Predictor` made, by the rules of `REASONS`.

    `measured` holds its values of `signs.of_faces`.
    """
    of = measured
    spread = of["head_spread"] > SPREAD
    warnings = {
        "half outside the photo": of["outside"] > OUTSIDE[1],
        "partly outside the photo": OUTSIDE[0] < of["outside"] <= OUTSIDE[1],
        "tiny": of["size"] < TINY,
        "turned far away": of["turn"] > TURNED,
        "too dark": of["exposure"] < DARK,
        "too bright": of["exposure"] > BRIGHT,
        "little contrast": of["contrast"] < PALE,
        "detail lost in black or white": of["clipped"] > CLIPPED,
        "blurred": of["sharpness"] < BLURRED,
        "the detector is not sure": bool(face.origin.detector) and face.box.score < UNSURE_DETECTOR,
        "landmarks do not fit the detector's box": of["box_misfit"] > BOX_MISFIT,
        "the crop has not settled": of["crop_misfit"] > CROP_MISFIT,
        f"heads disagree about the {_most_disputed(face) if spread else ''}": spread,
        "implausible shape": of["identity_distance"] > IDENTITY_LIMIT,
        "implausible expression": of["expression_distance"] > EXPRESSION_LIMIT,
        "landmarks lie beside the edges": of["edge_agreement"] < BESIDE_EDGES,
    }
    return tuple(words for words, true in warnings.items() if true)


def _most_disputed(face: Face) -> str:
    """The group of landmarks on which the heads disagree most."""
    placed = landmarks_in_crop(face.model, np.asarray(face.heads, dtype=np.float32))[..., :2]
    distances = np.linalg.norm(placed - placed.mean(axis=0), axis=-1).mean(axis=0)
    return max(GROUPS, key=lambda name: distances[GROUP_MEMBERS[name]].mean())

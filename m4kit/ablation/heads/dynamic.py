"""The study of dynamic fusion: which weights it gives to which faces, and which faces it helps.

A network with dynamic fusion computes head weights for each face. Its extra layer is useful if the weights depend on
the face (yaw, blur, occlusion) and if the error falls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from m4kit import metrics
from m4kit.ablation.heads.crop_faults import out_of_focus, partly_hidden
from m4kit.ablation.heads.judge import HEADS
from m4kit.ablation.heads.record import difference_text, weights_text
from m4kit.camera import CROP_SIZE
from m4kit.datasets import Sample
from m4kit.evaluate.crops import true_crops
from m4kit.evaluate.landmarks import compare, true_poses
from m4kit.face_model import FaceModel
from m4kit.inference import inference
from m4kit.network import M4Net, Outputs, to_input
from m4kit.parameters import fuse, landmarks_in_crop, split_camera
from m4kit.tables import as_text
from m4kit.views import of_side
from m4kit.weights import check_fits

if TYPE_CHECKING:
    import pandas as pd

BLURS = (1.0, 2.0, 4.0, 6.0)
"""Radii of the circle of confusion in crop pixels."""

PATCHES = (0.1, 0.2, 0.3, 0.4)
"""Shares of the face that a patch hides."""

AS_IT_IS = ("as it is", 0.0)


@dataclass(frozen=True, eq=False)
class Condition:
    """Results on n faces under one condition, such as `kind` "blur" with `level` 2.0.

    `weights` (n, 4) are those of the dynamic network. `static` and `dynamic` (n,) are the faces' NME in percent.
    """

    kind: str
    level: float
    weights: np.ndarray = field(repr=False)
    static: np.ndarray = field(repr=False)
    dynamic: np.ndarray = field(repr=False)

    @property
    def difference(self) -> np.ndarray:
        """NME of the dynamic network minus that of the static one, (n,); negative where dynamic fusion helps."""
        return self.dynamic - self.static

    def interval(self) -> tuple[float, float]:
        """Compute the 95 % bootstrap interval of the mean difference."""
        low, high = metrics.bootstrap(self.difference)
        return float(low), float(high)

    @property
    def verdict(self) -> str:
        """How dynamic fusion compares: "better", "worse", or "does not differ" if the interval holds 0."""
        low, high = self.interval()
        return "better" if high < 0 else "worse" if low > 0 else "does not differ"


@dataclass(frozen=True, eq=False)
class Example:
    """One unchanged face: `crop` (120, 120, 3) uint8 RGB, landmarks (68, 2) in its pixels, NME, weights (4,)."""

    name: str
    crop: np.ndarray = field(repr=False)
    static_landmarks: np.ndarray = field(repr=False)
    dynamic_landmarks: np.ndarray = field(repr=False)
    static: float
    dynamic: float
    weights: np.ndarray


@dataclass(frozen=True, eq=False)
class DynamicStudy:
    """Results of a static and a dynamic network on the same n faces.

    `conditions` begin with the unchanged faces. `yaw` (n,) is the true yaw in degrees, NaN where it is not known.
    `static_weights` (4,) are the static network's. `helped` and `hurt` are the faces whose error changed most, with
    the largest change first.
    """

    dataset: str
    names: tuple[str, ...] = field(repr=False)
    yaw: np.ndarray = field(repr=False)
    static_weights: np.ndarray
    conditions: tuple[Condition, ...] = field(repr=False)
    helped: tuple[Example, ...] = field(default=(), repr=False)
    hurt: tuple[Example, ...] = field(default=(), repr=False)

    @property
    def plain(self) -> Condition:
        """The unchanged faces."""
        return self.conditions[0]

    def of_kind(self, kind: str) -> tuple[Condition, ...]:
        """Return the unchanged faces, then the conditions of a kind by rising level."""
        return (self.plain, *(one for one in self.conditions if one.kind == kind))

    def report(self) -> str:
        """Write the study as text, one line per condition."""
        plain = self.plain
        lines = [
            f"Dynamic against static weights on {len(self.names)} faces of {self.dataset}; NME in % over all faces, "
            "with the paired 95 % interval of the difference",
            f"static weights {weights_text(self.static_weights)}; dynamic weights "
            f"{weights_text(plain.weights.mean(axis=0))} on average, with a standard deviation over faces of "
            f"{weights_text(plain.weights.std(axis=0))}",
        ]
        lines.append(as_text(self.summary()))
        helps = (plain.difference < 0).mean()
        lines.append(
            f"on unchanged faces it helps {100 * helps:.0f} %, by {-plain.difference.min():.2f} at most, and hurts "
            f"the others by {plain.difference.max():.2f} at most"
        )
        return "\n".join(lines)

    def summary(self) -> pd.DataFrame:
        """Tabulate the conditions, one row each: both errors, their difference, and the mean dynamic weights."""
        import pandas as pd

        rows = []
        for one in self.conditions:
            rows.append(
                {
                    "faces": one.kind if one.level == 0 else f"{one.kind} {one.level:g}",
                    "static": one.static.mean(),
                    "dynamic": one.dynamic.mean(),
                    "difference": difference_text(one.difference.mean(), *one.interval()),
                    "verdict": one.verdict,
                    "mean weights": weights_text(one.weights.mean(axis=0)),
                }
            )
        return pd.DataFrame(rows).round(3)

    def to_dataframe(self) -> pd.DataFrame:
        """Make a table with one row per condition and face."""
        import pandas as pd

        tables = [
            pd.DataFrame(
                {"name": self.names, "yaw": self.yaw.round(2), "condition": one.kind, "level": one.level}
                | {f"weight_{head + 1}": one.weights[:, head] for head in range(HEADS)}
                | {"static": one.static, "dynamic": one.dynamic}
            )
            for one in self.conditions
        ]
        return pd.concat(tables, ignore_index=True).round(4)


def dynamic_study(
    static: M4Net,
    dynamic: M4Net,
    model: FaceModel,
    samples: Iterable[Sample],
    *,
    dataset: str,
    published_crops: bool = False,
    blurs: Sequence[float] = BLURS,
    patches: Sequence[float] = PATCHES,
    examples: int = 6,
    seed: int = 0,
    progress: bool = True,
) -> DynamicStudy:
    """Compare a network with static and one with dynamic fusion on labelled faces, unchanged and degraded.

    Crops are blurred by `blurs` and partly hidden by `patches` (see `crop_faults`); `seed` gives the patches' places
    and colours. If both networks have the same heads, these run once. The `examples` most helped and most hurt faces
    are kept. Raises `ValueError` if a network has the wrong kind of fusion or was trained for another face model.
    """
    for word, network in (("static", static), ("dynamic", dynamic)):
        if network.fusion != word:
            raise ValueError(f"expected a network with {word} fusion as `{word}`, got {network.fusion}")
        check_fits(network, model)
    levels = [AS_IT_IS, *(("blur", value) for value in blurs), *(("occlusion", value) for value in patches)]
    samples, pair = list(samples), _Pair(static, dynamic)
    found: dict[tuple[str, float], list] = {level: [] for level in levels}
    kept: list[Sample] = []
    with tqdm(total=len(samples) * len(levels), desc="dynamic", unit="crop", disable=not progress) as bar:
        for readable, crops in true_crops(samples, published_crops=published_crops):
            for kind, level in levels:
                made = _degraded(crops, kind, level, seed + len(kept))
                found[kind, level].append(pair(made))
                bar.update(len(crops))
            kept += readable

    def nme(parameters: np.ndarray) -> np.ndarray:
        points, (cameras, _) = landmarks_in_crop(model, parameters), split_camera(parameters)
        return compare(kept, points, cameras, published_crops=published_crops).nme

    conditions, fused = [], {}
    for (kind, level), parts in found.items():
        one = [np.concatenate(part) for part in zip(*parts, strict=True)]
        conditions.append(Condition(kind, level, one[2], nme(one[0]), nme(one[1])))
        fused[kind, level] = one[:2]
    study = DynamicStudy(
        dataset=dataset,
        names=tuple(sample.name for sample in kept),
        yaw=true_poses(kept)[:, 0],
        static_weights=static.head_logits.detach().softmax(0).numpy(),
        conditions=tuple(conditions),
    )
    order = np.argsort(study.plain.difference, kind="stable")
    most = [row for row in order[:examples] if study.plain.difference[row] < 0]
    least = [row for row in order[::-1][:examples] if study.plain.difference[row] > 0]
    chosen = [
        tuple(_examples(study.plain, kept, rows, fused[AS_IT_IS], model, published_crops=published_crops))
        for rows in (most, least)
    ]
    return replace(study, helped=chosen[0], hurt=chosen[1])


class _Pair:
    """Runs two networks on crops: fused parameters (n, 62) of each, and the dynamic weights (n, 4)."""

    def __init__(self, static: M4Net, dynamic: M4Net):
        self.static, self.dynamic = static, dynamic
        # If the heads are the same, only the fusion differs.
        self.alike = static.heads_digest() == dynamic.heads_digest()

    @inference()
    def __call__(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        there = _outputs(self.dynamic, crops)
        if self.alike:
            here = fuse(there.heads, self.static.head_logits.softmax(0).expand(len(crops), -1))
        else:
            here = _outputs(self.static, crops).parameters
        return here.numpy(), there.parameters.numpy(), there.weights.numpy()


def _outputs(network: M4Net, crops: np.ndarray) -> Outputs:
    side = network.crop_size
    return network.outputs(to_input(of_side(crops, side), crop_size=side))


def _degraded(crops: np.ndarray, kind: str, level: float, seed: int) -> np.ndarray:
    if kind == "blur":
        return np.stack([out_of_focus(crop, level) for crop in crops])
    if kind == "occlusion":
        return np.stack([partly_hidden(crop, level, seed=seed + row) for row, crop in enumerate(crops)])
    return crops


def _examples(
    plain: Condition,
    samples: list[Sample],
    rows: Sequence[int],
    fused: Sequence[np.ndarray],
    model: FaceModel,
    *,
    published_crops: bool,
) -> Iterator[Example]:
    for row in rows:
        (_, crop), *_ = true_crops([samples[row]], published_crops=published_crops)
        placed = [landmarks_in_crop(model, parameters[[row]])[0, :, :2] for parameters in fused]
        # From the crop frame (origin in the middle, y up) to pixels (y down).
        pixels = [points * [1, -1] + (CROP_SIZE - 1) / 2 for points in placed]
        yield Example(
            samples[row].name,
            crop[0],
            *pixels,
            float(plain.static[row]),
            float(plain.dynamic[row]),
            plain.weights[row],
        )

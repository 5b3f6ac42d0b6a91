"""Any weights of the heads judged by fusing anew, many at once.

The landmarks are bilinear in camera and coefficients, and each of these is the heads' weighted sum. So 16 arrays a
face, the landmarks of head j's shape before head i's camera, give the fused landmarks of any weights as the sum over
i and j of w_i w_j P_ij. (With weights of their own for identity and expression, it is 16 for each.)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from m4kit import metrics
from m4kit.evaluate.heads import HeadAnswers
from m4kit.evaluate.landmarks import POSE_LIMIT, true_poses
from m4kit.face_model import FaceModel
from m4kit.landmarks import GROUP_MEMBERS
from m4kit.network import HEAD_STAGES
from m4kit.parameters import fuse

HEADS = len(HEAD_STAGES)
PARTS = ("camera", "identity", "expression")
"""What may have weights of its own."""

GROUPS = GROUP_MEMBERS
"""The groups of the 68 landmarks by which errors are told apart: jaw, brows, nose, eyes, lips."""

_CHUNK_BYTES = 48 * 2**20
"""What the landmarks of all weights over a chunk of faces may take."""

_MOST_FACES = 512
"""How many faces a chunk has at most, for the sake of the 32 arrays of each."""

_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Judgement:
    """The errors under w settings of the heads' weights, a row each.

    - `weights` (w, 3, 4): the heads' weights for camera, identity and expression.
    - `nme` (w,): mean over all faces, in percent of sqrt(w * h) of the true landmarks' box; `bins` (w, 3) that of
      each yaw bin, NaN where it is empty or a turn is not known; `groups` (w, 5) that of each of `GROUPS`.
    - `pose` (w, 3): mean absolute errors of yaw, pitch and roll in degrees over the faces that count for them.
    - `vertices` (w,): root of the mean squared 3D distance from the true vertices, in percent as for the landmarks;
      NaN where the truth has none. The depth of the whole face, which no photo shows, does not count.
    - `faces` (w, n): each face's NME in percent; a record has none.

    `groups` and `vertices` are averaged over the faces as `headline` is.
    """

    weights: np.ndarray
    nme: np.ndarray
    bins: np.ndarray
    groups: np.ndarray
    pose: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.nme)

    @property
    def balanced(self) -> np.ndarray:
        """NME as the mean of the yaw bins, (w,); NaN where there is no such mean."""
        return self.bins.mean(axis=1)

    @property
    def headline(self) -> np.ndarray:
        """What settings are compared by, (w,): the balanced NME, or where a bin is empty that over all faces."""
        return np.where(np.isfinite(self.balanced), self.balanced, self.nme)

    def take(self, rows) -> Judgement:
        """Only those rows."""
        return Judgement(**{name: values[rows] for name, values in self._known().items()})

    def joined(self, other: Judgement) -> Judgement:
        """These rows and then the other's, judged on the same faces."""
        theirs = other._known()
        return Judgement(
            **{
                name: np.concatenate([values, theirs[name]])
                for name, values in self._known().items()
                if name in theirs
            }
        )

    def _known(self) -> dict[str, np.ndarray]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value for name, value in values.items() if value is not None}


def simplex(step: float = 0.1) -> np.ndarray:
    """All weights of four heads in steps that sum to 1, (n, 4): 286 of step 0.1, 1,771 of step 0.05.

    >>> simplex(1).tolist()
    [[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
    """
    parts = round(1 / step) if 0 < step <= 1 else 0
    if not parts or abs(parts * step - 1) > 1e-9:
        raise ValueError(f"simplex: expected a step that divides 1, such as 0.1 or 0.05, got {step}")
    first = np.array([some for some in product(range(parts + 1), repeat=HEADS - 1) if sum(some) <= parts])
    return np.column_stack([first, parts - first.sum(axis=1)]) / parts


def checked_weights(weights) -> np.ndarray:
    """Weights (4,), (w, 4) or (w, 3, 4), the last for camera, identity and expression, as (w, 3, 4).

    Raises `ValueError` if they are of another number, negative, not finite, or do not sum to 1.
    """
    expected = f"expected weights ({HEADS},), (n, {HEADS}) or (n, {len(PARTS)}, {HEADS}) of the {HEADS} heads"
    try:
        array = np.asarray(weights, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected}, got something else ({error})") from error
    if array.ndim == 1:
        array = array[None]
    if array.ndim == 2:
        array = array[:, None].repeat(len(PARTS), axis=1)
    if array.ndim != 3 or array.shape[1:] != (len(PARTS), HEADS) or not len(array):
        raise ValueError(f"{expected}, got shape {np.shape(weights)}")
    for wrong, fault, remedy in (
        (~np.isfinite(array), "finite weights", "give numbers"),
        (array < 0, "weights of at least 0", "leave a head out with 0"),
        (abs(array.sum(axis=2) - 1) > _SUM_TOLERANCE, "weights that sum to 1", "divide them by their sum"),
    ):
        if wrong.any():
            place = tuple(np.argwhere(wrong)[0][:2])
            raise ValueError(f"expected {fault}, got {array[place].tolist()}; {remedy}")
    return array / array.sum(axis=2, keepdims=True)


def judge(answers: HeadAnswers, weights, *, truth: np.ndarray | None = None) -> Judgement:
    """The errors of n faces under weights (4,), (w, 4), or (w, 3, 4) for camera, identity and expression.

    `truth` (n, 62) are true raw parameters, where there are such: they give the true vertices. All is computed from
    `answers`, chunk by chunk; the network does not run. 1,000 weights over 500 faces take a few seconds.
    """
    weights = checked_weights(weights)
    n = len(answers)
    if truth is not None and np.shape(truth) != (n, answers.heads.shape[2]):
        raise ValueError(
            f"truth: expected raw parameters {(n, answers.heads.shape[2])}, a row for each of {n} faces, "
            f"got {np.shape(truth)}"
        )
    products = _products(weights)
    poses, bins = true_poses(answers.samples), yaw_bins(answers)
    share = face_shares(bins)
    faces = np.empty((len(weights), n), dtype=np.float32)
    groups, vertices = np.zeros((len(weights), len(GROUPS))), np.zeros(len(weights))
    # NaN compares as False: a face whose pose is not known does not count.
    counted = (np.abs(poses) <= POSE_LIMIT).all(axis=1)
    turns = np.zeros((len(weights), 3))
    size = min(max(1, _CHUNK_BYTES // (len(weights) * 68 * 2 * 4)), _MOST_FACES)
    for start in range(0, n, size):
        rows = np.arange(start, min(start + size, n))
        errors = _landmark_errors(products, _placed(answers, rows, apart=_apart(products)))
        faces[:, rows] = errors[..., 0]
        groups += np.einsum("wfg,f->wg", errors[..., 1:], share[rows])
        if (known := rows[counted[rows]]).size:
            cameras = np.tensordot(weights[:, 0], answers.heads[known, :, :12], (1, 1))
            predicted = head_poses(cameras.reshape(len(weights), len(known), 3, 4))
            turns += metrics.pose_error(predicted, np.broadcast_to(poses[known], predicted.shape)).sum(axis=1)
    if truth is not None:
        for row in range(n):
            vertices += share[row] * _vertex_errors(
                products, answers.model, answers.heads[row], np.asarray(truth[row])
            )
    members = bins == np.arange(len(metrics.YAW_BINS))[:, None]
    return Judgement(
        weights=weights,
        nme=faces.mean(axis=1, dtype=float),
        bins=np.stack([_mean(faces[:, chosen]) for chosen in members], axis=1),
        groups=groups,
        pose=turns / counted.sum() if counted.any() else np.full_like(turns, np.nan),
        vertices=vertices if truth is not None else np.full(len(weights), np.nan),
        faces=faces,
    )


def judge_own(answers: HeadAnswers, *, truth: np.ndarray | None = None) -> Judgement:
    """The errors under the network's own weights, which may differ from face to face, as one row.

    Its `weights` are their means over the faces.
    """
    fused = fuse(answers.heads, answers.weights)
    alike = replace(answers, heads=fused[:, None].repeat(HEADS, axis=1))
    own = judge(alike, np.full(HEADS, 1 / HEADS), truth=truth)
    return replace(own, weights=checked_weights(answers.weights.mean(axis=0, dtype=float)))


def yaw_bins(answers: HeadAnswers) -> np.ndarray:
    """Which of the three yaw bins each face belongs to, (n,); -1 for all if a true yaw is not known."""
    bins = metrics.yaw_bin(true_poses(answers.samples)[:, 0])
    return bins if (bins >= 0).all() else np.full(len(bins), -1)


def bin_counts(bins: np.ndarray) -> np.ndarray:
    """How many faces lie in each of the three yaw bins, (3,), of `yaw_bins` (n,); zeros if a yaw is not known."""
    return np.bincount(bins[bins >= 0], minlength=len(metrics.YAW_BINS))


def face_shares(bins: np.ndarray) -> np.ndarray:
    """The weight (n,) of each face in the mean by which settings are compared.

    `bins` (n,) is what `yaw_bins` gives. All bins weigh alike if each holds a face, else all faces do.
    """
    counts = bin_counts(bins)
    if (bins < 0).any() or not counts.all():
        return np.full(len(bins), 1 / len(bins))
    return 1 / (len(counts) * counts[bins])


def head_poses(cameras: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll (..., 3) in degrees of cameras (..., 3, 4): `camera.head_pose` of many at once.

    The polar factor of the upper rows A is (A A^T)^(-1/2) A, and the root of a 2x2 matrix M has a closed form:
    (M + s I) / t with s = sqrt(det M) and t = sqrt(trace M + 2 s).
    """
    rows = np.asarray(cameras, dtype=float)[..., :2, :3]
    a, b, d = ((rows[..., i, :] * rows[..., j, :]).sum(axis=-1) for i, j in ((0, 0), (0, 1), (1, 1)))
    s = np.sqrt(np.maximum(a * d - b * b, np.finfo(float).tiny))
    scale = (s * np.sqrt(a + d + 2 * s))[..., None]
    x = ((d + s)[..., None] * rows[..., 0, :] - b[..., None] * rows[..., 1, :]) / scale
    y = ((a + s)[..., None] * rows[..., 1, :] - b[..., None] * rows[..., 0, :]) / scale
    z = np.cross(x, y)
    yaw = -np.arcsin(np.clip(x[..., 2], -1, 1))
    pitch, roll = np.arctan2(y[..., 2], z[..., 2]), np.arctan2(x[..., 1], x[..., 0])
    edge, sign = np.hypot(x[..., 0], x[..., 1]) < 1e-9, np.sign(yaw)
    pitch = np.where(edge, np.arctan2(sign * y[..., 0], y[..., 1]), pitch)
    return np.degrees(np.stack([yaw, pitch, np.where(edge, 0, roll)], axis=-1))


def _products(weights: np.ndarray) -> np.ndarray:
    """The factors (w, 16) of the P_ij for weights (w, 3, 4); (w, 32) where identity and expression differ."""
    camera, identity, expression = weights.swapaxes(0, 1)
    parts = [identity] if (identity == expression).all() else [identity, expression]
    return np.concatenate(
        [(camera[:, :, None] * part[:, None]).reshape(len(weights), -1) for part in parts], axis=1
    )


def _apart(products: np.ndarray) -> bool:
    return products.shape[1] > HEADS**2


def _placed(answers: HeadAnswers, rows: np.ndarray, *, apart: bool) -> np.ndarray:
    """What `_products` multiplies: (16 or 32, f, 68, 2), over the photo less the truth, in percent of its size.

    The products of a camera's and a shape's weights sum to 1, hence all that is added once (the camera's offset,
    the crop's place, the truth) may be added to each of the first 16. The others are differences.
    """
    model, heads = answers.model, answers.heads[rows].astype(float)
    cameras = heads[..., :12].reshape(len(rows), HEADS, 1, 3, 4)[..., :2, :]
    identity = model.landmarks(heads[..., 12:52]).numpy()[:, None]
    expression = model.landmarks(None, heads[..., 52:]).numpy()[:, None] - model.landmark_mean.numpy()
    turn = cameras[..., :3].swapaxes(-1, -2)
    first = (identity if apart else identity + expression) @ turn + cameras[..., None, :, 3]
    second = expression @ turn if apart else None
    result = np.empty((HEADS**2 * (1 + apart), len(rows), 68, 2), dtype=np.float32)
    for place, row in enumerate(rows):
        sample = answers.samples[row]
        to_photo = (sample.published_box if answers.published_crops else sample.crop).to_photo
        true = sample.landmarks[:, :2]
        percent = 100 / np.sqrt(np.prod(np.ptp(true, axis=0)))
        result[: HEADS**2, place] = percent * (to_photo(first[place].reshape(-1, 68, 2)) - true)
        if apart:
            moved = to_photo(second[place].reshape(-1, 68, 2)) - to_photo(np.zeros(2))
            result[HEADS**2 :, place] = percent * moved
    return result


def _landmark_errors(products: np.ndarray, placed: np.ndarray) -> np.ndarray:
    """NME (w, f, 6) in percent of f faces: over all landmarks, then over each group."""
    w, (k, f) = len(products), placed.shape[:2]
    means = np.zeros((68, 1 + len(GROUPS)), dtype=np.float32)
    for column, points in enumerate([range(68), *GROUPS.values()]):
        means[points, column] = 1 / len(points)
    distance = np.zeros((w, f * 68), dtype=np.float32)
    for axis in range(2):
        offset = products.astype(np.float32) @ placed[..., axis].reshape(k, -1)
        distance += np.square(offset, out=offset)
    return (np.sqrt(distance, out=distance).reshape(-1, 68) @ means).reshape(w, f, -1)


def _vertex_errors(products: np.ndarray, model: FaceModel, heads: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Root mean square distances (w,) of one face's vertices from the true ones, over all of them.

    The sum of squares is a quadratic form of the products, whose matrix is small.
    """
    cameras = heads[:, :12].reshape(HEADS, 1, 3, 4).copy()
    camera = true[:12].reshape(3, 4).copy()
    cameras[..., 2, 3], camera[2, 3] = 0, 0
    aim = model.vertices(true[12:52], true[52:]).numpy() @ camera[:, :3].T + camera[:, 3]
    identity = model.vertices(heads[:, 12:52]).numpy()
    expression = model.vertices(None, heads[:, 52:]).numpy() - model.mean.numpy()
    turn = cameras[..., :3].swapaxes(-1, -2)
    apart = _apart(products)
    placed = (identity if apart else identity + expression) @ turn + cameras[..., None, :, 3] - aim
    if apart:
        placed = np.concatenate([placed, expression @ turn])
    placed = placed.reshape(products.shape[1], -1)
    squares = ((products @ (placed @ placed.T)) * products).sum(axis=1) / len(aim)
    low, high = (
        edge(model.landmarks(true[12:52], true[52:]).numpy() @ camera[:2, :3].T, axis=0)
        for edge in (np.min, np.max)
    )
    return 100 * np.sqrt(np.maximum(squares, 0) / np.prod(high - low))


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, NaN where it is empty."""
    return values.mean(axis=1, dtype=float) if values.shape[1] else np.full(len(values), np.nan)

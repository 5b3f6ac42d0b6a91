"""Errors of many head weights at once, from one run of the network.

Landmarks are bilinear in camera and coefficients, and fusion makes each of these the weighted sum of the heads'. So
16 arrays per face, P_ij = the landmarks of head j's shape under head i's camera, give the landmarks of any fusion as
the sum over i and j of w_i w_j P_ij.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from m4kit import metrics
from m4kit.camera import euler_angles
from m4kit.evaluate.heads import HeadAnswers
from m4kit.evaluate.landmarks import POSE_LIMIT, true_poses
from m4kit.face_model import FaceModel
from m4kit.landmarks import GROUP_MEMBERS, face_size
from m4kit.network import HEAD_STAGES
from m4kit.parameters import PARAMETERS, fuse, split, split_camera

HEADS = len(HEAD_STAGES)

GROUPS = GROUP_MEMBERS
"""The landmark groups with errors of their own: jaw, brows, nose, eyes, lips."""

_CHUNK_BYTES = 48 * 2**20
"""Memory limit for the landmarks of all weights over a chunk of faces."""

_MOST_FACES = 512
"""Largest number of faces in a chunk, because each face needs 16 arrays."""

_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Judgement:
    """Errors under w settings of the head weights, one row per setting.

    - `weights` (w, 4): the head weights.
    - `nme` (w,): mean over all faces, in percent of sqrt(w * h) of the true landmarks' box. `bins` (w, 3): the mean
      in each yaw bin, NaN if the bin is empty or a yaw is not known. `groups` (w, 5): the mean of each of `GROUPS`.
    - `pose` (w, 3): mean absolute errors of yaw, pitch and roll in degrees, over the faces that count for the pose.
    - `vertices` (w,): root mean squared 3D distance from the true vertices, in percent as for the landmarks; NaN if
      the truth has no vertices. The depth of the whole face does not count, because no photo shows it.
    - `faces` (w, n): NME of each face in percent; a record has none.

    `groups` and `vertices` are averaged over the faces like `headline`.
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
        """Balanced NME, the mean of the yaw bins, (w,); NaN if a bin is NaN."""
        return self.bins.mean(axis=1)

    @property
    def headline(self) -> np.ndarray:
        """The error that settings are compared by, (w,): the balanced NME, or the plain mean if a bin is empty."""
        return np.where(np.isfinite(self.balanced), self.balanced, self.nme)

    def take(self, rows) -> Judgement:
        """Keep only these rows."""
        return Judgement(**{name: values[rows] for name, values in self._known().items()})

    def joined(self, other: Judgement) -> Judgement:
        """Append the rows of another judgement, which must be of the same faces."""
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
    """List all weights of four heads on a regular grid that sum to 1, (n, 4): 286 for step 0.1, 1,771 for step 0.05.

    >>> simplex(1).tolist()
    [[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
    """
    parts = round(1 / step) if 0 < step <= 1 else 0
    if not parts or abs(parts * step - 1) > 1e-9:
        raise ValueError(f"simplex: expected a step that divides 1, such as 0.1 or 0.05, got {step}")
    first = np.array([some for some in product(range(parts + 1), repeat=HEADS - 1) if sum(some) <= parts])
    return np.column_stack([first, parts - first.sum(axis=1)]) / parts


def checked_weights(weights) -> np.ndarray:
    """Check head weights (4,) or (w, 4), and return them as (w, 4) with rows that sum to 1 exactly.

    Raises `ValueError` if their shape is another one, or if they are negative, not finite, or do not sum to 1.
    """
    expected = f"expected weights ({HEADS},) or (n, {HEADS}) of the {HEADS} heads"
    try:
        array = np.atleast_2d(np.asarray(weights, dtype=float))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected}, got something else ({error})") from error
    if array.ndim != 2 or array.shape[1] != HEADS or not len(array):
        raise ValueError(f"{expected}, got shape {np.shape(weights)}")
    for wrong, rule, remedy in (
        (~np.isfinite(array).all(axis=1), "finite weights", "give numbers"),
        ((array < 0).any(axis=1), "weights of at least 0", "leave a head out with 0"),
        (abs(array.sum(axis=1) - 1) > _SUM_TOLERANCE, "weights that sum to 1", "divide them by their sum"),
    ):
        if wrong.any():
            raise ValueError(f"expected {rule}, got {array[wrong.argmax()].tolist()}; {remedy}")
    return array / array.sum(axis=1, keepdims=True)


def judge(answers: HeadAnswers, weights, *, truth: np.ndarray | None = None) -> Judgement:
    """Compute the errors of n faces under head weights (4,) or (w, 4).

    `truth` (n, 62) are the true raw parameters if they are known; they give the true vertices. Everything is computed
    from `answers`, chunk by chunk; the network does not run. 1,000 weights over 500 faces take a few seconds.
    """
    weights = checked_weights(weights)
    n = len(answers)
    if truth is not None and np.shape(truth) != (n, PARAMETERS):
        raise ValueError(
            f"truth: expected raw parameters {(n, PARAMETERS)}, one row for each of {n} faces, "
            f"got {np.shape(truth)}"
        )
    products = (weights[:, :, None] * weights[:, None]).reshape(len(weights), -1)
    poses, bins = true_poses(answers.samples), yaw_bins(answers)
    share = face_shares(bins)
    faces = np.empty((len(weights), n), dtype=np.float32)
    groups, vertices = np.zeros((len(weights), len(GROUPS))), np.zeros(len(weights))
    # NaN compares as False, so a face whose pose is not known does not count.
    counted = (np.abs(poses) <= POSE_LIMIT).all(axis=1)
    turns = np.zeros((len(weights), 3))
    size = min(max(1, _CHUNK_BYTES // (len(weights) * 68 * 2 * 4)), _MOST_FACES)
    for start in range(0, n, size):
        rows = np.arange(start, min(start + size, n))
        errors = _landmark_errors(products, _placed(answers, rows))
        faces[:, rows] = errors[..., 0]
        groups += np.einsum("wfg,f->wg", errors[..., 1:], share[rows])
        if (known := rows[counted[rows]]).size:
            cameras = np.tensordot(weights, split_camera(answers.heads[known])[0], (1, 1))
            predicted = head_poses(cameras)
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
    """Compute the errors under the network's own weights, which may differ between faces, as one row.

    Its `weights` are their means over the faces.
    """
    fused = fuse(answers.heads, answers.weights)
    alike = replace(answers, heads=fused[:, None].repeat(HEADS, axis=1))
    own = judge(alike, np.full(HEADS, 1 / HEADS), truth=truth)
    return replace(own, weights=checked_weights(answers.weights.mean(axis=0, dtype=float)))


def yaw_bins(answers: HeadAnswers) -> np.ndarray:
    """Find the yaw bin of each face, (n,); -1 for all faces if any true yaw is not known."""
    bins = metrics.yaw_bin(true_poses(answers.samples)[:, 0])
    return bins if (bins >= 0).all() else np.full(len(bins), -1)


def bin_counts(bins: np.ndarray) -> np.ndarray:
    """Count the faces in each yaw bin, (3,), from `yaw_bins` (n,); zeros if a yaw is not known."""
    return np.bincount(bins[bins >= 0], minlength=len(metrics.YAW_BINS))


def face_shares(bins: np.ndarray) -> np.ndarray:
    """Compute the weight of each face, (n,), in the mean that settings are compared by.

    `bins` (n,) are from `yaw_bins`. All bins count the same if each holds a face; otherwise all faces count the same.
    """
    counts = bin_counts(bins)
    if not counts.all():
        return np.full(len(bins), 1 / len(bins))
    return 1 / (len(counts) * counts[bins])


def head_poses(cameras: np.ndarray) -> np.ndarray:
    """Compute yaw, pitch and roll (..., 3) in degrees of cameras (..., 3, 4), faster than `camera.head_poses`.

    The polar factor of the upper rows A is (A A^T)^(-1/2) A, and the root of a 2x2 matrix M has a closed form:
    (M + s I) / t with s = sqrt(det M) and t = sqrt(trace M + 2 s).
    """
    rows = np.asarray(cameras, dtype=float)[..., :2, :3]
    a, b, d = ((rows[..., i, :] * rows[..., j, :]).sum(axis=-1) for i, j in ((0, 0), (0, 1), (1, 1)))
    s = np.sqrt(np.maximum(a * d - b * b, np.finfo(float).tiny))
    scale = (s * np.sqrt(a + d + 2 * s))[..., None]
    x = ((d + s)[..., None] * rows[..., 0, :] - b[..., None] * rows[..., 1, :]) / scale
    y = ((a + s)[..., None] * rows[..., 1, :] - b[..., None] * rows[..., 0, :]) / scale
    return euler_angles(np.stack([x, y, np.cross(x, y)], axis=-2))


def _placed(answers: HeadAnswers, rows: np.ndarray) -> np.ndarray:
    """The arrays P_ij minus the true landmarks, (16, f, 68, 2), in percent of the face's size.

    The products w_i w_j sum to 1, so what is added once to the landmarks may be added to each P_ij: the camera's
    offset, the crop's position, the truth.
    """
    model = answers.model
    cameras, identity, expression = split(answers.heads[rows].astype(float))
    identity = model.landmarks(identity)
    expression = model.landmarks(None, expression) - model.landmark_mean
    turn = cameras[:, :, None, :2, :3].swapaxes(-1, -2)
    placed = (identity + expression)[:, None] @ turn + cameras[:, :, None, None, :2, 3]
    result = np.empty((HEADS**2, len(rows), 68, 2), dtype=np.float32)
    for place, row in enumerate(rows):
        sample = answers.samples[row]
        to_photo = (sample.published_box if answers.published_crops else sample.crop).to_photo
        true = sample.landmarks[:, :2]
        in_photo = to_photo(placed[place].reshape(-1, 68, 2))
        result[:, place] = 100 * (in_photo - true) / face_size(true)
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
    """Root mean squared distances (w,) of one face's vertices from the true ones, in percent of its size.

    The sum of squares is a quadratic form of the products, whose matrix is small.
    """
    cameras, identity, expression = split(heads)
    camera, *coefficients = split(true)
    depthless = np.array([1, 1, 0])
    aim = model.vertices(*coefficients) @ camera[:, :3].T + camera[:, 3] * depthless
    identity = model.vertices(identity)
    expression = model.vertices(None, expression) - model.mean
    turn = cameras[:, None, :, :3].swapaxes(-1, -2)
    placed = (identity + expression) @ turn + (cameras[..., 3] * depthless)[:, None, None] - aim
    placed = placed.reshape(HEADS**2, -1)
    squares = ((products @ (placed @ placed.T)) * products).sum(axis=1) / len(aim)
    size = face_size(model.landmarks(*coefficients) @ camera[:2, :3].T)
    return 100 * np.sqrt(np.maximum(squares, 0)) / size


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, NaN where it is empty."""
    return values.mean(axis=1, dtype=float) if values.shape[1] else np.full(len(values), np.nan)

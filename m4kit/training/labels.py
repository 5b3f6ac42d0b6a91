"""Pseudo ground truth in our face model for photos that have only sparse points.

The teacher is 3DDFA-V2's mb1, asked six times a crop (mirrored or not, a little turned and shrunk). Its six dense
answers in the Basel Face Model's space are laid back over the crop and averaged, and our model is fitted to them
through the dense correspondence of `registration`. Hand-annotated points travel along: training uses them directly.

    python -m m4kit.training.labels --data DATA --peers PEERS --out OUT

writes `labels.npz` (see `data.Labels`) and `map.npz`, the affine map from BFM's parameters to ours that starts a
network from 3DDFA-V2's weights.
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from m4kit.camera import CROP_SIZE
from m4kit.face_model import FaceModel
from m4kit.network import PARAMETERS
from m4kit.training.augmentation import MIRROR_68
from m4kit.training.data import averaging_matrix
from m4kit.training.registration import Registration, register
from m4kit.training.transfer import read_peer, read_whitening

CENTRE = (CROP_SIZE - 1) / 2
HALF = np.array([0.5, 0.5, 0.0])
PASSES = ((0, 0.0, 1.0), (1, 0.0, 1.0), (0, 7.0, 1.08), (1, 7.0, 1.08), (0, -7.0, 1.0), (1, -7.0, 1.0))
"""Mirrored or not, degrees in the plane, how much smaller the face is made."""

DENSE_POINTS = 400
LANDMARK_NOISE = 0.6
DENSE_NOISE = 4.0
"""Assumed errors of the teacher's landmarks and surface, in crop pixels."""

WORST = 0.11
"""Crops whose teacher misses the annotated points by more than this share of the face are left out."""


def pass_matrices() -> np.ndarray:
    """(6, 3, 3) maps of pixel coordinates from the crop to each pass's picture."""
    matrices = []
    for mirrored, degrees, shrink in PASSES:
        matrix = np.vstack([cv2.getRotationMatrix2D((CENTRE, CENTRE), degrees, 1 / shrink), [0, 0, 1]])
        if mirrored:
            matrix = np.array([[-1, 0, CROP_SIZE - 1], [0, 1, 0], [0, 0, 1.0]]) @ matrix
        matrices.append(matrix)
    return np.array(matrices)


def teacher_passes(crops: np.ndarray, network: torch.nn.Module, *, progress: bool = True) -> np.ndarray:
    """The teacher's whitened answers (n, 6, 62) to crops (n, 120, 120, 3) uint8 RGB."""
    matrices, answers = pass_matrices(), []
    for start in tqdm(range(0, len(crops), 32), desc="teacher", disable=not progress):
        views = [
            cv2.warpAffine(crop, matrix[:2], (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR)
            for crop in crops[start : start + 32]
            for matrix in matrices
        ]
        # 3DDFA-V2's networks take BGR.
        pixels = torch.from_numpy(np.stack(views)[..., ::-1].copy()).permute(0, 3, 1, 2)
        with torch.inference_mode():
            answers.append(network((pixels.float() - 127.5) / 128).numpy())
    return np.concatenate(answers).reshape(len(crops), len(PASSES), PARAMETERS)


class Teacher:
    """BFM cut down to the points that the labels are fitted to: the 68 landmarks and mirrored pairs of the skin."""

    def __init__(self, model: FaceModel, bfm: FaceModel, registration: Registration):
        mirror = model.mirror.numpy()
        both = np.flatnonzero(registration.valid & registration.valid[mirror])
        half = np.random.default_rng(0).choice(both, DENSE_POINTS // 2, replace=False)
        self.vertices = np.concatenate([half, mirror[half]])
        swapped = np.concatenate(
            [np.arange(DENSE_POINTS // 2) + DENSE_POINTS // 2, np.arange(DENSE_POINTS // 2)]
        )
        self.mirrored = np.concatenate([MIRROR_68, 68 + swapped])

        def points(vertices: torch.Tensor) -> np.ndarray:
            dense = registration.points(vertices.numpy())[..., self.vertices, :]
            return np.concatenate([bfm.points(vertices).numpy(), dense], axis=-2)

        self.mean, self.modes = points(bfm.mean), points(bfm.modes)

    def points(self, whitened: np.ndarray, whitening: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Six answers (n, 6, 62) as one set of points (n, 68 + dense, 3), see `averaged_points`."""
        return averaged_points(whitened, whitening, mean=self.mean, modes=self.modes, mirrored=self.mirrored)


def averaged_points(
    whitened: np.ndarray,
    whitening: tuple[np.ndarray, np.ndarray],
    *,
    mean: np.ndarray,
    modes: np.ndarray,
    mirrored: np.ndarray,
) -> np.ndarray:
    """The teacher's six answers (n, 6, 62) as one set of points (n, P, 3) in the crop frame, z centred.

    `mean` (P, 3) and `modes` (50, P, 3) are BFM's at the points, in mm; `mirrored` (P,) is each point's partner.
    """
    total = 0
    for number, matrix in enumerate(pass_matrices()):
        raw = whitened[:, number] * whitening[1] + whitening[0]
        camera = raw[:, :12].reshape(-1, 3, 4)
        shape = mean + np.tensordot(raw[:, 12:], modes, 1)
        # BFM's coefficients are for micrometres; 3DDFA-V2 counts x from 1 and y from the lower edge.
        placed = shape @ (1000 * camera[:, :, :3]).transpose(0, 2, 1) + camera[:, None, :, 3]
        pixels = np.stack(
            [placed[..., 0] - 1, CROP_SIZE - placed[..., 1], np.ones_like(placed[..., 0])], axis=-1
        )
        # Its pixels, like AFLW2000-3D's, are counted from the crop's edge, the passes' from pixel centres.
        pixels = (pixels - HALF) @ np.linalg.inv(matrix).T + HALF
        depth = placed[..., 2] / np.sqrt(abs(np.linalg.det(matrix[:2, :2])))
        framed = np.stack([pixels[..., 0] - CROP_SIZE / 2, CROP_SIZE / 2 - pixels[..., 1], depth], axis=-1)
        if PASSES[number][0]:
            framed = framed[:, mirrored]
        framed[..., 2] -= framed[..., 2].mean(1, keepdims=True)
        total = total + framed / len(PASSES)
    return total


def fit(model: FaceModel, vertices: np.ndarray, points: np.ndarray, *, iterations: int = 25) -> np.ndarray:
    """Raw parameters (n, 62) whose landmarks and vertices come closest to points (n, 68 + dense, 3).

    Alternates the weak-perspective camera (orthogonal Procrustes in 3D) and the 50 coefficients (maximum a
    posteriori). The camera's depth offset, which nothing shows, is 0.
    """
    mean = np.concatenate([model.landmarks().numpy(), model.mean.numpy()[vertices]]).astype(np.float64)
    modes = np.concatenate([model.landmark_modes.numpy(), model.modes.numpy()[:, vertices]], axis=1)
    basis = modes.astype(np.float64).reshape(len(modes), -1)
    noise = np.full(len(mean), DENSE_NOISE)
    noise[:68] = LANDMARK_NOISE
    weight = 1 / noise**2
    share = (weight / weight.sum())[:, None]
    values, vectors = np.linalg.eigh((basis * weight.repeat(3)) @ basis.T)
    coefficients = np.zeros((len(points), len(modes)))
    centre = (points * share).sum(1, keepdims=True)
    aim = points - centre
    for _ in range(iterations):
        shape = (mean.ravel() + coefficients @ basis).reshape(len(points), -1, 3)
        shape_centre = (shape * share).sum(1, keepdims=True)
        moved = shape - shape_centre
        u, singular, vt = np.linalg.svd((aim * share).transpose(0, 2, 1) @ moved)
        sign = np.ones((len(points), 3))
        sign[:, 2] = np.sign(np.linalg.det(u @ vt))
        rotation = (u * sign[:, None]) @ vt
        scale = (singular * sign).sum(1) / (moved**2 * share).sum((1, 2))
        translation = centre - scale[:, None, None] * shape_centre @ rotation.transpose(0, 2, 1)
        back = (points - translation) @ rotation / scale[:, None, None] - mean
        right = (back * weight[:, None]).reshape(len(points), -1) @ basis.T
        # (s^2 A + I) c = s^2 b in the eigenbasis of A, which all faces share.
        gain = scale[:, None] ** 2 / (scale[:, None] ** 2 * values + 1)
        coefficients = (right @ vectors * gain) @ vectors.T
    camera = np.concatenate([scale[:, None, None] * rotation, translation.transpose(0, 2, 1)], axis=2)
    camera[:, 2, 3] = 0
    return np.concatenate([camera.reshape(-1, 12), coefficients], axis=1)


def held_out(names: list[str], share: float) -> np.ndarray:
    """A fixed split by name: True for the given share of names."""
    digits = [int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) for name in names]
    return np.array(digits) < share * 16**8


def read_crops(archive: Path, names: list[str]) -> np.ndarray:
    """Crops (n, 120, 120, 3) uint8 RGB of an archive."""
    crops = np.empty((len(names), CROP_SIZE, CROP_SIZE, 3), dtype=np.uint8)
    with zipfile.ZipFile(archive) as file:
        for crop, name in zip(crops, names, strict=True):
            pixels = cv2.imdecode(np.frombuffer(file.read(name), np.uint8), cv2.IMREAD_COLOR)
            if pixels.shape[0] != CROP_SIZE:
                pixels = cv2.resize(pixels, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_AREA)
            crop[:] = pixels[..., ::-1]
    return crops


def annotated(data: Path, source: str) -> tuple[list[str], dict[str, np.ndarray]]:
    """Names and what is annotated of a source: points in the crop frame and which faces are held out.

    The sets' own mapping from a photo's coordinate x into a crop of `size` photo pixels is
    (x - left) * 120 / size, counted from the crop's left edge, where the crop frame has x = -60.
    """
    file = np.load(data / f"{source}.npz", allow_pickle=False)
    names = file["names"].tolist()
    n = len(names)
    points21, points68 = np.full((n, 21, 2), np.nan, np.float32), np.full((n, 68, 2), np.nan, np.float32)
    if source == "aflw_train":
        left_top, size = file["roi"][:, :2], file["roi"][:, 2:] - file["roi"][:, :2]
        points = file["pts21"].transpose(0, 2, 1)
        seen = (points != -1).all(-1)
        crop = (points - left_top[:, None]) * (CROP_SIZE / size[:, None])
        points21[:] = np.where(seen[..., None], crop, np.nan)
        validation = held_out(names, 0.05)
    else:
        points68[:] = file["pts68"] * (CROP_SIZE / 128)
        validation = held_out(file["identity"].tolist(), 0.1)
    for points in (points21, points68):
        points[..., 0] -= CROP_SIZE / 2
        points[..., 1] = CROP_SIZE / 2 - points[..., 1]
    return names, {"points21": points21, "points68": points68, "validation": validation}


def affine_map(theirs: np.ndarray, ours: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The matrix (62, 62) and offset (62,) that best take their raw parameters to ours (ridge regression)."""
    mean = theirs.mean(0)
    x = (theirs - mean) / spread
    y_mean = ours.mean(0)
    solution = np.linalg.solve(x.T @ x + 1e-3 * len(x) * np.eye(PARAMETERS), x.T @ (ours - y_mean))
    matrix = (solution / spread[:, None]).T
    return matrix, y_mean - matrix @ mean


def main() -> None:
    """Write the labels and the map."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with aflw_train and youtube_faces")
    parser.add_argument("--peers", type=Path, required=True, help="folder of 3DDFA-V2's files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sources", nargs="+", default=["aflw_train", "youtube_faces"])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    model, bfm = FaceModel.load(), FaceModel.load_bfm(options.peers / "bfm_noneck_v3.pkl")
    whitening = read_whitening(options.peers / "param_mean_std_62d_120x120.pkl")
    average = bfm.vertices(whitening[0][12:52]).double().numpy()
    registration = register(model, bfm, average)
    print(
        f"our surface to BFM's: {registration.model_distance:.2f} mm by the modes alone, "
        f"{registration.final_distance:.2f} mm finished"
    )
    teacher = Teacher(model, bfm, registration)
    network = None
    parts, theirs = [], []
    for source in options.sources:
        names, columns = annotated(options.data, source)
        kept = options.out / f"passes_{source}.npy"
        if not kept.is_file():
            crops = read_crops(options.data / f"{source}.zip", names)
            if network is None:
                network = read_peer(options.peers / "mb1_120x120.onnx", crops[:600])
            np.save(kept, teacher_passes(crops, network))
        whitened = np.load(kept).astype(np.float64)
        points = np.concatenate(
            [teacher.points(chunk, whitening) for chunk in np.array_split(whitened, len(whitened) // 500 + 1)]
        )
        parameters = np.concatenate(
            [fit(model, teacher.vertices, chunk) for chunk in np.array_split(points, len(points) // 1000 + 1)]
        )
        good = agreement(model, parameters, columns) < WORST
        print(f"{source}: {len(names)} faces, {np.count_nonzero(~good)} left out")
        parts.append(
            {"names": np.array(names)[good], "source": np.full(good.sum(), source)}
            | {"parameters": parameters[good].astype(np.float32)}
            | {name: column[good] for name, column in columns.items()}
        )
        theirs.append((whitened[:, 0] * whitening[1] + whitening[0])[good])
    labels = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    np.savez(options.out / "labels.npz", **labels)
    matrix, offset = affine_map(np.concatenate(theirs), labels["parameters"].astype(np.float64), whitening[1])
    np.savez(options.out / "map.npz", matrix=matrix, offset=offset)


def agreement(model: FaceModel, parameters: np.ndarray, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Median distance (n,) from the fitted face to its annotated points, as a share of its size."""
    landmarks = model.landmarks(parameters[:, 12:52], parameters[:, 52:]).numpy().astype(np.float64)
    camera = parameters[:, :12].reshape(-1, 3, 4)
    placed = (landmarks @ camera[:, :2, :3].transpose(0, 2, 1)) + camera[:, None, :2, 3]
    size = np.sqrt(np.ptp(placed, axis=1).prod(1))
    distances = np.concatenate(
        [
            np.linalg.norm(averaging_matrix() @ placed - columns["points21"], axis=2),
            np.linalg.norm(placed - columns["points68"], axis=2),
        ],
        axis=1,
    )
    return np.nanmedian(distances, axis=1) / size


if __name__ == "__main__":
    main()

"""Place the 68 landmarks on m4kit's mesh: first by geometry, then corrected with real faces.

    python scripts/place_landmarks.py --data DATA --peers PEERS
    python scripts/build_face_model.py

Each round fits the model to the 68 points that 3DDFA-V2's mb1 finds in training photos (see
`m4kit.training.teacher`), computes the move on the mesh that best explains each landmark's remaining error, and moves
the landmark along the surface. No face of AFLW2000-3D is used. The result, places on the mean of the random adults in
mm, goes to `scripts/face_model_landmarks.json`, which `build_face_model.py` reads.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from m4kit.face_model import FaceModel
from m4kit.landmarks import MIRROR_68, face_size
from m4kit.render import load_open3d
from m4kit.training.data import read_crops
from m4kit.training.labels import annotated
from m4kit.training.teacher import mean_points, peer_answers
from m4kit.training.transfer import read_peer, read_whitening

PEOPLE_FILE = Path(__file__).with_name("face_model_people.json")
OUT = Path(__file__).with_name("face_model_landmarks.json")

# Landmarks of the person's right half and the middle, counted from 1, in mm from the middle between the eyes.
FIRST_GUESS = {
    **{1: (-70, -8, -62), 2: (-68, -28, -60), 3: (-65, -48, -54), 4: (-60, -66, -45), 5: (-52, -82, -32)},
    **{6: (-41, -93, -16), 7: (-28, -100, 0), 8: (-15, -103, 11), 9: (0, -104, 16)},
    **{18: (-48, 20, 4), 19: (-41, 26, 14), 20: (-32, 27, 18), 21: (-22, 25, 22), 22: (-12, 21, 24)},
    **{28: (0, 2, 23), 29: (0, -12, 26), 30: (0, -25, 35), 31: (0, -40, 41)},
    **{32: (-12, -46, 24), 33: (-6, -48, 28), 34: (0, -49, 30)},
    **{
        37: (-45, -2, 3),
        38: (-36, 4, 12),
        39: (-25, 4, 14),
        40: (-15, -3, 12),
        41: (-24, -6, 13),
        42: (-35, -5, 10),
    },
    **{49: (-24, -67, 19), 50: (-15, -61, 27), 51: (-6, -58, 31), 52: (0, -59, 32)},
    **{58: (0, -78, 28), 59: (-8, -77, 27), 60: (-16, -72, 24)},
    **{61: (-20, -67, 20), 62: (-8, -65, 29), 63: (0, -66, 30), 67: (0, -71, 29), 68: (-8, -71, 28)},
}
UPPER_LIP, LOWER_LIP = (50, 51, 52, 53, 54, 62, 63, 64), (56, 57, 58, 59, 60, 66, 67, 68)
UPPER_LIDS, LOWER_LIDS = (38, 39, 44, 45), (41, 42, 47, 48)

LONGEST_MOVE = 6.0
"""Largest move of a landmark per round, in millimetres."""


class Skin:
    """The surface of the mean face, limited for each landmark to its allowed region."""

    def __init__(self, model: FaceModel):
        o3d = load_open3d()
        self.tensor = o3d.core.Tensor
        mean, triangles = model.mean.numpy(), model.triangles.numpy()
        jaw = _descent(model, "jawOpen")
        lids = _descent(model, "eyeBlinkLeft", "eyeBlinkRight")
        skin = ~(model.regions["eyeballs"] | model.regions["mouth_inside"])
        allowed = {landmark: skin for landmark in range(1, 69)}
        for landmarks, mask in (
            (UPPER_LIP, jaw < 0.25),
            (LOWER_LIP, jaw > 0.4),
            (UPPER_LIDS, lids > 0.35),
            (LOWER_LIDS, lids < 0.25),
        ):
            allowed |= {landmark: skin & mask for landmark in landmarks}
        self.parts = []
        for landmark in range(1, 69):
            part = triangles[allowed[landmark][triangles].all(1)]
            scene = o3d.t.geometry.RaycastingScene()
            scene.add_triangles(self.tensor(mean), self.tensor(part.astype(np.uint32)))
            self.parts.append((scene, part))

    def nearest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The allowed points closest to points (68, 3): vertices, weights and positions, each (68, 3)."""
        vertices, weights, positions = [], [], []
        for (scene, triangles), point in zip(self.parts, points.astype(np.float32), strict=True):
            answer = scene.compute_closest_points(self.tensor(point[None]))
            u, v = answer["primitive_uvs"].numpy()[0].astype(float)
            vertices.append(triangles[int(answer["primitive_ids"].numpy()[0])])
            weights.append((1 - u - v, u, v))
            positions.append(answer["points"].numpy()[0])
        return np.array(vertices), np.array(weights), np.array(positions)


def _descent(model: FaceModel, *actions: str) -> np.ndarray:
    """How far actions move each vertex down, as a share of the largest move."""
    moved = sum((model.vertices(None, model.actions[name]) - model.mean).numpy() for name in actions)
    return moved[:, 1] / moved[:, 1].min()


def _symmetric(points: np.ndarray) -> np.ndarray:
    return (points + points[MIRROR_68] * [-1, 1, 1]) / 2


def correction(model: FaceModel, target: np.ndarray) -> tuple[np.ndarray, float]:
    """Moves (68, 3) in mm that best explain the residuals of a fit to points (n, 68, 2), and its mean NME in %."""
    fit = model.fit(torch.as_tensor(target), iterations=40)
    left = target - fit.landmarks[..., :2].double().numpy()
    errors = 100 * np.linalg.norm(left, axis=2).mean(1) / face_size(target)
    good = errors <= np.percentile(errors, 95)
    projection = fit.camera[good, :2, :3].double().numpy()
    moves = []
    for residual in left[good].transpose(1, 0, 2):
        trust = 1 / np.maximum(1, np.linalg.norm(residual, axis=1) / 1.5)
        normal = np.einsum("n,nij,nik->jk", trust, projection, projection)
        right = np.einsum("n,nij,ni->j", trust, projection, residual)
        moves.append(np.linalg.solve(normal + 1e-5 * len(residual) * np.eye(3), right))
    return _symmetric(np.array(moves)), float(errors.mean())


def place(model: FaceModel, vertices: np.ndarray, weights: np.ndarray) -> None:
    """Give a model other landmarks."""
    model.landmark_vertices = torch.tensor(vertices)
    model.landmark_weights = torch.tensor(weights, dtype=torch.float32)
    model.landmark_mean, model.landmark_modes = model.landmark_basis()


def main() -> None:
    """Place the landmarks and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with aflw_train.npz and .zip")
    parser.add_argument("--peers", type=Path, required=True, help="folder of 3DDFA-V2's files")
    parser.add_argument("--model", type=Path, help="face model with the mesh (default: the packaged one)")
    parser.add_argument("--faces", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    model = FaceModel.load(options.model)
    bfm = FaceModel.load_bfm(options.peers / "bfm_noneck_v3.pkl")
    names, _ = annotated(options.data, "aflw_train")
    chosen = np.random.default_rng(options.seed).choice(names, options.faces, replace=False)
    crops = read_crops(options.data / "aflw_train.zip", chosen.tolist())
    mean, std = read_whitening(options.peers / "param_mean_std_62d_120x120.pkl")
    answers = peer_answers(crops, read_peer(options.peers / "mb1_120x120.onnx", crops[:600])) * std + mean
    target = mean_points(answers, bfm.landmark_mean.numpy(), bfm.landmark_modes.numpy(), MIRROR_68)[..., :2]

    eyes = model.mean[torch.tensor(model.regions["eyeballs"])].double().numpy()
    # The mesh has only the front of the eyeballs, whose middle lies about 16 mm behind it.
    middle = np.array([0, (eyes[:, 1].min() + eyes[:, 1].max()) / 2, eyes[:, 2].max() - 16])
    guess = np.zeros((68, 3))
    for landmark, place in FIRST_GUESS.items():
        guess[landmark - 1] = place
        guess[MIRROR_68[landmark - 1]] = np.multiply(place, [1 if place[0] == 0 else -1, 1, 1])
    skin = Skin(model)
    vertices, weights, points = skin.nearest(guess + middle)
    for number in range(options.rounds):
        place(model, vertices, weights)
        moves, error = correction(model, target)
        print(f"round {number}: the model fits {options.faces} faces to {error:.3f} %")
        moved = _symmetric(points + np.clip(moves, -LONGEST_MOVE, LONGEST_MOVE))
        vertices, weights, points = skin.nearest(moved)
    place(model, vertices, weights)
    # The mesh may change later. So may the mean, which `PEOPLE_FILE` moves.
    people = torch.tensor(json.loads(PEOPLE_FILE.read_text())["identity"])
    places = (
        model.landmarks() - torch.einsum("k,kpc->pc", people, model.landmark_modes[: len(people)])
    ).double()
    OUT.write_text(json.dumps({"points": places.numpy().round(4).tolist()}))


if __name__ == "__main__":
    main()

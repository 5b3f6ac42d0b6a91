"""Find the 68 landmarks, the mean of people and the upright head of m4kit's face model from photos.

    python scripts/fit_to_people.py --data DATA --peers PEERS
    python scripts/build_face_model.py

The model's surface is fitted to the dense points that 3DDFA-V2's mb1 finds in training faces of AFLW (see
`m4kit.training.teacher`). No face of AFLW2000-3D is used. `scripts/face_model_people.json`, which
`build_face_model.py` reads, gets

- `identity` (40,): the mean of people in coefficients of the random adults, fitted to surface and landmarks like the
  labels of a training (`m4kit.training.labels`);
- `landmarks` (68, 3): where mb1's landmarks lie on the mean of people, the same on both sides; in mm, carried over to
  the mean of the random adults;
- `pitch`: the rotation about x in degrees that makes an upright head the same as mb1's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from build_face_model import ORIGIN, PEOPLE_FILE, measured, turn
from scipy.spatial.transform import Rotation

from m4kit.face_model import IDENTITY_MODES, FaceModel
from m4kit.landmarks import MIRROR_68
from m4kit.parameters import split, split_camera
from m4kit.training.fitting import COEFFICIENTS, Prior, fit, offsets
from m4kit.training.registration import Surface
from m4kit.training.sources import read_source
from m4kit.training.teacher import PeerTeacher

UPPER_LIP, LOWER_LIP = (50, 51, 52, 53, 54, 62, 63, 64), (56, 57, 58, 59, 60, 66, 67, 68)
UPPER_LIDS, LOWER_LIDS = (38, 39, 44, 45), (41, 42, 47, 48)

SPREAD, ROUNDS = 0.3, 8
"""Standard deviation of people's identity numbers about their mean, and rounds to find that mean."""


def nearest(model: FaceModel, vertices: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the points of a face (V, 3) closest to landmarks (68, 3), as vertices and weights, each (68, 3).

    Those of lips and lids stay on their own lip or lid.
    """
    jaw = _descent(model, "jawOpen")
    lids = _descent(model, "eyeBlinkLeft", "eyeBlinkRight")
    skin = ~(model.regions["eyeballs"] | model.regions["mouth_inside"])
    allowed = dict.fromkeys(range(1, 69), skin)
    for landmarks, mask in (
        (UPPER_LIP, jaw < 0.25),
        (LOWER_LIP, jaw > 0.4),
        (UPPER_LIDS, lids > 0.35),
        (LOWER_LIDS, lids < 0.25),
    ):
        allowed |= {landmark: skin & mask for landmark in landmarks}
    triangles, found = model.triangles, []
    for landmark, mask in allowed.items():
        surface = Surface(vertices, triangles[mask[triangles].all(1)])
        found.append([part[0] for part in surface.closest(points[landmark - 1 : landmark])[:2]])
    corners, weights = map(np.array, zip(*found, strict=True))
    return corners, weights


def _descent(model: FaceModel, *actions: str) -> np.ndarray:
    """Measure how far actions move each vertex down, as a share of the largest move."""
    moved = sum(model.vertices(None, model.actions[name]) - model.mean for name in actions)
    return moved[:, 1] / moved[:, 1].min()


def surface_fits(model: FaceModel, vertices: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit (n, 62) to the dense points among points (n, 68 + dense, 3); also returns the mean identity (40,).

    The mean is the prior's mean, found together with the fits. It is symmetric. It is near after a few rounds; later
    ones would only follow modes that the points hardly show.
    """
    mean, deviation = np.zeros(COEFFICIENTS), np.ones(COEFFICIENTS)
    deviation[:IDENTITY_MODES] = SPREAD
    for _ in range(ROUNDS):
        fits = fit(model, vertices, points, prior=Prior(mean, deviation), landmark_noise=np.inf)
        mean[:IDENTITY_MODES] = split(fits).identity.mean(0)
        mean *= model.symmetry > 0
    return fits, mean[:IDENTITY_MODES]


def landmark_moves(
    model: FaceModel, vertices: np.ndarray, points: np.ndarray, fits: np.ndarray
) -> np.ndarray:
    """Measure how far the landmarks of points (n, 68 + dense, 3) are from the fits': (68, 3), mm of the head."""
    offset = -offsets(model, vertices, fits, points)
    matrix = split_camera(fits)[0][:, :, :3]
    # From the picture into the head's frame: the matrix is a scaled rotation.
    scale = np.linalg.norm(matrix[:, 0], axis=1)
    moves = (offset[:, :68] @ matrix / scale[:, None, None] ** 2).mean(0)
    return (moves + moves[MIRROR_68] * [-1, 1, 1]) / 2


def pitch_between(fits: np.ndarray, peer: np.ndarray) -> float:
    """Measure the mean rotation about the head's x axis, in degrees, from fits (n, 62) to the peer's (n, 62)."""
    ours, theirs = (
        Rotation.from_matrix(np.matmul(u, vt))
        for u, _, vt in (np.linalg.svd(split_camera(raw)[0][:, :, :3]) for raw in (fits, peer))
    )
    return float((ours.inv() * theirs).as_rotvec(degrees=True)[:, 0].mean())


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with aflw_train.npz and .zip")
    parser.add_argument("--peers", type=Path, required=True, help="folder of 3DDFA-V2's files")
    parser.add_argument("--faces", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--mean-only",
        action="store_true",
        help="keep pitch and landmarks; labels and weights then follow exactly, by an offset of the identity",
    )
    options = parser.parse_args()

    model, source = FaceModel.load(), read_source(options.data, "aflw_train")
    training = np.flatnonzero(~source.validation)
    chosen = np.sort(np.random.default_rng(options.seed).permutation(training)[: options.faces])
    peer = PeerTeacher.load(model, options.peers)
    answers = peer.ask(source.crops(chosen))
    points = peer.points(answers)
    fits, people = surface_fits(model, peer.vertices, points)
    mean = split(fit(model, peer.vertices, points)).identity.mean(0)
    mean *= model.symmetry[:IDENTITY_MODES] > 0
    print(
        f"the mean of {len(chosen)} people is {np.linalg.norm(mean):.2f} standard deviations from the model's, from "
        f"their surface alone {np.linalg.norm(people):.2f}"
    )
    before = measured()
    if options.mean_only:
        write(before | {"identity": before["identity"] + mean})
        return
    found = model.landmarks(people) + landmark_moves(model, peer.vertices, points, fits)
    corners, weights = nearest(model, model.vertices(people), found)

    def at_landmarks(values: np.ndarray) -> np.ndarray:
        return (values[..., corners, :] * weights[:, :, None]).sum(-2)

    left = np.linalg.norm(at_landmarks(model.vertices(people)) - found, axis=1)
    print(f"landmarks lie {left.mean():.2f} mm from the surface in the mean, at most {left.max():.2f}")
    # The first of the six views is the crop itself.
    pitch = pitch_between(fits, peer.raw(answers[:, 0]))
    print(f"mb1's heads are pitched by {pitch:.2f} degrees against the model's")

    adults = model.vertices(-np.array(before["identity"])).astype(float)
    places = (at_landmarks(adults) - ORIGIN) @ turn(-pitch).T + ORIGIN
    places = (places + places[MIRROR_68] * [-1, 1, 1]) / 2
    write({"pitch": before["pitch"] - pitch, "identity": before["identity"] + mean, "landmarks": places})


def write(values: dict[str, np.ndarray | float]) -> None:
    """Write these values into `PEOPLE_FILE`."""
    rounded = {name: np.round(value, 4).tolist() for name, value in values.items()}
    PEOPLE_FILE.write_text(json.dumps(rounded) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Write the tables and the picture about people in `docs/model_card.md`: who is in the models, and whom they fit.

    pip install -e '.[face-model]'
    python scripts/measure_people.py source
    python scripts/measure_people.py shape
    python scripts/measure_people.py picture
    python scripts/measure_people.py skin DATA

`source` counts what the artificial adults are mixed from. `shape` draws such adults as `build_face_model.py` does,
with one trait fixed, and fits the packaged face model to their vertices. `picture` draws the model's faces closest to
the mean adult of each sex, origin and age (`docs/phenotypes.jpg`), and prints how far they are from its mean. `skin`
sorts the validation people of AFLW and YouTube Faces (the folder DATA, see `m4kit.training.sources`) by how light the
skin of their cheeks is in the picture, and prints the network's error for each group.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from build_face_model import (
    DECIMETRE,
    Source,
    aligned_people,
    cut_of,
    in_model_frame,
    local_changes,
    macro_people,
    measured,
    random_people,
)
from head_mesh import FineMesh

from m4kit import FaceModel, M4Net, metrics
from m4kit.ablation.heads.validation import WHOLE
from m4kit.camera import box_from_crop, head_poses, rotation_from_euler
from m4kit.engine import exact_engine
from m4kit.landmarks import face_size
from m4kit.parameters import fuse, landmarks_in_crop, split_camera
from m4kit.prediction import Face, FaceBox, Origin
from m4kit.training.data import averaging_matrix, point_weights
from m4kit.training.sources import SOURCES, read_source
from m4kit.vertex_colours import clay, vertex_colours
from m4kit.views import regress
from m4kit.visualize import pictures_figure
from m4kit.visualize.mesh_picture import mesh_still
from m4kit.visualize.notebook_figure import NotebookFigure

SEXES = ("female", "male")
AGES = {"25 years": 0.0, "51 years": 0.4, "77 years": 0.8}
ORIGINS = ("african", "asian", "caucasian")
OTHER_PLACES = dict.fromkeys((13, 14, 16, 17, 21), 0.0)
"""Weights of AFLW's ears, nose wings and chin (counted from 1), which mark other places than the 68 landmarks do."""

SKINS = {"darker, below 10": (-90, 10), "medium, 10 to 41": (10, 41), "lighter, above 41": (41, 90)}
"""Ranges of the individual typology angle in degrees (Chardon et al. 1991): 10 and 41 bound "tan" and "light"."""
PICTURE = Path(__file__).parents[1] / "docs" / "phenotypes.jpg"


def source_text(folder: Path) -> str:
    """Count what the random adults are mixed from: targets by age, and local changes; and measure the mean of people.

    `universal` targets are for sex, muscle and weight, the others for origins. Adults are mixed from young and old.
    """
    names = [path.name.split("-") for path in (folder / "mpfb2/targets/macrodetails").glob("*.target.gz")]
    table = pd.DataFrame(
        [(kind, age.split(".")[0]) for kind, _, age, *_ in names], columns=["targets", "age"]
    )
    changes = local_changes(Source(folder))
    both = sum(len(sides) == 2 for sides in changes)
    return (
        f"{pd.crosstab(table['targets'], table['age']).to_string()}\n"
        f"{len(changes)} local changes of the face, {both} of them on each side\n"
        f"the mean of people is {np.linalg.norm(measured()['identity']):.2f} standard deviations from that of adults"
    )


def to_face(source: Source, model: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """Make the matrix from the source's vertices to those of the packaged model's face, and the mask of its skin."""
    cut, middle = cut_of(source)
    # The mesh of the packaged model, which `build_face_model.py` cuts on the mean of these people.
    _, mean, _ = aligned_people(source, cut, middle, 4000, np.random.default_rng(0))
    mesh = FineMesh(cut, in_model_frame(mean))
    return mesh.matrix[: mesh.face_vertices], ~(model.regions["mouth_inside"] | model.regions["eyeballs"])


def phenotypes(folder: Path, model: FaceModel, *, people: int) -> np.ndarray:
    """Fit the model to the mean adult of each sex, origin and age, 25 and 77 years: identities (2, 3, 2, 40)."""
    source = Source(folder)
    matrix, skin = to_face(source, model)
    groups = list(product(range(2), range(3), (AGES["25 years"], AGES["77 years"])))
    sex, origin, age = (np.repeat(values, people) for values in zip(*groups, strict=True))
    drawn = macro_people(
        source, len(sex), np.random.default_rng(0), sex=sex, age=age, origin=np.eye(3)[origin]
    )
    means = source.vertices[source.keep] + drawn.reshape(len(groups), people, *drawn.shape[1:]).mean(1)
    shapes = np.array([matrix @ mean for mean in DECIMETRE * means])
    return fitted(model, shapes[:, skin], skin)[1].reshape(2, 3, 2, -1)


def phenotype_picture(model: FaceModel, identity: np.ndarray) -> NotebookFigure:
    """Draw heads of `phenotypes` from front and side: a column for each sex and origin, 25 years above 77."""
    head, colours = model.head, clay(model.head)

    def view(vertices: np.ndarray, yaw: float) -> np.ndarray:
        turn = rotation_from_euler(yaw, 0, 0)
        return mesh_still(head, vertices, colours, rotation=turn, side=190)[:, 14:176]

    columns = {}
    for sex, origin in product(range(2), range(3)):
        heads = head.vertices(identity[sex, origin])
        views = [view(vertices, yaw) for vertices in heads for yaw in (0, 60)]
        columns[f"{SEXES[sex]}, {ORIGINS[origin]}"] = np.vstack(views)
    return pictures_figure(columns)


def distance_table(model: FaceModel, identity: np.ndarray) -> pd.DataFrame:
    """Measure the root mean square distance in mm between the skin of `phenotypes` and of the model's mean face."""
    skin = ~(model.regions["mouth_inside"] | model.regions["eyeballs"])
    moved = np.tensordot(identity, model.identity_modes[:, skin], 1)
    distances = np.sqrt((moved**2).sum(-1).mean(-1)).reshape(-1, 2)
    names = [f"{sex}, {origin}" for sex, origin in product(SEXES, ORIGINS)]
    return pd.DataFrame(distances, names, ["25 years", "77 years"])


def shape_table(folder: Path, *, people: int) -> pd.DataFrame:
    """Measure the distance in mm between artificial adults and the best face of the model, by trait."""
    groups = {
        f"{name}, {years}": {"sex": sex, "age": age}
        for sex, name in enumerate(SEXES)
        for years, age in AGES.items()
    }
    groups |= {f"origin {name}": {"origin": row} for name, row in zip(ORIGINS, np.eye(3), strict=True)}
    source, model = Source(folder), FaceModel.load()
    matrix, skin = to_face(source, model)
    rows = {}
    for number, (name, fixed) in enumerate(groups.items()):
        # Not the seed of the people that the model was built from.
        drawn = random_people(source, people, np.random.default_rng([1, number]), **fixed)
        shapes = np.array([matrix @ one for one in DECIMETRE * drawn])
        distances, identity = fitted(model, shapes[:, skin], skin)
        low, high = metrics.bootstrap(distances)
        rows[name] = {
            "n": people,
            "rms distance, mm": distances.mean(),
            "low": low,
            "high": high,
            "from the mean, sd": np.sqrt((identity**2).mean()),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def fitted(model: FaceModel, shapes: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit identity and a similarity to vertices (n, P, 3): rms distances (n,) in mm, identity (n, 40)."""
    mean, modes = model.mean[chosen], model.identity_modes[:, chosen]
    basis, upper = np.linalg.qr(modes.reshape(len(modes), -1).T.astype(float))
    distances, identities = [], []
    for shape in shapes:
        share = np.zeros(len(modes))
        for _ in range(5):
            aim = mean + (basis @ share).reshape(-1, 3)
            moved, centred = shape - shape.mean(0), aim - aim.mean(0)
            u, singular, vt = np.linalg.svd(moved.T @ centred)
            placed = moved @ (u @ vt) * (singular.sum() / (moved**2).sum())
            # Small moves of the shape are fitted together with the modes: one after the other would converge slowly.
            turns = [np.cross(axis, placed).ravel() for axis in np.eye(3)]
            shifts = [np.tile(axis, len(placed)) for axis in np.eye(3)]
            moves = np.column_stack([*turns, *shifts, placed.ravel()])
            beside = moves - basis @ (basis.T @ moves)
            offset = (placed + aim.mean(0) - mean).ravel()
            offset -= moves @ np.linalg.lstsq(beside, offset)[0]
            share = basis.T @ offset
        left = (offset - basis @ share).reshape(-1, 3)
        distances.append(np.sqrt((left**2).sum(1).mean()))
        identities.append(np.linalg.solve(upper, share))
    return np.array(distances), np.array(identities)


def skin_table(data: Path) -> pd.DataFrame:
    """Measure the network's mean distance from the annotated points, by source and lightness of the skin.

    AFLW's points are by hand; who marked YouTube Faces' is not known, probably a machine.
    """
    model, engine = FaceModel.load(), exact_engine("m4net-base", M4Net.load)
    rows = []
    for source in (read_source(data, name) for name in reversed(SOURCES)):
        held = np.flatnonzero(source.validation)
        groups, crops = [source.names[i] for i in held], source.crops(held)
        parameters = fuse(*regress(engine, model, crops))
        landmarks = landmarks_in_crop(model, parameters)[..., :2]
        if source.people is None:
            errors = point_errors(averaging_matrix() @ landmarks, source.points21[held])
        else:
            errors = point_errors(landmarks, source.points68[held])
            # The frames of one person are not independent.
            groups = source.people[held]
        errors = 100 * errors / face_size(landmarks)
        angle = np.array([skin_angle(model, *one) for one in zip(crops, parameters, strict=True)])
        yaw = np.abs([pose.yaw for pose in head_poses(split_camera(parameters)[0])])
        luma = np.array([cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[30:90, 30:90].mean() for crop in crops])
        for name, (low, high) in SKINS.items():
            chosen = np.flatnonzero((angle >= low) & (angle < high) & np.isfinite(errors))
            interval = metrics.bootstrap(errors[chosen], groups=np.array(groups)[chosen])
            rows.append(
                {
                    "set": source.name,
                    "skin, degrees": name,
                    "n": len(chosen),
                    "error, %": errors[chosen].mean(),
                    "low": interval[0],
                    "high": interval[1],
                    "median, %": np.median(errors[chosen]),
                    "mean |yaw|": yaw[chosen].mean(),
                    "brightness": luma[chosen].mean(),
                }
            )
    return pd.DataFrame(rows).set_index(["set", "skin, degrees"])


def point_errors(predicted: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Compute mean distances (n,) from annotated points (n, 21 or 68, 2), NaN without a point."""
    weights = point_weights(points.shape[1], OTHER_PLACES if points.shape[1] == 21 else {})
    seen = np.isfinite(points).all(-1) & (weights > 0)
    distances = np.where(seen, np.linalg.norm(predicted - np.nan_to_num(points), axis=-1), 0)
    count = seen.sum(1)
    return np.where(count > 0, distances.sum(1) / np.maximum(count, 1), np.nan)


def skin_angle(model: FaceModel, crop: np.ndarray, parameters: np.ndarray) -> float:
    """Measure the individual typology angle of the visible cheeks in degrees, NaN if there are none.

    It is atan((L* - 50) / b*) of the median colour: about 55 for very light skin, below -30 for dark skin.
    """
    box = FaceBox(*box_from_crop(WHOLE))
    face = Face(box, WHOLE, parameters[None], np.ones(1), model, Origin(crop))
    coloured = vertex_colours(face, "texture")
    cheeks = model.regions["cheek"] & ~coloured.filled
    if cheeks.sum() < 50:
        return float("nan")
    colour = np.median(coloured.colours[cheeks], axis=0).astype(np.float32) / 255
    lightness, _, yellow = cv2.cvtColor(colour[None, None], cv2.COLOR_RGB2Lab)[0, 0]
    return float(np.degrees(np.arctan2(lightness - 50, yellow)))


def main() -> None:
    """Print a table or write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("source", "shape", "picture"):
        command = commands.add_parser(name)
        command.add_argument(
            "--source", type=Path, help="anny's data folder (default: the installed package's)"
        )
    commands.add_parser("skin").add_argument("data", type=Path)
    options = parser.parse_args()
    if options.command == "skin":
        print(skin_table(options.data).round(2).to_string())
        return
    package = find_spec("anny")
    if options.source is None and package is None:
        parser.error("expected the package anny: pip install -e '.[face-model]', or give --source")
    folder = options.source or Path(package.origin).parent / "data"
    if options.command == "source":
        print(source_text(folder))
    elif options.command == "shape":
        print(shape_table(folder, people=100).round(2).to_string())
    else:
        model = FaceModel.load()
        identity = phenotypes(folder, model, people=50)
        print(distance_table(model, identity).round(1).to_string())
        phenotype_picture(model, identity).savefig(PICTURE, pil_kwargs={"quality": 85})


if __name__ == "__main__":
    main()

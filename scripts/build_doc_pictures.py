"""Draw the pictures of `docs/glossary.md`, and the README's, from sample images and the face model."""

from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

import m4kit
from m4kit.camera import cut_crop, cut_square, rotation_from_euler
from m4kit.face_model import packaged_model
from m4kit.render import render
from m4kit.vertex_colours import clay
from m4kit.visualize import draw_landmarks, overview, pictures_figure

ROOT = Path(__file__).resolve().parent.parent
SAMPLES, FOLDER = ROOT / "sample_images", ROOT / "docs" / "glossary"
README = ("astronaut", "grace_hopper", "painted_young_man", "drawn_princess", "group")
SIDE = 210

BLUE, ORANGE = (0, 114, 178), (213, 94, 0)
"""Two colours of Okabe and Ito's palette, which colour-blind readers can tell apart."""


def drawn(vertices: np.ndarray) -> np.ndarray:
    """Draw the packaged face in clay, from vertices (V, 3) in mm, y up, on white."""
    model = packaged_model()
    scale = SIDE / 250
    mesh = vertices * [scale, -scale, scale] + [SIDE / 2, SIDE / 2, 0], model.triangles
    return render(np.full((SIDE, SIDE, 3), 255, np.uint8), [mesh], colour=[clay(model).colours])


def save(name: str, pictures: dict[str, np.ndarray]) -> None:
    """Write titled pictures side by side."""
    print(pictures_figure(pictures).save(FOLDER / f"{name}.jpg"))


def modes() -> None:
    """Draw the mean face between two ends of a mode."""
    model = packaged_model()
    faces = {step: model.vertices([step, *[0] * 39]) for step in (-3, 0, 3)}
    save("modes", {f"mode 1 at {step:+d}" if step else "mean": drawn(face) for step, face in faces.items()})


def perspective() -> None:
    """Draw the mean face from far away, and from 0.3 m, where near parts are larger."""
    far = packaged_model().vertices()
    near = far.copy()
    metres = 0.3
    near[:, :2] *= 1000 * metres / (1000 * metres - far[:, 2:])
    save("perspective", {"weak perspective": drawn(far), f"from {metres} m": drawn(near)})


def angles() -> None:
    """Draw one face, turned by each of the three angles."""
    shape = packaged_model().vertices()
    for name in ("yaw", "pitch", "roll"):
        row = {}
        for degrees in (-30, 0, 30):
            turn = {"yaw": 0, "pitch": 0, "roll": 0} | {name: degrees}
            row[f"{name} {degrees:+d}"] = drawn(shape @ rotation_from_euler(**turn).T)
        save(name, row)


def photo_pictures() -> None:
    """Draw box and crop, landmarks, and an error, on a sample photo."""
    prediction = m4kit.predict(SAMPLES / "grace_hopper.jpg")
    face, photo = prediction[0], prediction.image
    marked = np.array(photo)
    left, top, right, bottom = (round(value) for value in np.asarray(face.box)[:4])
    cv2.rectangle(marked, (left, top), (right, bottom), BLUE, 4)
    low, high = (np.rint(face.crop.centre + sign * face.crop.size / 2).astype(int) for sign in (-1, 1))
    cv2.rectangle(marked, low.tolist(), high.tolist(), ORANGE, 4)
    height = 360
    width = round(height * photo.shape[1] / photo.shape[0])
    small = cv2.resize(marked, (width, height), interpolation=cv2.INTER_AREA)
    crop = cv2.resize(cut_crop(photo, face.crop), (height, height), interpolation=cv2.INTER_NEAREST)
    save("crop", {"box (blue) and crop (orange)": small, "the crop, 120 x 120 pixels": crop})

    side = 360
    picture = cut_square(photo, face.crop, side)
    near = face.moved(side / face.crop.size, (face.crop.left, face.crop.top))
    save("landmarks", {"68 landmarks": draw_landmarks(picture, near)})

    true = near.landmarks[:, :2]
    wrong = true + np.random.default_rng(0).normal(0, 7, true.shape)
    for start, end in zip(true, wrong, strict=True):
        cv2.line(picture, [*map(int, start)], [*map(int, end)], (255, 255, 255), 2, cv2.LINE_AA)
    for points, colour in ((true, BLUE), (wrong, ORANGE)):
        for x, y in points:
            cv2.circle(picture, (int(x), int(y)), 3, colour, -1, cv2.LINE_AA)
    save("nme", {"true (blue), predicted (orange)": picture})


def simplex() -> None:
    """Draw the weights of three heads as places in a triangle."""
    corners = np.array([[0, 0], [1, 0], [0.5, 3**0.5 / 2]])
    weights = np.array([0.2, 0.5, 0.3])
    figure = Figure(figsize=(3.6, 2.9), layout="constrained")
    axes = figure.subplots()
    axes.fill(*corners.T, facecolor="0.93", edgecolor="0.3")
    for corner, name, offset in zip(
        corners, ("head 1", "head 2", "head 3"), (-0.09, -0.09, 0.04), strict=True
    ):
        axes.text(corner[0], corner[1] + offset, name, ha="center")
    axes.plot(*corners.mean(axis=0), "o", color=np.divide(BLUE, 255))
    axes.text(*np.add(corners.mean(axis=0), [0, 0.05]), "uniform", ha="center")
    axes.plot(*(weights @ corners), "o", color=np.divide(ORANGE, 255))
    axes.text(*np.subtract(weights @ corners, [0, 0.09]), "0.2, 0.5, 0.3", ha="center")
    axes.set(aspect="equal", xlim=(-0.15, 1.15), ylim=(-0.14, 0.98))
    axes.axis("off")
    figure.savefig(FOLDER / "simplex.png", dpi=100, facecolor="white")
    print(FOLDER / "simplex.png")


def readme() -> None:
    """Draw sample images side by side: `docs/overview.jpg`."""
    predictor = m4kit.Predictor()
    predictions = [predictor(SAMPLES / f"{name}.jpg") for name in README]
    print(overview(predictions, max_side=330).save(FOLDER.with_name("overview.jpg")))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for draw in (simplex, photo_pictures, modes, perspective, angles, readme):
        draw()

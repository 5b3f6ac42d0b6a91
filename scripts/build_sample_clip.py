"""Make `sample_images/two_people.mp4`: two people, drawn from m4kit's own face model, before a blurred cup of coffee.

The result is in the repository, so nobody needs to run this script. It documents how the clip was made:

    python scripts/build_sample_clip.py sample_images

The first person nods, blinks, speaks, turns and smiles; the second one comes and leaves again; the light goes down
and comes back. `benchmarks/video.py` draws its faces with the same functions.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from m4kit.camera import rotation_from_euler
from m4kit.face_model import FaceModel
from m4kit.images import load_image
from m4kit.light import Light
from m4kit.render import render
from m4kit.training.synthetic import random_look
from m4kit.training.synthetic_head import Head, Look
from m4kit.video.files import video_writer

WIDTH, HEIGHT, FPS, FRAMES = 400, 300, 20, 120


@dataclass
class Person:
    """A drawn person: the coefficients of the face's identity (40,) and a look."""

    head: Head
    model: FaceModel
    identity: np.ndarray
    look: Look

    @classmethod
    def random(cls, head: Head, model: FaceModel, *, seed: int, **look) -> Person:
        """Draw a random person; `look` replaces parts of the random look."""
        identity = model.sample(1, seed=seed)[0][0]
        return cls(head, model, identity, replace(random_look(np.random.default_rng(seed)), **look))

    def expression(self, **actions: float) -> np.ndarray:
        """Compute the coefficients (10,) of a mix of the model's actions: eyeBlinkLeft=1.0, ..."""
        parts = [strength * self.model.actions[name] for name, strength in actions.items()]
        return np.sum([np.zeros(10), *parts], axis=0)

    def landmarks(self, pose, place, scale: float, expression: np.ndarray) -> np.ndarray:
        """Compute the true landmarks (68, 2) of what `draw` draws, in pixels."""
        points = self.model.landmarks(self.identity, expression)
        return _placed(points, rotation_from_euler(*pose), place, scale)[:, :2]

    def draw(self, picture: np.ndarray, pose, place, scale: float, expression: np.ndarray) -> np.ndarray:
        """Draw the head over a picture (H, W, 3).

        `pose` is yaw, pitch and roll in degrees, `place` (x, y) that of the head's origin in pixels, and `scale` in
        pixels per mm.
        """
        rotation = rotation_from_euler(*pose)
        # Shoulders turn less than the head.
        body = rotation.T @ rotation_from_euler(*np.multiply(pose, (0.3, 0.1, 0.2)))
        coefficients = np.concatenate([self.identity, expression])
        points, triangles, colours = self.head.whole(coefficients, self.look, body=body)
        mesh = _placed(points, rotation, place, scale), triangles
        return render(picture, [mesh], colour=[np.clip(colours, 0, 255)], light=self.look.light)


def _placed(points: np.ndarray, rotation: np.ndarray, place, scale: float) -> np.ndarray:
    return scale * (points @ rotation.T) * [1, -1, 1] + [*place, 0]


def smooth_step(seconds: float, start: float, end: float) -> float:
    """Rise smoothly from 0 before the start to 1 after the end."""
    share = np.clip((seconds - start) / (end - start), 0, 1)
    return float(share * share * (3 - 2 * share))


def bump(seconds: float, middle: float, width: float) -> float:
    """Return 1 in the middle, and 0 from half a width away."""
    return float(np.cos(np.pi * np.clip((seconds - middle) / width, -0.5, 0.5)) ** 2)


def frame(seconds: float, first: Person, second: Person, wall: np.ndarray) -> np.ndarray:
    """Draw the clip's picture at a time."""
    picture = wall
    blink = bump(seconds, 0.8, 0.35) + bump(seconds, 2.3, 0.35) + bump(seconds, 5.3, 0.35)
    speech = smooth_step(seconds, 1.0, 1.2) * smooth_step(-seconds, -2.1, -1.9)
    speech *= np.sin(2 * np.pi * 1.7 * (seconds - 1.0)) ** 2
    expression = first.expression(
        eyeBlinkLeft=blink,
        eyeBlinkRight=blink,
        jawOpen=0.8 * speech,
        mouthSmileLeft=0.8 * smooth_step(seconds, 4.6, 5.2),
        mouthSmileRight=0.8 * smooth_step(seconds, 4.6, 5.2),
    )
    yaw = 38 * bump(seconds, 2.6, 2.2) - 30 * bump(seconds, 4.6, 2.0)
    pitch = 9 * np.sin(2 * np.pi * 1.2 * seconds) * bump(seconds, 0.7, 1.4)
    roll = 6 * np.sin(2 * np.pi * 0.25 * seconds)
    picture = first.draw(picture, (yaw, pitch, roll), (146 + 3 * np.sin(seconds), 158), 0.77, expression)
    if 1.6 < seconds < 5.0:
        # From the right edge to the table and back.
        way = smooth_step(seconds, 1.6, 2.8) - smooth_step(seconds, 3.8, 5.0)
        turn = 25 - 35 * smooth_step(seconds, 2.2, 3.2) - 35 * smooth_step(seconds, 3.6, 4.2)
        happy = second.expression(mouthSmileLeft=0.5, mouthSmileRight=0.5)
        picture = second.draw(picture, (turn, -4, 0), (467 - 167 * way, 154), 0.58, happy)
    light = 1 - 0.45 * bump(seconds, 3.6, 2.0)
    return np.clip(picture * light, 0, 255).astype(np.uint8)


def people() -> tuple[Person, Person]:
    """Make the two people of the clip."""
    model = FaceModel.load()
    head = Head(model)
    gaze = np.array([0.0, 0.0, 1.0])
    options = {"gaze": gaze, "light": Light(), "beard": 0.0}
    return (
        Person.random(head, model, seed=0, **options),
        Person.random(head, model, seed=2, **options),
    )


def main() -> None:
    """Write the clip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the folder sample_images")
    folder = parser.parse_args().out
    coffee = cv2.resize(load_image(folder / "no_face.jpg"), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    wall = cv2.GaussianBlur(coffee, (0, 0), 8)
    first, second = people()
    path = folder / "two_people.mp4"
    with video_writer(path, size=(WIDTH, HEIGHT), fps=FPS) as write:
        for number in range(FRAMES):
            write(frame(number / FPS, first, second, wall), number / FPS)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

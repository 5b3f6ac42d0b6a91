"""Draws a head: the face model's mesh with fewer triangles, a skull, hair, a neck, and painted colours.

All points are in the face model's frame: millimetres, x right, y up, z towards the viewer. Colours are sRGB, 0 to
255.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from m4kit.camera import CROP_SIZE, Crop, head_pose, rotation_from_euler
from m4kit.face_model import FaceModel
from m4kit.light import Light
from m4kit.open3d_loading import load_open3d
from m4kit.parameters import split_camera
from m4kit.render import render
from m4kit.training import TrainingError

TRIANGLES = 9000
"""Triangles of the drawn face: at 120 pixels a third of the model's looks the same and takes half the time."""

_REGIONS = ("eyeballs", "eyebrows", "eyes", "mouth", "mouth_inside")
_APART = ("jawOpen", "eyeWideLeft", "eyeWideRight")
_INSIDE = np.array([0.0, 10.0, -20.0])
"""A point inside every head; hair grows away from it."""
_NECK_PIVOT = np.array([0.0, -40.0, -50.0])
_SKULL_ROWS = 9
_MOUTH = np.array([70, 26, 28])


@dataclass(frozen=True, slots=True)
class Look:
    """The look of a face apart from its shape and pose.

    Colours are sRGB (3,), 0 to 255. `hair` is None for a bald head; `hairline` moves the hair up and `volume` lifts
    it, both in mm. `beard` and `flush` are strengths from 0 to 1; `brow` is half the height of the brows in mm.
    `gaze` is the unit direction of the eyes in the face's frame. `grain` seeds the unevenness of the skin.
    """

    skin: np.ndarray
    lips: np.ndarray
    brows: np.ndarray
    iris: np.ndarray
    sclera: np.ndarray
    clothes: np.ndarray
    hair: np.ndarray | None
    hairline: float
    volume: float
    long_hair: bool
    beard: float
    flush: float
    brow: float
    gaze: np.ndarray
    grain: int
    light: Light


class Head:
    """The parts that all drawings of a face model share: a light mesh and the places of brows, lips and hair.

    Raises `TrainingError` for a face model without the regions that the colours need.
    """

    def __init__(self, model: FaceModel):
        missing = [name for name in _REGIONS if name not in model.regions]
        if missing:
            raise TrainingError(
                f"expected a face model with the regions {', '.join(_REGIONS)}, got one without "
                f"{', '.join(missing)}; use the packaged one"
            )
        corners, weights, self.triangles = _simplified(model)
        rim = _rim(model.triangles)
        rim = rim[np.linspace(0, len(rim), 56, endpoint=False).astype(int)]
        self.skin_points = len(corners)
        corners = np.concatenate([corners, rim[:, None].repeat(3, axis=1)])
        weights = np.concatenate([weights, np.tile([1.0, 0.0, 0.0], (len(rim), 1))])

        def sampled(values: np.ndarray) -> np.ndarray:
            return np.einsum("pk,...pkc->...pc", weights, values[..., corners, :]).astype(np.float32)

        self.mean = sampled(model.mean)
        self.modes = sampled(model.modes).reshape(len(model.modes), -1)
        regions = sampled(np.stack([model.regions[name] for name in _REGIONS], axis=1).astype(float))
        regions = dict(zip(_REGIONS, regions.T, strict=True))
        self.skull = _tube(_SKULL_ROWS, len(rim))
        self._measure(model.landmark_mean, regions)

    def _measure(self, landmarks: np.ndarray, regions: dict[str, np.ndarray]) -> None:
        """Set the distances in mm and the shares that the colours depend on, one per point of the mean face."""
        points = self.mean
        x, y, z = points.T
        side = np.abs(x)
        lines = [landmarks[17:22], landmarks[22:27]]
        self.to_brows = np.minimum(*(_distance(points, line - [0, 1.5, 0]) for line in lines))
        eyes = [landmarks[[*range(first, first + 6), first]] for first in (36, 42)]
        self.lids = 0.7 * _step(1.2 - np.minimum(*(_distance(points, line) for line in eyes)), 1.5)
        outline = landmarks[48:60, :2].astype(np.float32)[:, None]
        near = np.flatnonzero(regions["mouth"] > 0)
        within = [cv2.pointPolygonTest(outline, (float(u), float(v)), True) for u, v in points[near, :2]]
        self.lips = np.zeros(len(points), dtype=np.float32)
        self.lips[near] = 0.85 * _step(np.array(within), 2.5)
        self.inside_mouth = regions["mouth_inside"]
        self.eyeballs = np.flatnonzero(regions["eyeballs"] > 0.5)
        balls = points[self.eyeballs]
        centres = np.stack([_sphere_centre(balls[balls[:, 0] * sign > 0]) for sign in (-1, 1)])
        looking = balls - centres[(balls[:, 0] > 0).astype(int)]
        self.looking = looking / np.linalg.norm(looking, axis=1, keepdims=True)
        # Hair begins at the rim of the forehead and, at the sides, in front of the ears.
        above = np.maximum(62 * (np.hypot(side / 62, np.maximum(y - 8, 0) / 66) - 1), -10 - z)
        # Sideburns end above the middle of the ears, and ears have no hair.
        self.above_hairline = np.where((y < 4) | (side > 71), -99, above).astype(np.float32)
        self.beard = (_step(-36 + 0.012 * side**2 - y, 14) * (side < 71)).astype(np.float32)
        flush = np.exp(-((side - 38) ** 2 + (y + 18) ** 2) / 500)
        flush = np.maximum(flush, np.exp(-(x**2 + (y + 26) ** 2) / 200) * (z > 50))
        self.flush = np.maximum(flush, side > 71).astype(np.float32)

    def paint(self, look: Look) -> np.ndarray:
        """Paint the face's points, followed by those of its rim; returns colours (P, 3)."""
        random = np.random.default_rng(look.grain)
        waves = random.normal(size=(3, 6)) / np.array([40, 40, 20, 20, 9, 9])
        uneven = np.cos(self.mean @ waves.astype(np.float32)).sum(axis=1)
        hairs, grain = random.random((2, len(self.mean)), dtype=np.float32)
        uneven = 0.95 + 0.02 * uneven + 0.1 * grain
        colours = (look.skin * uneven[:, None]).astype(np.float32)
        for colour, share in (
            (look.skin * [1.08, 0.82, 0.8], look.flush * self.flush),
            (look.brows, look.beard * self.beard * (0.8 + 0.2 * hairs)),
            (look.lips, self.lips),
            (look.brows, _step(look.brow - self.to_brows, 2.5) * (0.6 + 0.4 * hairs)),
            (look.brows * 0.5, self.lids),
            (_MOUTH, self.inside_mouth),
        ):
            _mix(colours, colour, share)
        # In degrees from the gaze: an iris is 12 mm wide on an eyeball of 24 mm, a pupil 4 mm.
        off = np.degrees(np.arccos(np.clip(self.looking @ look.gaze, -1, 1)))
        eyes = np.tile(look.sclera.astype(np.float32), (len(off), 1))
        _mix(eyes, look.iris, _step(27 - off, 6))
        _mix(eyes, np.full(3, 12.0), _step(11 - off, 6))
        if look.hair is not None:
            covered = _step(self.above_hairline - look.hairline, 8)
            _mix(colours, look.hair, covered * (0.8 + 0.2 * hairs))
        colours[self.eyeballs] = eyes
        return colours

    def whole(self, coefficients: np.ndarray, look: Look, *, body: np.ndarray):
        """Make points (N, 3) in mm, triangles (M, 3) and colours (N, 3) of a head with neck and shoulders.

        `coefficients` (50,) are the face's, `body` (3, 3) is the rotation of the body in the head's frame. The first
        triangles are those of the face.
        """
        random = np.random.default_rng([look.grain, 1])
        shape = self.mean + (coefficients.astype(np.float32) @ self.modes).reshape(-1, 3)
        colours = self.paint(look)
        lift = look.volume if look.hair is not None else 0.0
        if lift:
            away = shape - _INSIDE
            rising = _step(self.above_hairline - look.hairline - 4, 20) * lift
            shape = shape + (rising / np.linalg.norm(away, axis=1))[:, None] * away
        n = self.skin_points
        skull = _skull(shape[n:], lift)
        scalp = np.tile(colours[n:], (_SKULL_ROWS, 1))
        if look.hair is not None:
            back = np.minimum(np.arange(_SKULL_ROWS) / 3, 1).repeat(len(shape) - n)
            strands = np.tile(random.uniform(0.7, 1.2, len(shape) - n), _SKULL_ROWS)
            _mix(scalp, look.hair * strands[:, None], back * _step(skull[:, 1] + 25, 12))
        parts = [(shape[:n], self.triangles, colours[:n]), (skull, self.skull, scalp)]
        if look.hair is not None and look.long_hair:
            mane, triangles = _ellipsoid((0, -30, -62), (92 + lift, 115, 54 + lift))
            strands = np.tile(random.uniform(0.7, 1.2, _AROUND), _ALONG)
            parts.append((mane, triangles, look.hair * strands[:, None]))
        for centre, radii, colour in (
            ((0, -110, -56), (44, 120, 44), look.skin * 0.95),
            ((0, -225 - 15 * random.random(), -60), (205, 95, 75), look.clothes),
        ):
            points, triangles = _ellipsoid(centre, radii)
            points = (points - _NECK_PIVOT) @ body.T + _NECK_PIVOT
            parts.append((points, triangles, np.tile(colour, (len(points), 1))))
        starts = np.cumsum([0, *(len(points) for points, _, _ in parts)])
        triangles = [part[1] + start for part, start in zip(parts, starts, strict=False)]
        return (
            np.concatenate([part[0] for part in parts]),
            np.concatenate(triangles),
            np.concatenate([part[2] for part in parts]),
        )


def draw(head: Head, parameters: np.ndarray, look: Look, background: np.ndarray) -> np.ndarray:
    """Draw a face of raw parameters (62,) over a background (120, 120, 3) uint8 RGB; gives the crop."""
    camera, coefficients = split_camera(np.asarray(parameters, dtype=float))
    yaw, pitch, roll = head_pose(camera)
    rotation = rotation_from_euler(yaw, pitch, roll)
    # Shoulders turn less than the head.
    body = rotation.T @ rotation_from_euler(0.6 * yaw, 0.2 * pitch, 0.2 * roll)
    points, triangles, colours = head.whole(coefficients, look, body=body)
    placed = Crop(-0.5, -0.5, CROP_SIZE).to_photo(points @ camera[:, :3].T + camera[:, 3])
    return render(background, [(placed, triangles)], colour=[np.clip(colours, 0, 255)], light=look.light)


def _simplified(model: FaceModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simplify the model's surface: corners and weights (P, 3) of the new points, and triangles between them.

    Lips and lids are apart during this, so that touching parts do not become one surface. The eyeballs keep all their
    points, which the irises need.
    """
    open3d = load_open3d()
    triangles = model.triangles
    apart = sum(model.actions[name] for name in _APART)
    surface = model.vertices(None, apart).astype(np.float64)
    ball = model.regions["eyeballs"]
    of_ball = ball[triangles].all(axis=1)
    # Roughness keeps points in flat parts too, where colours need them.
    painted = model.regions["mouth"] | model.regions["eyes"] | model.regions["eyebrows"]
    rough = np.random.default_rng(0).normal(size=surface.shape) * np.where(painted, 0.4, 0.15)[:, None]
    mesh = open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(surface + rough),
        open3d.utility.Vector3iVector(triangles[~of_ball].astype(np.int32)),
    )
    mesh = mesh.simplify_quadric_decimation(TRIANGLES)
    mesh.remove_unreferenced_vertices()
    scene = open3d.t.geometry.RaycastingScene()
    tensor = open3d.core.Tensor.from_numpy
    scene.add_triangles(
        tensor(surface.astype(np.float32)), tensor(np.ascontiguousarray(triangles[~of_ball], dtype=np.uint32))
    )
    nearest = scene.compute_closest_points(tensor(np.asarray(mesh.vertices, dtype=np.float32)))
    corners = triangles[~of_ball][nearest["primitive_ids"].numpy()]
    across = nearest["primitive_uvs"].numpy()
    weights = np.column_stack([1 - across.sum(axis=1), across])
    own = np.flatnonzero(ball)
    new_index = np.zeros(len(ball), dtype=np.int64)
    new_index[own] = len(corners) + np.arange(len(own))
    return (
        np.concatenate([corners, own[:, None].repeat(3, axis=1)]),
        np.concatenate([weights, np.tile([1.0, 0.0, 0.0], (len(own), 1))]),
        np.concatenate([np.asarray(mesh.triangles, dtype=np.int64), new_index[triangles[of_ball]]]),
    )


def _rim(triangles: np.ndarray) -> np.ndarray:
    """Return the vertices around a mesh's longest hole, in order; in a face, the missing back of the head."""
    edges = {
        (int(a), int(b)) for i in range(3) for a, b in zip(triangles[:, i], triangles[:, i - 2], strict=True)
    }
    following = {a: b for a, b in edges if (b, a) not in edges}
    loops = []
    while following:
        loop = [next(iter(following))]
        while loop[-1] in following:
            loop.append(following.pop(loop[-1]))
        loops.append(loop[1:])
    return np.array(max(loops, key=len))


def _skull(rim: np.ndarray, lift: float) -> np.ndarray:
    """Make points (rows * n, 3) of the back of a head with hair, row by row from its rim (n, 3) to its pole."""
    angle = np.linspace(0, np.pi / 2, _SKULL_ROWS - 1)[:, None, None]
    centre = rim.mean(axis=0)
    back = np.array([0.0, 32.0, -105.0 - lift])
    # The first row is inside the face, so that no gap shows between the two.
    within = rim - (rim - centre) * [0.03, 0.08, 0] + [0, 0, 6]
    rows = centre + (rim - centre) * np.cos(angle) ** 0.8 + back * np.sin(angle)
    return np.concatenate([within, rows.reshape(-1, 3)])


_ALONG, _AROUND = 14, 24


def _ellipsoid(centre, radii) -> tuple[np.ndarray, np.ndarray]:
    """Make points (14 * 24, 3) and triangles of an upright ellipsoid."""
    polar, around = np.meshgrid(
        np.linspace(0, np.pi, _ALONG), np.linspace(0, 2 * np.pi, _AROUND, endpoint=False), indexing="ij"
    )
    unit = np.stack([np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], axis=-1)
    return unit.reshape(-1, 3) * radii + centre, _tube(_ALONG, _AROUND)


def _tube(rows: int, columns: int) -> np.ndarray:
    """Make triangles (2 * (rows - 1) * columns, 3) of a closed band of points, row after row."""
    here = np.arange(rows * columns).reshape(rows, columns)
    beside = np.roll(here, -1, axis=1)
    a, b, c, d = here[:-1].ravel(), here[1:].ravel(), beside[1:].ravel(), beside[:-1].ravel()
    return np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])


def _distance(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Compute the distances (n,) of points (n, 3) from a polyline (k, 3)."""
    along = np.linspace(0, len(line) - 1, 8 * len(line))
    dense = np.stack([np.interp(along, np.arange(len(line)), column) for column in line.T], axis=1)
    return np.linalg.norm(points[:, None] - dense.astype(np.float32), axis=2).min(axis=1)


def _sphere_centre(points: np.ndarray) -> np.ndarray:
    """Find the centre (3,) of the sphere through points (n, 3), by least squares."""
    system = np.column_stack([2 * points, np.ones(len(points))])
    return np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0][:3]


def _step(distance: np.ndarray, width: float) -> np.ndarray:
    """Return a linear ramp of that width from 0 to 1, centred at a distance of 0."""
    return np.clip(distance / width + 0.5, 0, 1)


def _mix(colours: np.ndarray, other: np.ndarray, share: np.ndarray) -> None:
    """Mix a share (n,) of other colours, (3,) or (n, 3), into colours (n, 3), in place."""
    at = np.flatnonzero(share)
    here = colours[at]
    other = np.asarray(other, dtype=np.float32)
    other = other if other.ndim == 1 else other[at]
    colours[at] = here + (other - here) * share[at, None]

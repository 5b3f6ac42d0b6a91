"""Scenes to train the detector on: pieces of photos, mosaics of face crops, and bad conditions.

A *scene* is a clean picture (S, S, 3) uint8 RGB and its faces (n, 5): left, top, right and bottom from the picture's
corner, then 1 for a face that must be found or 0 for an optional one (mostly outside the frame, covered, or unsure).
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np

from m4kit import conditions
from m4kit.conditions import CONDITIONS
from m4kit.training import pixel_faults
from m4kit.training.detector_material import Material

HARDEST = 4.0
"""Highest severity of the conditions in training."""
HIDDEN = 0.25
"""A face is optional if pastes cover more than this share of it."""
FACE_FREE = 0.35
"""Share of a collage's pieces that come from pictures without a face, if there are any."""
FAULTS = ("contrast", "grey", "colour cast", "noise", "jpeg", "low resolution")
"""Faults of cameras and files beside the conditions."""


def make_scene(material: Material, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Make a clean scene: a collage of photos, faces pasted over a collage, or a mosaic."""
    kind = rng.random()
    if kind < 0.3:
        return collage(material, size, rng)
    if kind < 0.7:
        return paste_faces(material, *collage(material, size, rng), rng)
    return mosaic(material, size, rng)


def mosaic(material: Material, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Make a scene of faces over a made-up background."""
    return paste_faces(material, background(material, size, rng), np.zeros((0, 5)), rng)


def collage(material: Material, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Make a scene of pieces of one, four or nine photos, with real surroundings and few faces."""
    cells = rng.integers(1, 4)
    edges = np.linspace(0, size, cells + 1).astype(int)
    picture, faces = np.empty((size, size, 3), np.uint8), []
    for top, bottom in itertools.pairwise(edges):
        for left, right in itertools.pairwise(edges):
            piece, found = photo_piece(material, max(bottom - top, right - left), rng)
            picture[top:bottom, left:right] = piece[: bottom - top, : right - left]
            faces.append(found + np.array([left, top, left, top, 0]))
    return picture, np.concatenate(faces)


def photo_piece(material: Material, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Resize, turn and cut a random photo, half the time around one of its faces."""
    photos = material.face_free if material.face_free and rng.random() < FACE_FREE else material.photos
    photo = photos[rng.integers(len(photos))]
    image, faces = photo.image(), photo.faces
    shape = np.array(image.shape[1::-1])
    sure = faces[faces[:, 4] == 1]
    if len(sure) and rng.random() < 0.5:
        box = sure[rng.integers(len(sure))]
        scale = np.clip(_random_side(size, rng) / (box[2:4] - box[:2]).max(), 0.15, 3)
        source, target = (box[:2] + box[2:4]) / 2, size / 2 + rng.uniform(-0.4, 0.4, 2) * size
    else:
        scale = np.exp(rng.uniform(np.log(size / shape.max()), np.log(max(1.5, size / shape.min()))))
        source, target = rng.uniform(0.25, 0.75, 2) * shape, np.full(2, size / 2)
    matrix = _similarity(source, target, scale, _random_angle(rng) / 2, rng.random() < 0.5)
    picture, mask = _resample(image, np.full(image.shape[:2], 255, np.uint8), matrix, (size, size))
    picture = np.where(mask[..., None] > 127, picture, rng.integers(0, 256, 3).astype(np.uint8))
    return picture, _visible(_move_boxes(faces, matrix), size)


def paste_faces(
    material: Material, picture: np.ndarray, faces: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paste faces over a scene: turned, overlapping, cut by the frame, with hard, soft or oval edges."""
    size = len(picture)
    picture = picture.copy()
    # The number of the topmost paste at each pixel, and of each face's own paste; 0 is the scene before.
    top, own = np.zeros((size, size), int), np.zeros(len(faces), int)
    for number in range(1, 1 + rng.integers(1, 10)):
        crop = material.crops[rng.integers(len(material.crops))]
        box = crop.faces[0]
        matrix = _similarity(
            (box[:2] + box[2:4]) / 2,
            rng.uniform(-0.02, 1.02, 2) * size,
            _random_side(size, rng) / (box[2:4] - box[:2]).max(),
            _random_angle(rng),
            rng.random() < 0.5,
        )
        face = _move_boxes(crop.faces, matrix)
        if len(faces) and _covered(faces, face[0]).max() > 0.25:
            continue
        top[_paste(picture, crop.image(), box, matrix, rng)] = number
        faces, own = np.concatenate([faces, face]), np.append(own, number)
    faces[_hidden(faces, own, top) > HIDDEN, 4] = 0
    return picture, _visible(faces, size)


def background(material: Material, size: int, rng: np.random.Generator) -> np.ndarray:
    """Make a picture without a face: one colour, clouds, clouds with shapes, or a photo shuffled in tiles."""
    kind = rng.integers(4)
    if kind == 0:
        return np.full((size, size, 3), rng.integers(0, 256, 3), np.uint8)
    if kind == 3:
        return _shuffled(material.photos[rng.integers(len(material.photos))].image(), size, rng)
    picture = np.zeros((size, size, 3), np.float32)
    roughness = rng.uniform(0.1, 1)
    for cells in (2, 4, 8, 16, 32, 64, 128):
        deviation = rng.uniform(0, 60) * (cells / 2) ** (roughness - 1)
        noise = rng.normal(0, deviation, (cells, cells, 3 if rng.random() < 0.3 else 1))
        noise = cv2.resize(noise.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
        picture += noise.reshape(size, size, -1)
    picture = np.clip(picture + rng.uniform(20, 235, 3), 0, 255).astype(np.uint8)
    for _ in range(rng.integers(1, 25) if kind == 2 else 0):
        _random_shape(picture, rng)
    return picture


def _random_shape(picture: np.ndarray, rng: np.random.Generator) -> None:
    size = len(picture)
    colour = [int(c) for c in rng.integers(0, 256, 3)]
    start, end = rng.integers(0, size, (2, 2)).tolist()
    kind = rng.integers(3)
    if kind == 0:
        axes = rng.integers(2, size // 3, 2).tolist()
        cv2.ellipse(
            picture, start, axes, float(rng.uniform(0, 180)), 0, 360, colour, int(rng.choice([-1, 2, 5]))
        )
    elif kind == 1:
        cv2.line(picture, start, end, colour, int(rng.integers(1, 20)), cv2.LINE_AA)
    else:
        cv2.rectangle(picture, start, end, colour, int(rng.choice([-1, 2, 5])))


def _shuffled(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Shuffle and turn tiles of 24 pixels: real texture without a face."""
    tile = 24
    rows = -(-size // tile)
    picture = np.empty((rows * tile, rows * tile, 3), np.uint8)
    image = cv2.copyMakeBorder(image, 0, tile, 0, tile, cv2.BORDER_REFLECT_101)
    for row in range(rows):
        for column in range(rows):
            y, x = (rng.integers(0, side - tile) for side in image.shape[:2])
            piece = np.rot90(image[y : y + tile, x : x + tile], rng.integers(4))
            picture[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile] = piece
    return picture[:size, :size].copy()


def _random_side(size: int, rng: np.random.Generator) -> float:
    """Draw a face's side from 12 to 500 pixels, uniform in its logarithm."""
    return float(np.exp(rng.uniform(np.log(12), np.log(min(500, 0.95 * size)))))


def _random_angle(rng: np.random.Generator) -> float:
    return float(np.clip(rng.normal(0, 12), -30, 30))


def _similarity(
    source: np.ndarray, target: np.ndarray, scale: float, degrees: float, mirror: bool
) -> np.ndarray:
    """Return the (2, 3) map that takes `source` to `target`, both measured from the corner of their pictures."""
    cos, sin = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if mirror else 1.0, 1.0])
    return np.column_stack([linear, target - linear @ source])


def _move_boxes(faces: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Move the centres of boxes and scale their sides; a turned head keeps the shape of its box."""
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    centre = (faces[:, :2] + faces[:, 2:4]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    half = (faces[:, 2:4] - faces[:, :2]) / 2 * scale
    return np.column_stack([centre - half, centre + half, faces[:, 4]])


def _covered(faces: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Compute the area (n,) that each box shares with another box, as a share of the smaller of the two."""
    shared = np.prod(
        np.clip(np.minimum(faces[:, 2:4], by[2:4]) - np.maximum(faces[:, :2], by[:2]), 0, None), 1
    )
    area, other = np.prod(faces[:, 2:4] - faces[:, :2], axis=1), np.prod(by[2:4] - by[:2])
    return shared / np.minimum(area, other)


def _hidden(faces: np.ndarray, own: np.ndarray, top: np.ndarray) -> np.ndarray:
    """Compute the share (n,) of each box within the frame that pastes later than its `own` (n,) cover."""
    edges = np.clip(faces[:, :4].round().astype(int), 0, len(top))
    parts = [top[above:below, left:right] for left, above, right, below in edges]
    return np.array(
        [(part > number).sum() / max(1, part.size) for part, number in zip(parts, own, strict=True)]
    )


def _visible(faces: np.ndarray, size: int) -> np.ndarray:
    """Keep the faces that are at least partly in the frame; those with less than 60 % in it become optional."""
    inside = np.prod(
        np.clip(np.clip(faces[:, 2:4], 0, size) - np.clip(faces[:, :2], 0, size), 0, None), axis=1
    )
    share = inside / np.prod(faces[:, 2:4] - faces[:, :2], axis=1)
    faces = faces.copy()
    faces[share < 0.6, 4] = 0
    return faces[share > 0.05]


def _resample(
    image: np.ndarray, mask: np.ndarray, matrix: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Map an image and its mask into a picture of that shape through a (2, 3) map."""
    # Shrinking by more than half takes two steps, because warpAffine alone would alias.
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    matrix = matrix.copy()
    if scale < 0.5:
        width, height = (max(1, round(side * scale * 1.2)) for side in (image.shape[1], image.shape[0]))
        matrix[:, :2] = matrix[:, :2] @ np.diag([image.shape[1] / width, image.shape[0] / height])
        image, mask = (cv2.resize(a, (width, height), interpolation=cv2.INTER_AREA) for a in (image, mask))
    # OpenCV maps pixel centres, half a pixel from the corner.
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    size = (shape[1], shape[0])
    return cv2.warpAffine(image, matrix, size), cv2.warpAffine(mask, matrix, size)


def _paste(
    picture: np.ndarray, crop: np.ndarray, box: np.ndarray, matrix: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Paste a crop over the picture, in place; return the mask (S, S) of pixels that it mostly covers."""
    side, over = len(crop), np.zeros(picture.shape[:2], bool)
    mask = np.full((side, side), 255, np.uint8)
    kind = rng.integers(3)
    if kind == 1:
        mask[:] = 0
        mask[8:-8, 8:-8] = 255
        mask = cv2.GaussianBlur(mask, (0, 0), 4)
    elif kind == 2:
        mask[:] = 0
        centre, half = (box[:2] + box[2:4]) / 2, (box[2:4] - box[:2]) / 2
        axes = (half * [rng.uniform(0.9, 1.2), rng.uniform(1.05, 1.3)]).astype(int).tolist()
        cv2.ellipse(mask, centre.astype(int).tolist(), axes, 0, 0, 360, 255, -1)
        mask = cv2.GaussianBlur(mask, (0, 0), 3)
    corners = np.array([[0, 0], [side, 0], [0, side], [side, side]]) @ matrix[:, :2].T + matrix[:, 2]
    left, top = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, len(picture))
    right, bottom = np.clip(np.ceil(corners.max(axis=0)).astype(int), 0, len(picture))
    if right <= left or bottom <= top:
        return over
    matrix = matrix.copy()
    matrix[:, 2] -= [left, top]
    piece, alpha = _resample(crop, mask, matrix, (bottom - top, right - left))
    over[top:bottom, left:right] = alpha > 127
    alpha = alpha[..., None].astype(np.float32) / 255
    under = picture[top:bottom, left:right]
    picture[top:bottom, left:right] = (under * (1 - alpha) + piece * alpha + 0.5).astype(np.uint8)
    return over


def degrade(image: np.ndarray, face_side: float, rng: np.random.Generator) -> np.ndarray:
    """Apply one or two of the seven conditions and up to two of `FAULTS`, all at random.

    Severities go up to 4; blur and cover stay weak enough for a face of `face_side` pixels.
    """
    bearable = HARDEST * min(1.0, np.sqrt(face_side / (0.25 * max(image.shape))))
    for condition in rng.permutation(CONDITIONS)[: rng.integers(1, 3)]:
        hardest = HARDEST if condition in ("haze", "illumination") else bearable
        image = conditions.degrade(
            image, str(condition), rng.uniform(0, hardest), seed=int(rng.integers(2**31))
        )
    for fault in rng.permutation(FAULTS)[: rng.integers(0, 3)]:
        image = spoil(image, str(fault), face_side, rng)
    return image


def spoil(image: np.ndarray, fault: str, face_side: float, rng: np.random.Generator) -> np.ndarray:
    """Apply one of `FAULTS` at a random strength; resolution stays enough for a face of `face_side` pixels."""
    match fault:
        case "contrast":
            return pixel_faults.tone(image, contrast=rng.uniform(0.3, 1.6))
        case "grey":
            return pixel_faults.saturate(image, 0.0)
        case "colour cast":
            return pixel_faults.tone(image, tint=rng.uniform(0.6, 1.35, 3))
        case "noise":
            return pixel_faults.add_noise(image, rng.uniform(3, 35), rng, grey=rng.random() < 0.3)
        case "jpeg":
            return pixel_faults.compress(image, int(rng.integers(8, 60)))
        case _:
            factor = rng.uniform(1.2, max(1.5, min(6, face_side / 14)))
            return pixel_faults.lose_resolution(image, factor)

"""The face detector: runs FaceBoxes (`faceboxes`) on photos of any size.

    detector = Detector()
    boxes = detector(image)          # (n, 5): left, top, right, bottom in photo pixels, score

In place of a `Detector`, m4kit accepts any callable from an image to an array (n, 4) or (n, 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from m4kit.boxes import suppress
from m4kit.checks import check_number, check_type, check_whole
from m4kit.engine import make_engine
from m4kit.images import check_image
from m4kit.priors import MEAN_COLOUR, decode, prior_boxes

if TYPE_CHECKING:
    from m4kit.faceboxes import FaceBoxes

NMS_IOU = 0.3
NETWORK_MIN_FACE = 20.0
"""Side in pixels of the smallest faces that the network finds reliably."""
DEFAULT_PIXELS = 1080 * 720
"""Without `min_face`, photos of up to this many pixels are not resized; 3DDFA-V2's limit."""
DEFAULT_SHARE = 0.012
"""The smallest face to find in a larger photo, as a share of its longer side."""
WORTH = 1.5
"""A larger photo is searched coarsely first if a fine search would see at least so many times as many pixels."""
MAX_PIXELS = 48_000_000
"""The most pixels to which `min_face` may enlarge a photo: more would take many seconds."""
WHOLE_PIXELS = 2_200_000
"""Larger pictures are searched in tiles, which bounds the memory."""
TILE, OVERLAP = 1024, 208
"""Side of a tile and its overlap with its neighbours, in network pixels.

A face smaller than the overlap lies entirely in one of the tiles. Larger faces are found in the whole photo at a
smaller scale.
"""
LARGE_SIDE, LARGE_SCORE, CLOSE_UP = 256, 0.1, 320
"""Faces above the first side in network pixels may be found in parts or not at all. So a photo with signs of them,
boxes from the second score up, or without a clear face, is searched again with the third as its longer side.
"""
CLEAR_SCORE, FAINT_SCORE, SMALL_SIDE = 0.5, 0.005, 28
"""Signs of faces that a reduced photo hides: boxes below the first score and from the second up, whose side in
network pixels is below the third.
"""
CROWD_COARSE, CROWD = 40, 60
"""Sums of the signs' scores, in a coarse search and in a fine one, above which a photo seems to show many faces that
are too small. Crowds of hundreds of such faces reach more, and so do heavy snow and rain; other large photos reach
less.
"""
PATCH_SCORE, PATCH = 0.02, 128
"""Lowest score of a sign around which a photo is searched again, and the side of this patch in network pixels."""
MIN_SIDE = 8
"""A photo with a shorter side, in network pixels, is too small for any face."""


class Found(NamedTuple):
    """What a detector finds: `boxes` (n, 5), left, top, right, bottom in photo pixels and the score, best first.

    `hidden` is the side in photo pixels below which many more faces seem to be there, too small in the reduced photo;
    None if there are no such signs.
    """

    boxes: np.ndarray
    hidden: float | None = None


class Detector:
    """Finds faces in photos.

    `weights` is "m4kit" for the packaged weights, "faceboxes-official" for the published ones, which are downloaded
    once (see `m4kit.weights`), the path of a `.safetensors` file or of the official `FaceBoxesProd.pth`, or a
    network, whose later changes do not reach the detector. `engine`, `device` and `threads` are as for `Predictor`.
    """

    def __init__(
        self,
        weights: str | Path | FaceBoxes = "m4kit",
        *,
        engine: str | None = None,
        device: str = "cpu",
        threads: int = 1,
    ):
        _check_weights(weights)
        named = "faceboxes" if isinstance(weights, str) and weights == "m4kit" else weights
        self.engine = make_engine(named, _load_network, engine=engine, device=device, threads=threads)
        self._weights = weights

    @cached_property
    def network(self) -> FaceBoxes:
        """The network, loaded at the first use: the engine has its own copy of the weights."""
        return _load_network(self._weights) if isinstance(self._weights, str | PathLike) else self._weights

    def __call__(
        self,
        image: np.ndarray,
        *,
        threshold: float = 0.5,
        max_faces: int | None = None,
        min_face: float | None = None,
    ) -> np.ndarray:
        """Find the faces of a photo: (n, 5), left, top, right, bottom in photo pixels and the score, best first.

        `look` also tells whether there may be faces that are too small.

        `image` is (H, W, 3) uint8 RGB. Pixel centres have integer coordinates. The box of a face at the photo's
        edge may reach beyond it. Faces with a score below `threshold` are left out, and only the best `max_faces`
        are kept.

        `min_face` is the side of the smallest face to find, in photo pixels, or below 1 as a share of the photo's
        longer side. The photo is resized so that such a face has 20 pixels, about the smallest that the network
        finds: a small value enlarges the photo and takes time, a large one is fast. Above 2.2 megapixels the photo
        is searched in tiles. By default, photos of up to 0.78 megapixels (1080x720) are not resized. Larger ones are
        searched for faces from 1.2 % of the longer side on: first at 0.78 megapixels, then, where these show signs of
        smaller faces, at a finer scale. A photo that a face may fill is searched at a smaller scale, too.
        """
        return self.look(image, threshold=threshold, max_faces=max_faces, min_face=min_face).boxes

    def look(
        self,
        image: np.ndarray,
        *,
        threshold: float = 0.5,
        max_faces: int | None = None,
        min_face: float | None = None,
    ) -> Found:
        """Find the faces of a photo as a call of the detector does, and what it may have missed."""
        image = check_image(image, name="detector")
        check_threshold(threshold)
        check_whole(max_faces, "max_faces", least=1, optional="all")
        check_min_face(min_face)
        if min_face is None:
            found, hidden = self._by_default(image, threshold)
        else:
            found, hidden = _best(self._search(image, _scale(image.shape, min_face), threshold)), None
        return Found(found[:max_faces], hidden)

    def _by_default(self, image: np.ndarray, threshold: float) -> Found:
        """Search a photo without `min_face`.

        A large photo is searched coarsely, and finely around signs of small faces.
        """
        coarse, fine = _default_scales(image.shape)
        scale, patches, hidden = coarse, np.zeros((0, 5)), None
        # Faint signs of small faces count only where the photo is reduced.
        found = self._search(image, scale, min(threshold, FAINT_SCORE if coarse < 1 else LARGE_SCORE))
        if coarse < fine:
            signs = _signs(found, coarse)
            if signs[:, 4].sum() <= CROWD_COARSE:
                # The boxes of small faces are rough.
                rough = found[_small(found, coarse) & (found[:, 4] >= CLEAR_SCORE)]
                signs = np.concatenate([rough, signs[signs[:, 4] >= PATCH_SCORE]])
                squares = _patches(signs, round(PATCH / fine), image.shape)
                patches = self._in_squares(image, squares, fine, threshold)
            else:
                scale = fine
                found = self._search(image, scale, min(threshold, FAINT_SCORE))
        if scale == fine < 1 and _signs(found, fine)[:, 4].sum() > CROWD:
            hidden = NETWORK_MIN_FACE / fine
        found = np.concatenate([found, patches])
        large = self._large(image, found[found[:, 4] >= LARGE_SCORE], scale, threshold)
        found = found[found[:, 4] >= threshold]
        parts = _within(found, large[large[:, 4] >= CLEAR_SCORE])
        return Found(_best(np.concatenate([found[~parts], large])), hidden)

    def _large(self, image: np.ndarray, found: np.ndarray, scale: float, threshold: float) -> np.ndarray:
        """Large faces (n, 5) of a photo, if a search at that scale `found` signs of them or no clear face."""
        again, sides = CLOSE_UP / max(image.shape[:2]), found[:, 2] - found[:, 0]
        if again >= scale or ((found[:, 4] >= CLEAR_SCORE).any() and (sides * scale < LARGE_SIDE).all()):
            return np.zeros((0, 5))
        closer = self._search(image, again, threshold)
        return closer[(closer[:, 2] - closer[:, 0]) * scale >= LARGE_SIDE]

    def _search(self, image: np.ndarray, scale: float, threshold: float) -> np.ndarray:
        """Boxes (n, 5) in photo pixels before suppression. `scale` is in network pixels per photo pixel."""
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        if height * width <= WHOLE_PIXELS:
            return self._detections([image], height, width, threshold)[0]
        # This finds the faces that are too large for a tile.
        small = (DEFAULT_PIXELS / (image.shape[0] * image.shape[1])) ** 0.5
        parts = [self._search(image, small, threshold)]
        side, step = TILE / scale, (TILE - OVERLAP) / scale
        for top in _starts(image.shape[0], side, step):
            for left in _starts(image.shape[1], side, step):
                parts.append(self._in_squares(image, [(left, top, round(side))], scale, threshold))
        return np.concatenate(parts)

    def _in_squares(
        self, image: np.ndarray, squares: Sequence[tuple[int, int, int]], scale: float, threshold: float
    ) -> np.ndarray:
        """Boxes (n, 5) in squares (left, top, side) of one size, in photo pixels, without those that these cut."""
        if not squares:
            return np.zeros((0, 5))
        tiles = [image[top : top + side, left : left + side] for left, top, side in squares]
        tall, wide = (max(1, round(length * scale)) for length in tiles[0].shape[:2])
        found, tile = self._detections(tiles, tall, wide, threshold)
        corners = np.tile(np.array(squares)[tile, :2], 2)
        found[:, :4] += corners
        edges = corners + np.array([0, 0, tiles[0].shape[1], tiles[0].shape[0]]) - 0.5
        return found[_whole(found, edges, image.shape, margin=2 / scale)]

    def _detections(
        self, images: Sequence[np.ndarray], height: int, width: int, threshold: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (n, 5) in several images of one size, in their pixels, and the number (n,) of each box's image.

        They are resized to (height, width) for the network.
        """
        if min(height, width) < MIN_SIDE:
            return np.zeros((0, 5)), np.zeros(0, int)
        pictures = [whole_fours(resize(image, height, width)) for image in images]
        # One picture is not copied.
        found, number = self._candidates(
            np.stack(pictures) if len(pictures) > 1 else pictures[0][None], threshold
        )
        # The network's origin is the photo's corner, m4kit's is the first pixel's centre.
        found[:, :4] *= np.tile([images[0].shape[1] / width, images[0].shape[0] / height], 2)
        found[:, :4] -= 0.5
        return found, number

    def _candidates(self, pictures: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (n, 5) from the pictures' corners, with scores from the threshold up, and each one's picture (n,)."""
        moves, logits = self.engine(pictures)
        # The logistic function, without overflow.
        scores = (1 + np.tanh(logits / 2)) / 2
        number, prior = np.nonzero(scores >= threshold)
        boxes = decode(moves[number, prior], prior_boxes(*pictures.shape[1:3])[prior])
        return np.column_stack([boxes, scores[number, prior]]).astype(float), number


def check_threshold(threshold: float) -> None:
    """Raise an error unless a detection's lowest score is a number from 0 to 1."""
    check_number(threshold, "threshold", least=0, most=1)


def check_min_face(min_face: float | None) -> None:
    """Raise an error unless the smallest face to find is None or a number above 0."""
    if min_face is not None:
        check_number(min_face, "min_face", above=0, unit="in photo pixels or as a share of the longer side")


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize an image. Halving it first, as often as possible, prevents aliasing."""
    while image.shape[0] >= 2 * height and image.shape[1] >= 2 * width:
        half = image.shape[1] // 2, image.shape[0] // 2
        image = cv2.resize(image, half, interpolation=cv2.INTER_LINEAR)
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def _best(found: np.ndarray) -> np.ndarray:
    """The boxes (n, 5) that suppression keeps, best first."""
    return found[suppress(found[:, :4], found[:, 4], iou=NMS_IOU)]


def whole_fours(image: np.ndarray) -> np.ndarray:
    """The image with up to three columns of FaceBoxes' mean colour at its right, which change no answer.

    The engine "int8" takes four columns at once.
    """
    missing = -image.shape[1] % 4
    if not missing:
        return image
    return cv2.copyMakeBorder(image, 0, 0, 0, missing, cv2.BORDER_CONSTANT, value=MEAN_COLOUR)


def _starts(length: int, side: float, step: float) -> list[int]:
    """The starts of tiles that cover a length. The last tile ends with it."""
    last = max(0, length - round(side))
    return [*range(0, last, max(1, round(step))), last] if last else [0]


def _whole(found: np.ndarray, tiles: np.ndarray, shape: tuple[int, ...], *, margin: float) -> np.ndarray:
    """Which boxes (n, 5) do not touch an edge of their tile (n, 4) that lies within the photo."""
    first, last = tiles[:, :2], tiles[:, 2:]
    cut = (first > -0.5) & (found[:, :2] < first + margin)
    cut |= (last < np.array([shape[1], shape[0]]) - 0.5) & (found[:, 2:4] > last - margin)
    return ~cut.any(axis=1)


def _within(found: np.ndarray, large: np.ndarray) -> np.ndarray:
    """Which boxes (n, 5) have their centre in a large one (m, 5)."""
    centres = (found[:, None, :2] + found[:, None, 2:4]) / 2
    return ((centres > large[:, :2]) & (centres < large[:, 2:4])).all(axis=2).any(axis=1)


def _small(found: np.ndarray, scale: float) -> np.ndarray:
    """Which boxes (n, 5) are as small as those of hidden faces."""
    return (found[:, 2] - found[:, 0]) * scale < SMALL_SIDE


def _signs(found: np.ndarray, scale: float) -> np.ndarray:
    """The boxes (m, 5) of a search (n, 5) that may be small faces, beside those that are faces."""
    clear = _best(found[found[:, 4] >= CLEAR_SCORE])
    faint = (found[:, 4] < CLEAR_SCORE) & (found[:, 4] >= FAINT_SCORE)
    small = found[faint & _small(found, scale)]
    return small[~_within(small, clear)]


def _patches(signs: np.ndarray, side: int, shape: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """The patches (left, top, side) around signs (n, 5) in a photo of this shape, in photo pixels."""
    last = np.maximum(0, np.array([shape[1], shape[0]]) - side)
    corners = np.clip(np.rint((signs[:, :2] + signs[:, 2:4] - side) / 2), 0, last)
    # A patch also serves the signs near its centre.
    kept = suppress(np.hstack([corners, corners + side]), signs[:, 4], iou=0.5)
    return [(left, top, side) for left, top in corners[kept].astype(int).tolist()]


def _default_scales(shape: tuple[int, ...]) -> tuple[float, float]:
    """Network pixels per photo pixel without `min_face`: of the whole photo, and where it is searched again."""
    pixels, longer = shape[0] * shape[1], max(shape[:2])
    coarse = min(1.0, (DEFAULT_PIXELS / pixels) ** 0.5)
    fine = min(1.0, max(coarse, NETWORK_MIN_FACE / (DEFAULT_SHARE * longer)))
    return (coarse if fine**2 >= WORTH * coarse**2 else fine), fine


def _scale(shape: tuple[int, ...], min_face: float) -> float:
    """Network pixels per photo pixel with `min_face`."""
    pixels, longer = shape[0] * shape[1], max(shape[:2])
    scale = NETWORK_MIN_FACE / (min_face * longer if min_face < 1 else min_face)
    if pixels * scale**2 > MAX_PIXELS:
        least = NETWORK_MIN_FACE * (pixels / MAX_PIXELS) ** 0.5
        raise ValueError(
            f"min_face={min_face:g} would enlarge this photo of {shape[1]}x{shape[0]} pixels to "
            f"{pixels * scale**2 / 1e6:.0f} megapixels; use {least:.0f} pixels or more, or cut the photo"
        )
    return scale


# PyTorch is loaded only where a network is wanted.
def _load_network(weights: str | Path) -> FaceBoxes:
    from m4kit.faceboxes import load_network

    return load_network(weights)


def _check_weights(weights) -> None:
    if isinstance(weights, str | PathLike):
        return
    from m4kit.faceboxes import FaceBoxes

    words = "a name, path or FaceBoxes"
    check_type(weights, "Detector", FaceBoxes, remedy='"m4kit" names the packaged one', words=words)

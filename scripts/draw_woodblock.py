"""Draw a portrait in the manner of Japanese woodblock prints, for `build_sample_images.py`.

Flat areas of few colours inside brush lines, on paper with a grain. Everything is drawn from the curves below; no
print was copied.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw
from scipy.interpolate import make_interp_spline

WIDTH, HEIGHT = 640, 800
_FINER = 2

PAPER, INK, SKIN, HAIR = (216, 196, 158), (38, 34, 36), (240, 222, 196), (44, 40, 44)
RED, ROSE, INDIGO, OCHRE, WHITE = (178, 62, 48), (196, 84, 66), (58, 78, 112), (204, 156, 72), (238, 232, 220)

Points = Sequence[tuple[float, float]]


def woodblock() -> Image.Image:
    """The picture, 640 x 800 pixels, RGB."""
    sheet = _Sheet()
    _dress(sheet)
    _head(sheet)
    _features(sheet)
    _ornaments(sheet)
    return sheet.printed()


class _Sheet:
    """A sheet of paper to draw on, in pixels of the picture."""

    def __init__(self):
        self.image = Image.new("RGB", (_FINER * WIDTH, _FINER * HEIGHT), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def area(self, corners: Points, colour: tuple[int, int, int]) -> None:
        """Fill a closed curve."""
        self.draw.polygon([tuple(point) for point in _FINER * _curve([*corners, corners[0]])], fill=colour)

    def line(self, points: Points, width: float = 3.0, colour: tuple[int, int, int] = INK) -> None:
        """Draw a brush line, which is thinner at its ends."""
        path = _FINER * _curve(points)
        radii = _FINER * width / 2 * (0.35 + 0.65 * np.sin(np.linspace(0.12, np.pi - 0.12, len(path))))
        for (x, y), radius in zip(path, radii, strict=True):
            self._disc(x, y, radius, colour)

    def dot(self, x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
        self._disc(_FINER * x, _FINER * y, _FINER * radius, colour)

    def _disc(self, x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
        self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def printed(self) -> Image.Image:
        """The sheet with the grain of paper and of wood."""
        flat = np.asarray(self.image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS), dtype=np.float32)
        noise = np.random.default_rng(3).normal(size=(HEIGHT, WIDTH)).astype(np.float32)
        paper = cv2.GaussianBlur(noise, (0, 0), 1.2)
        wood = cv2.GaussianBlur(noise, (0, 0), sigmaX=60, sigmaY=1.6)
        grain = 2 * paper / paper.std() + 2 * wood / wood.std()
        return Image.fromarray(np.clip(flat + grain[..., None], 0, 255).astype(np.uint8))


def _curve(points: Points) -> np.ndarray:
    """A smooth curve (300, 2) through points."""
    points = np.array(points, dtype=float)
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    spline = make_interp_spline(length, points, k=min(3, len(points) - 1))
    return spline(np.linspace(0, length[-1], 300))


def _dress(sheet: _Sheet) -> None:
    sheet.area([(70, 830), (130, 690), (250, 610), (360, 560), (470, 610), (560, 700), (620, 830)], INDIGO)
    sheet.area([(262, 500), (258, 560), (238, 604), (300, 760), (380, 640), (402, 560), (408, 430)], SKIN)
    sheet.area([(238, 596), (268, 640), (318, 745), (300, 790), (236, 690), (214, 622)], WHITE)
    sheet.area([(420, 548), (440, 590), (360, 720), (318, 790), (300, 745), (352, 650)], WHITE)
    sheet.line([(222, 604), (262, 660), (316, 760)], 4)
    sheet.line([(430, 548), (392, 660), (312, 780)], 4)
    for x, y in ((150, 740), (220, 770), (480, 690), (540, 760), (430, 750), (180, 690)):
        for turn in np.arange(5) * 2 * np.pi / 5:
            sheet.dot(x + 13 * np.cos(turn), y + 13 * np.sin(turn), 8, WHITE)
        sheet.dot(x, y, 5, OCHRE)


def _head(sheet: _Sheet) -> None:
    behind = [(236, 190), (300, 120), (400, 110), (480, 170), (505, 270), (500, 370), (468, 440), (420, 470)]
    sheet.area([*behind, (396, 400), (300, 250)], HAIR)
    sheet.area([(300, 110), (330, 50), (400, 40), (440, 80), (410, 130), (350, 140)], HAIR)
    far = [(207, 306), (203, 350), (207, 400), (220, 450), (244, 494), (276, 520), (312, 514), (356, 484)]
    near = [(394, 436), (412, 392)]
    sheet.area([(226, 250), *far, *near, (416, 330), (404, 250), (360, 210), (290, 200), (246, 220)], SKIN)
    hairline = [(424, 392), (420, 330), (408, 270), (372, 226), (310, 212), (256, 226), (228, 262)]
    crown = [(222, 236), (250, 180), (310, 140), (390, 142), (450, 190), (476, 270), (468, 350), (440, 400)]
    sheet.area([(214, 300), *crown, *hairline], HAIR)
    sheet.area([(414, 350), (432, 338), (440, 360), (430, 396), (414, 404)], SKIN)
    sheet.line([(414, 348), (434, 340), (440, 362), (428, 396), (414, 402)])
    sheet.line([(222, 262), *far, *near], 4)
    sheet.line([(398, 440), (410, 500), (402, 562)], 3.5)
    sheet.line([(262, 516), (258, 560), (236, 606)], 3.5)
    for strand in range(7):
        sheet.line(
            [
                (236 + 14 * strand, 216 - 9 * strand),
                (300 + 12 * strand, 158 - 3 * strand),
                (392 + 8 * strand, 156 + 8 * strand),
                (440 + 5 * strand, 250),
            ],
            1.1,
            (92, 84, 84),
        )


def _features(sheet: _Sheet) -> None:
    sheet.line([(226, 300), (244, 288), (268, 292)], 8)
    sheet.line([(304, 290), (338, 280), (372, 294)], 9)
    _eye(sheet, [(224, 346), (240, 334), (258, 336), (268, 346)], (246, 353), (245, 344), 7.5)
    _eye(sheet, [(306, 346), (324, 332), (346, 331), (368, 340)], (336, 353), (334, 342), 8.5)
    sheet.line([(226, 330), (246, 321), (268, 328)], 1.8)
    sheet.line([(306, 328), (336, 318), (366, 324)], 1.8)
    sheet.line([(280, 318), (268, 360), (250, 404), (246, 418), (256, 428), (272, 428)], 3.6)
    sheet.line([(288, 412), (294, 424), (286, 430)], 2.6)
    sheet.area([(238, 464), (252, 456), (262, 459), (274, 455), (298, 464), (278, 468), (258, 468)], RED)
    sheet.area([(240, 465), (258, 469), (278, 468), (298, 464), (284, 480), (264, 483), (248, 477)], ROSE)
    sheet.line([(236, 464), (256, 468), (278, 467), (300, 463)])
    sheet.line([(254, 492), (268, 496), (282, 492)], 1.6)


def _eye(sheet: _Sheet, lid: Points, below: tuple[float, float], iris: tuple[float, float], radius: float):
    sheet.area([*lid, below], WHITE)
    sheet.dot(*iris, radius, INK)
    sheet.line(lid, 5.5)
    sheet.line([lid[0], below, lid[-1]], 2.2)


def _ornaments(sheet: _Sheet) -> None:
    sheet.line([(250, 128), (350, 96), (470, 60)], 9, OCHRE)
    sheet.line([(420, 150), (470, 120), (530, 112)], 9, OCHRE)
    sheet.dot(532, 112, 16, RED)
    sheet.dot(250, 130, 12, RED)

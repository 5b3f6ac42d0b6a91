"""Make `sample_images/` from public-domain pictures in packages of PyPI and Debian.

The result is in the repository, so nobody needs to run this script. It documents what was done to each picture, and
gives the same bytes again with the same versions of Pillow and numpy. First, in a folder SOURCES, run

    pip download --no-deps scikit-image==0.26.0
    pip download --no-deps --python-version 37 --only-binary=:all: matplotlib==3.0.3
    apt-get download openclipart-png=1:0.18+dfsg-19 freecol=1.0.0-1

and unpack each package there (`unzip`, `dpkg -x`). Then run

    python scripts/build_sample_images.py SOURCES sample_images
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from draw_woodblock import woodblock
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from m4kit.images import load_image

LANCZOS = Image.Resampling.LANCZOS
HOPPER = "matplotlib/mpl-data/sample_data/grace_hopper.jpg"
LOVELACE = "matplotlib/mpl-data/sample_data/ada.png"
ASTRONAUT = "skimage/data/astronaut.png"
COFFEE = "skimage/data/coffee.png"
CLIPART = "usr/share/openclipart/png/"
YOUNG_MAN = CLIPART + "people/a_youngster_01.png"
GRANDFATHER = CLIPART + "people/grandpa_01.png"
STATUE = CLIPART + "people/man_head_mikhail_a.medve_01.png"
DARK_HAIR = CLIPART + "people/cm1.png"
PRINCESS = CLIPART + "unsorted/principessa.png"
HEAD_SCARF = CLIPART + "unsorted/signorinafoulard.png"
HANDEL = CLIPART + "people/handel_ganson.png"
BACH = CLIPART + "people/bach_ganson.png"
MONARCHS = "usr/share/games/freecol/default/resources/images/monarch/"
PETER = MONARCHS + "pierre.png"
FREDERICK = MONARCHS + "frederik.png"
RED_JACKET = MONARCHS + "segoyewatha.png"

# The part of each picture that is framed: left, top, right, bottom in its pixels.
PORTRAITS = {
    ASTRONAUT: (92, 0, 356, 330),
    HOPPER: (70, 30, 462, 520),
    YOUNG_MAN: (20, 90, 720, 965),
    GRANDFATHER: (60, 130, 780, 1030),
    LOVELACE: (130, 212, 390, 537),
    PRINCESS: (30, 0, 350, 400),
    DARK_HAIR: (80, 0, 464, 480),
    STATUE: (-400, -100, 5200, 6900),
}
# The pictures of `art`: their name, the margin around the source in shares of its sides, and the height in pixels.
ART = {
    PETER: ("oil", 0, 600),
    FREDERICK: ("engraving", 0, 600),
    RED_JACKET: ("lithograph", 0, 600),
    HEAD_SCARF: ("comic", 0.15, 620),
    HANDEL: ("caricature_1", 0.3, 480),
    BACH: ("caricature_2", 0.5, 600),
    STATUE: ("sculpture", 0.5, 800),
}
# Centre in percent of the wall's width and height, height in percent of the wall's, rotation in degrees.
SMALL_WALL = [
    (ASTRONAUT, 19, 30, 48, 0),
    (GRANDFATHER, 49, 27, 40, 6),
    (HOPPER, 81, 32, 54, -3),
    (LOVELACE, 14, 78, 34, -8),
    (YOUNG_MAN, 44, 74, 42, 0),
    (PRINCESS, 76, 79, 34, 10),
]
LARGE_WALL = [
    (HOPPER, 12, 26, 38, 0),
    (YOUNG_MAN, 29, 22, 26, -10),
    (STATUE, 50, 30, 52, 0),
    (GRANDFATHER, 71, 22, 28, 4),
    (PRINCESS, 89, 26, 34, -6),
    (ASTRONAUT, 11, 75, 34, 8),
    (DARK_HAIR, 30, 69, 30, 0),
    (LOVELACE, 49, 79, 32, 0),
    (GRANDFATHER, 69, 72, 36, -20),
    (ASTRONAUT, 88, 75, 40, 0),
]
# People without their background, in front of a wall, those behind first: centre in percent of the wall's width, top
# and height in percent of its height. Those in front are larger.
CROWD = [
    (STATUE, 8, 3, 46),
    (YOUNG_MAN, 37, 8, 58),
    (DARK_HAIR, 68.5, 7, 59),
    (GRANDFATHER, 93.5, 33, 54),
    (ASTRONAUT, 12, 40, 120),
    (PRINCESS, 47, 44, 64),
    (HOPPER, 75, 35, 86),
]
# The outlines of the people in the photos, as x,y in pixels; the drawings have no background.
OUTLINES = {
    ASTRONAUT: (
        "259,22 237,16 207,20 156,58 155,98 157,104 170,116 175,133 185,146 152,151 140,158 127,175 "
        "122,200 115,212 100,220 62,248 48,275 30,330 18,400 24,470 45,511 257,511 261,483 276,460 "
        "282,433 300,397 315,380 347,354 357,324 352,287 340,262 303,233 292,207 261,177 261,162 "
        "269,149 273,135 294,111 300,92 296,58 276,31"
    ),
    HOPPER: (
        "197,49 178,66 175,84 156,102 146,104 146,178 158,200 158,240 170,270 185,292 200,300 "
        "203,322 160,350 121,360 80,368 61,380 47,390 30,440 18,520 10,599 511,599 511,427 492,393 "
        "461,376 422,366 365,342 331,314 331,300 350,283 361,262 375,207 375,185 369,183 371,135 "
        "369,103 353,86 344,65 328,51 301,41 263,30 239,35"
    ),
}


def main() -> None:
    """Write every sample image."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=Path, help="folder with the unpacked packages")
    parser.add_argument("out", type=Path, help="the folder sample_images")
    arguments = parser.parse_args()
    pictures = {name: read(arguments.sources, name) for name in {*PORTRAITS, *ART, COFFEE}}
    arguments.out.mkdir(exist_ok=True)

    def save(image: Image.Image, name: str, *, quality: int = 88, **options) -> None:
        image.save(arguments.out / name, quality=quality, optimize=True, **options)

    save(pictures[ASTRONAUT], "astronaut.jpg", quality=92)
    save(pictures[HOPPER], "grace_hopper.jpg", quality=92)
    save(pictures[COFFEE], "no_face.jpg")
    save(pictures[YOUNG_MAN].crop((0, 100, 794, 1123)), "painted_young_man.jpg")
    grandfather = cut(pictures[GRANDFATHER], (-100, 40, 894, 1038)).resize((480, 482), LANCZOS)
    save(grandfather, "painted_grandfather.jpg", quality=92)
    save(pictures[LOVELACE], "drawn_ada_lovelace.jpg", quality=92)
    save(pictures[PRINCESS].resize((804, 828), LANCZOS), "drawn_princess.jpg")
    save(wall(pictures, SMALL_WALL, (1200, 900)), "group.jpg")
    save(wall(pictures, LARGE_WALL, (4000, 2600)), "large_group.jpg", quality=80)
    save(crowd(arguments.sources, CROWD, (1200, 800)), "crowd.jpg")

    # A camera that is held upright stores the picture rotated, with an EXIF tag for the rotation.
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = pictures[HOPPER].crop((56, 0, 476, 560)).transpose(Image.Transpose.ROTATE_90)
    save(turned, "turned_by_exif.jpg", exif=exif)

    (arguments.out / "art").mkdir(exist_ok=True)
    for source, (name, margin, height) in ART.items():
        width, tall = pictures[source].size
        margins = round(margin * width), round(margin * tall)
        whole = cut(pictures[source], (-margins[0], -margins[1], width + margins[0], tall + margins[1]))
        whole = whole.resize((round(height * whole.width / whole.height), height), LANCZOS)
        save(whole, f"art/{name}.jpg", quality=90)
    save(woodblock(), "art/woodblock.jpg")


def read(sources: Path, name: str) -> Image.Image:
    """Read a source picture, which may be anywhere below the folder."""
    return Image.fromarray(load_image(path_of(sources, name)))


def path_of(sources: Path, name: str) -> Path:
    """Where a source picture is."""
    found = sorted(sources.glob(f"**/{name}"))
    if not found:
        raise SystemExit(
            f"expected {name} below {sources}, found nothing; unpack its package there (see this script's docstring)"
        )
    return found[0]


def wall(
    pictures: dict[str, Image.Image], portraits: list[tuple[str, int, int, int, int]], size: tuple[int, int]
) -> Image.Image:
    """Paste framed portraits on a wall."""
    width, height = size
    canvas = empty_wall(size)
    for name, x, y, percent, turn in portraits:
        portrait = framed(cut(pictures[name], PORTRAITS[name]), round(percent * height / 100), turn)
        corner = (round(x * width / 100 - portrait.width / 2), round(y * height / 100 - portrait.height / 2))
        shade = (
            portrait.getchannel("A").filter(ImageFilter.GaussianBlur(height / 150)).point(lambda v: v // 2)
        )
        offset = round(height / 120)
        canvas.paste((40, 44, 42), (corner[0] + offset, corner[1] + offset), shade)
        canvas.paste(portrait, corner, portrait)
    return canvas


def crowd(sources: Path, people: list[tuple[str, float, float, float]], size: tuple[int, int]) -> Image.Image:
    """Paste people in front of a wall, one over the other."""
    width, height = size
    canvas = empty_wall(size)
    for name, x, top, percent in people:
        person = cut_out(path_of(sources, name), OUTLINES.get(name))
        tall = round(percent * height / 100)
        person = person.resize((round(person.width * tall / person.height), tall), LANCZOS)
        canvas.paste(person, (round(x * width / 100 - person.width / 2), round(top * height / 100)), person)
    return canvas


def empty_wall(size: tuple[int, int]) -> Image.Image:
    """A wall that is lit from the upper left."""
    across, down = np.meshgrid(*(np.linspace(0, 1, length) for length in size))
    light = 1.08 - 0.3 * np.hypot(across - 0.2, down)
    return Image.fromarray((np.array([150, 168, 160]) * light[..., None]).clip(0, 255).astype(np.uint8))


def cut_out(path: Path, outline: str | None) -> Image.Image:
    """A person without the background, RGBA; holes in a drawing are white."""
    with Image.open(path) as file:
        picture = file.convert("RGBA")
    if outline is not None:
        inside = Image.new("L", picture.size)
        points = [tuple(map(int, point.split(","))) for point in outline.split()]
        ImageDraw.Draw(inside).polygon(points, fill=255)
        picture.putalpha(inside.filter(ImageFilter.GaussianBlur(1)))
    else:
        drawn = ndimage.binary_fill_holes(np.asarray(picture.getchannel("A")) > 128)
        whole = Image.new("RGBA", picture.size, "white")
        whole.putalpha(Image.fromarray(255 * drawn.astype(np.uint8)))
        whole.alpha_composite(picture)
        picture = whole
    return picture.crop(picture.getbbox())


def cut(picture: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Cut a box out of the picture, white outside it."""
    left, top, right, bottom = box
    part = Image.new("RGB", (right - left, bottom - top), "white")
    part.paste(picture, (-left, -top))
    return part


def framed(picture: Image.Image, height: int, turn: float) -> Image.Image:
    """Put the picture into a wooden frame with a mount, of a given height, rotated counter-clockwise; RGBA."""
    mount, frame = round(height * 0.04), round(height * 0.035)
    inner = height - 2 * (mount + frame)
    picture = picture.resize((round(inner * picture.width / picture.height), inner), LANCZOS)
    whole = Image.new("RGB", (picture.width + 2 * (mount + frame), height), (92, 60, 36))
    whole.paste((240, 236, 226), (frame, frame, whole.width - frame, height - frame))
    whole.paste(picture, (mount + frame, mount + frame))
    whole.putalpha(255)
    margin = round(height * 0.25)
    padded = Image.new("RGBA", (whole.width + 2 * margin, whole.height + 2 * margin))
    padded.paste(whole, (margin, margin))
    return padded.rotate(turn, Image.Resampling.BICUBIC)


if __name__ == "__main__":
    main()

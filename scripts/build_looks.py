"""Draw faces from the front, three-quarter and side views in clay and in texture: `build/looks.html`.

Build the page before and after a change of the face model, the weights, the light or the texture, into two folders,
and compare: `--before` shows the pictures of the earlier folder, too. The faces are the largest ones of each photo.
"""

import argparse
import html
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import m4kit
from m4kit.camera import cut_square
from m4kit.datasets import read_aflw_crops, read_youtube_faces
from m4kit.images import list_images
from m4kit.pages import picture_url
from m4kit.visualize import mesh_picture

ROOT = Path(__file__).resolve().parent.parent
YAWS = (-90, -45, 0, 45, 90)
SIDE = 300
AFLW = ("image07306", "image09845", "image13307", "image24993", "image31423", "image39461", "image39926")
YOUTUBE = ("training_Baburam_Bhattari_30", "training_Katja_Riemann_02", "training_Tim_Howard_30")
"""Faces of `read_aflw_crops` and `read_youtube_faces` that no training sees."""

BOX = np.array([0.184, 0.095, 0.816, 0.728])
"""The box in these sets' pictures of which `camera.crop_from_box` makes the whole picture, as a share of its side."""

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Looks</title>
<style>body {{ font: 15px/1.5 system-ui, sans-serif; margin: 20px }} img {{ max-width: 100% }}</style></head>
<body><h1>Faces from the front and the sides</h1><p>The photo, then yaw {yaws} degrees.</p>
{rows}
</body></html>
"""


def face_rows(image: np.ndarray, face: m4kit.Face) -> np.ndarray:
    """Draw the photo around a face, then turned by each of `YAWS` the face in clay, in texture, and its head."""
    photo = cut_square(image, face.crop, SIDE, border=cv2.BORDER_REPLICATE)
    rows = []
    for shown, colour in ((face, "clay"), (face, "texture"), (face.head, "clay")):
        first = np.full_like(photo, 255) if rows else photo
        views = (mesh_picture(shown, image=image, colour=colour, yaw=yaw, side=SIDE) for yaw in YAWS)
        rows.append(np.hstack([first, *views]))
    return np.vstack(rows)


def photo_faces(predictor: m4kit.Predictor, photos: Sequence[Path], most: int) -> Iterator[tuple]:
    """Yield a title, the image and the face for each of at most so many faces of each photo."""
    for path in list_images(photos):
        prediction = predictor(path)
        for number, face in list(enumerate(prediction, 1))[:most]:
            yield f"{path.name}, face {number}", prediction.image, face


def held_out_faces(predictor: m4kit.Predictor, data: Path) -> Iterator[tuple]:
    """Yield a title, the image and the face of `AFLW` and `YOUTUBE` in the folder with both sets' zips."""
    for file, read, names in (
        ("aflw_train.zip", read_aflw_crops, AFLW),
        ("youtube_faces.zip", read_youtube_faces, YOUTUBE),
    ):
        for sample in read(data / file):
            if sample.name in names:
                prediction = predictor(sample.image(), boxes=[BOX * sample.crop.size])
                yield sample.name, prediction.image, prediction[0]


def main(arguments: list[str] | None = None) -> Path:
    """Predict the photos, and write their pictures into a folder and onto the page beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "photos",
        nargs="*",
        type=Path,
        help="photos and folders; by default the sample images, and ten held-out faces of AFLW and YouTube Faces "
        "if they are in the folder that M4KIT_SHARED names (default ../shared)",
    )
    parser.add_argument("--faces", type=int, default=3, help="faces of each photo (default 3)")
    parser.add_argument(
        "--weights", default="m4net-base", help="registered name or path (default m4net-base)"
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "build" / "looks", help="folder of the pictures"
    )
    parser.add_argument("--before", type=Path, help="the `--output` of an earlier run")
    chosen = parser.parse_args(arguments)
    predictor = m4kit.Predictor(network=chosen.weights)
    faces = [photo_faces(predictor, chosen.photos or [ROOT / "sample_images"], chosen.faces)]
    data = Path(os.environ.get("M4KIT_SHARED", ROOT.parent / "shared")) / "data"
    if not chosen.photos and data.is_dir():
        faces.append(held_out_faces(predictor, data))
    chosen.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for title, image, face in (one for some in faces for one in some):
        file = f"{title}.png"
        Image.fromarray(face_rows(image, face)).save(chosen.output / file)
        rows.append(f"<h2>{html.escape(title)}</h2>")
        for folder in (chosen.before, chosen.output):
            if folder and (folder / file).is_file():
                picture = m4kit.load_image(folder / file)
                url = picture_url(picture, 1 << 20, sides=[picture.shape[1]])
                rows.append(f'<img alt="{html.escape(folder.name)}" src="{url}">')
    page = chosen.output.with_suffix(".html")
    page.write_text(PAGE.format(yaws=", ".join(map(str, YAWS)), rows="\n".join(rows)), encoding="utf-8")
    return page


if __name__ == "__main__":
    print(main())

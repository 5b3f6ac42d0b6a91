"""Draw faces from the front, three-quarter and side views in clay and in texture: `build/looks.html`.

Build the page before and after a change of the face model, the weights, the light or the texture, and compare. The
faces are the largest ones of each photo.
"""

import argparse
import html
from pathlib import Path

import cv2
import numpy as np

import m4kit
from m4kit.camera import cut_square
from m4kit.images import list_images
from m4kit.pages import picture_url
from m4kit.visualize import mesh_picture

ROOT = Path(__file__).resolve().parent.parent
YAWS = (-90, -45, 0, 45, 90)
SIDE = 300
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Looks</title>
<style>body {{ font: 15px/1.5 system-ui, sans-serif; margin: 20px }} img {{ max-width: 100% }}</style></head>
<body><h1>Faces from the front and the sides</h1><p>The photo, then yaw {yaws} degrees.</p>
{rows}
</body></html>
"""


def face_rows(image: np.ndarray, face: m4kit.Face) -> np.ndarray:
    """The photo around a face, then the face in clay and below it in texture, turned by each of `YAWS`."""
    photo = cut_square(image, face.crop, SIDE, border=cv2.BORDER_REPLICATE)
    rows = []
    for colour, first in (("clay", photo), ("texture", np.full_like(photo, 255))):
        views = (mesh_picture(face, image=image, colour=colour, yaw=yaw, side=SIDE) for yaw in YAWS)
        rows.append(np.hstack([first, *views]))
    return np.vstack(rows)


def main(arguments: list[str] | None = None) -> Path:
    """Predict the photos and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "photos", nargs="*", type=Path, help="photos and folders; by default the sample images"
    )
    parser.add_argument("--faces", type=int, default=3, help="faces of each photo (default 3)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "looks.html")
    chosen = parser.parse_args(arguments)
    predictor = m4kit.Predictor()
    rows = []
    for path in list_images(chosen.photos or ROOT / "sample_images"):
        prediction = predictor(path)
        for number, face in list(enumerate(prediction, 1))[: chosen.faces]:
            picture = face_rows(prediction.image, face)
            url = picture_url(picture, 1 << 20, sides=[picture.shape[1]])
            rows.append(f'<h2>{html.escape(path.name)}, face {number}</h2>\n<img alt="views" src="{url}">')
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    page = PAGE.format(yaws=", ".join(map(str, YAWS)), rows="\n".join(rows))
    chosen.output.write_text(page, encoding="utf-8")
    return chosen.output


if __name__ == "__main__":
    print(main())

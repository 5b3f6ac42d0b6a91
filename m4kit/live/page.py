"""Live pages as HTML files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from m4kit.files import write_whole
from m4kit.head_frame import HeadFrame
from m4kit.live.content import LiveFace, content
from m4kit.live.packing import Packer
from m4kit.live.scripts import CANVAS, TRIANGLE, part, read
from m4kit.pages import image_url, render_page
from m4kit.prediction import Face, Prediction, check_face, check_prediction
from m4kit.vertex_colours import VertexColours, clay
from m4kit.visualize.mesh_picture import clear_still
from m4kit.visualize.pictures import small_png

_FILES = ("geometry", "page_data", "live_model", "live_face", "live_controls", "live_study", "live_page")
_STILL_SIDE = 420


def live_page(
    faces: Sequence[LiveFace],
    *,
    title: str,
    facts: str = "",
    still: bytes = b"",
    deviations: np.ndarray | None = None,
    study: Callable[[Packer], dict] | None = None,
    **settings,
) -> str:
    """A page of faces as HTML.

    `still` is a PNG or JPEG for browsers without JavaScript or WebGL. `deviations` are as for `content`. `study` adds
    the measured accuracy of head weights to the page's arrays and describes it. `settings` are the page's at the
    start: `face` (its number), `beside` (that of the face beside it), its `weights` and `coefficients`, `colour`,
    `opacity`, `view` (a camera position), `show` (layers), `open` (the panels that are open, "modes" or "heads"),
    `leastDistance` (mm at the end of the scale of distances, at least).
    """
    found, packer = content(faces, deviations=deviations)
    found |= settings
    if study is not None:
        found["study"] = study(packer)
    kind = "png" if still.startswith(b"\x89PNG") else "jpeg"
    return render_page(
        "live.html",
        title=title,
        facts=facts,
        still=image_url(still, kind) if still else "",
        style=live_style(),
        data=data_blocks(found, packer),
        script=live_script("live_start"),
    )


def live_style() -> Markup:
    """The style of live pages, for `<style>`."""
    return Markup(read("live.css"))


def live_script(*more: str) -> Markup:
    """The script of live pages, for `<script>`, with `more` files of `js/` at its end."""
    parts = [part("CANVAS", *CANVAS), part("TRIANGLE", *TRIANGLE)]
    return Markup("\n".join([*parts, *(read(f"{name}.js") for name in (*_FILES, *more))]))


def data_blocks(found: dict, packer: Packer) -> Markup:
    """A page's content and arrays as blocks of its HTML."""
    # An end tag inside would end the block.
    text = json.dumps(found, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    return Markup(
        f'<script type="application/json" id="content">{text}</script>\n'
        f'<script type="application/octet-stream" id="arrays">{packer.text()}</script>'
    )


def save_page(page: str, path: str | Path | None) -> str | Path:
    """Write a page to a file and give its path; without a path, give the page."""
    if path is None:
        return page
    path = Path(path)
    write_whole(path, page.encode())
    return path


def prediction_page(
    prediction: Prediction, *, other: Prediction | None = None, still: bytes = b"", **settings
) -> str:
    """The page of a prediction's faces, and of those of an `other` prediction to show beside them.

    Other arguments are as for `live_page`. Raises `ValueError` for a prediction without faces.
    """
    check_prediction(prediction, "live page")
    if not len(prediction):
        raise ValueError(
            f"live page: expected a prediction with faces, got none in {prediction.source}; try a larger photo"
        )
    given = [(prediction, f"Face {k + 1}", face) for k, face in enumerate(prediction)]
    given += [(other, f"Other prediction, face {k + 1}", face) for k, face in enumerate(other or ())]
    faces = [LiveFace.of(face, title=title, image=of.image) for of, title, face in given]
    count = len(prediction)
    return live_page(
        faces,
        title=Path(prediction.source).name,
        facts=f"{count} {'face' if count == 1 else 'faces'} in 3D",
        still=still or _still(prediction[0], faces[0].texture),
        **settings,
    )


def face_page(face: Face) -> str:
    """The page of one face, with its photo if it has one."""
    image = None if face.origin is None else face.origin.image
    one = LiveFace.of(check_face(face, "face page"), title="Face", image=image)
    return live_page([one], title="A face in 3D", still=_still(face, one.texture))


def _still(face: Face, texture: np.ndarray | None) -> bytes:
    """The face from the front as a PNG without a background, in colours of its vertices (n, 3) or in clay."""
    coloured = clay(face.model)
    if texture is not None:
        coloured = VertexColours(
            texture[: len(coloured.colours)], filled=np.zeros(len(coloured.colours), bool)
        )
    vertices = HeadFrame.of(face).from_photo(face.vertices)
    return small_png(clear_still(face.model, vertices, coloured, rotation=np.eye(3), side=_STILL_SIDE))

"""The result of a photo: a `Prediction`, which is a sequence of `Face`s."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from m4kit.camera import Crop, HeadPose, cut_crop, decompose, head_pose, head_poses
from m4kit.checks import check_array, check_number, check_type, read_only, shown
from m4kit.face_model import EXPRESSION_MODES, IDENTITY_MODES, FaceModel, check_model
from m4kit.images import check_image
from m4kit.parameters import PARAMETERS, fuse, landmarks_in_crop, split

if TYPE_CHECKING:
    import open3d
    import pandas
    import trimesh

    from m4kit.visualize.notebook_figure import NotebookFigure


_LARGEST_SIDE = 32_766
"""The largest side of a picture, in pixels, that OpenCV resizes."""


@dataclass(frozen=True, slots=True)
class FaceBox:
    """A face's box in photo pixels (x right, y down) and the detector's score in [0, 1].

    The score is 1 for a box that the user gave.
    """

    left: float
    top: float
    right: float
    bottom: float
    score: float = 1.0

    def __post_init__(self):
        for name in self.__slots__:
            check_number(getattr(self, name), f"FaceBox: {name}")

    @property
    def width(self) -> float:
        """Width in photo pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height in photo pixels."""
        return self.bottom - self.top

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array([self.left, self.top, self.right, self.bottom, self.score], dtype=dtype)


class Assessment(NamedTuple):
    """What the system knows about a face's error: see `Face.failure_probability` and `Face.reasons`."""

    failure_probability: float | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Where a face comes from: the photo (H, W, 3) uint8 RGB, the network and the detector.

    `network` and `detector` are `weights.fingerprint`s. They are empty for head weights set by hand, for a box that
    the user gave, and for a detector of the user's. `assess` judges faces of this origin
    (`m4kit.confidence.assess`).
    """

    image: np.ndarray = field(repr=False)
    network: str = ""
    detector: str = ""
    assess: Callable[[Sequence[Face]], list[Assessment]] | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False, repr=False)
class Face:
    """One face: the network's output and the geometry that follows from it.

    `heads` (k, 62) are the heads' raw parameters (not whitened) and `head_weights` (k,) their weights. The
    weighted sum is `parameters` (62,): a (3, 4) camera row by row, then 40 identity and 10 expression
    coefficients in standard deviations. `origin` is None for a face that no `Predictor` made. `track` is the number
    of the face in a video, the same in all frames; None in a photo.

    Arrays of a face are read-only, because several faces and calls share them: change a `copy()`.

    Raises `ValueError` for heads or weights of other shapes or not finite, or a face model with another number of
    modes.
    """

    box: FaceBox
    crop: Crop
    heads: np.ndarray
    head_weights: np.ndarray
    model: FaceModel
    origin: Origin | None = None
    track: int | None = None

    def __post_init__(self):
        check_type(self.box, "Face: box", FaceBox, remedy="FaceBox(left, top, right, bottom) makes one")
        check_type(self.crop, "Face: crop", Crop, remedy="Crop(left, top, size) makes one")
        check_model(self.model, "Face: model")
        check_type(
            self.origin, "Face: origin", Origin, NoneType, remedy="leave it out for a face without a photo"
        )
        for name, value in self.crop._asdict().items():
            check_number(value, f"Face: crop.{name}", above=0 if name == "size" else -math.inf)
        for name in ("heads", "head_weights"):
            value = getattr(self, name)
            if not (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
                value = check_array(value, f"Face: {name}", "numbers")
            # A view, because the array itself belongs to the caller.
            object.__setattr__(self, name, read_only(value))
        heads, weights = self.heads.shape, self.head_weights.shape
        modes = len(self.model.identity_modes), len(self.model.expression_modes)
        if len(heads) != 2 or not heads[0] or heads[1] != PARAMETERS or weights != heads[:1]:
            raise ValueError(
                f"Face: expected heads (k, {PARAMETERS}) and weights (k,), got {heads} and {weights}"
            )
        if not (np.isfinite(self.heads).all() and np.isfinite(self.head_weights).all()):
            raise ValueError(
                "Face: expected finite heads and weights, got NaN or infinity; check the network"
            )
        if modes != (IDENTITY_MODES, EXPRESSION_MODES):
            raise ValueError(
                f"Face: expected a face model of {IDENTITY_MODES} identity and {EXPRESSION_MODES} expression modes, "
                f"got {modes[0]} and {modes[1]}; take the model of the network"
            )

    def __repr__(self) -> str:
        return f"Face({_in_words(self)})"

    def __reduce__(self):
        return operator.getitem, (self._alone(), 0)

    @cached_property
    def parameters(self) -> np.ndarray:
        """Fused parameters, (62,)."""
        return read_only(fuse(self.heads, self.head_weights))

    @property
    def camera(self) -> np.ndarray:
        """Camera (3, 4) from the model frame (mm) to the crop frame (crop pixels, y up, origin at the centre)."""
        return split(self.parameters).camera

    @property
    def identity(self) -> np.ndarray:
        """Identity coefficients, (40,), in standard deviations."""
        return split(self.parameters).identity

    @property
    def expression(self) -> np.ndarray:
        """Expression coefficients, (10,), in standard deviations."""
        return split(self.parameters).expression

    @property
    def score(self) -> float:
        """The detector's score, from 0 to 1; 1 for a box that the user gave."""
        return self.box.score

    @property
    def rotation(self) -> np.ndarray:
        """Rotation (3, 3) from the model frame to the photo's view (x right, y up, z towards the viewer)."""
        return decompose(self.camera)[1]

    @cached_property
    def pose(self) -> HeadPose:
        """Yaw, pitch and roll in degrees."""
        return head_pose(self.camera)

    @cached_property
    def shape(self) -> np.ndarray:
        """Vertices in the model frame, (V, 3) in mm: the face without its pose."""
        return read_only(self.model.vertices(self.identity, self.expression))

    @cached_property
    def vertices(self) -> np.ndarray:
        """Vertices over the photo, (V, 3): x, y in photo pixels, z in photo pixels towards the viewer."""
        return self._to_photo(self.shape)

    @cached_property
    def landmarks(self) -> np.ndarray:
        """The 68 iBUG landmarks over the photo, (68, 3), in the same frame as `vertices`."""
        return self._to_photo(self.model.landmarks(self.identity, self.expression))

    @property
    def triangles(self) -> np.ndarray:
        """Triangles of the mesh as vertex indices, (T, 3), counter-clockwise seen from outside."""
        return self.model.triangles

    @cached_property
    def head(self) -> Face:
        """The same face with the whole head as its mesh; its first vertices are the face's.

        Whatever takes a face takes it, too: `face.head.save("head.ply")`, `visualize.mesh_picture(face.head)`. Raises
        `FaceModelError` for a face model without a head.
        """
        return replace(self, model=self.model.head)

    @cached_property
    def image(self) -> np.ndarray:
        """The crop that the network saw, (120, 120, 3) uint8 RGB.

        Raises `ValueError` for a face that no `Predictor` made: its photo is not known.
        """
        if self.origin is None:
            raise ValueError("face.image: this face has no photo; only faces of a prediction have one")
        return read_only(cut_crop(self.origin.image, self.crop))

    @property
    def failure_probability(self) -> float | None:
        """Estimated probability, 0 to 1, that the landmarks' NME is above 8 % (`m4kit.confidence.failure`).

        Computed at the first use, without running the network. None for a face that no `Predictor` made, and for
        an answer of another network than the one that the score is fitted for; `confidence.failure.note_of` gives
        the reason. The score is fitted to two passes and one view: for other settings it is a guess.
        """
        return self._assessment.failure_probability

    @property
    def reasons(self) -> tuple[str, ...]:
        """Warnings about this prediction: "too dark", "heads disagree about the jaw", ...

        By the rules of `confidence.reasons.REASONS`. Empty if no rule applies, or for a face that no `Predictor`
        made.
        """
        return self._assessment.reasons

    @cached_property
    def _assessment(self) -> Assessment:
        assess = None if self.origin is None else self.origin.assess
        return Assessment() if assess is None else assess([self])[0]

    def with_head_weights(self, weights: Sequence[float] | np.ndarray) -> Face:
        """Return the same face with other head weights (k,), without running the network.

        Raises `ValueError` unless there is one weight for each head and they sum to 1.
        """
        weights = check_array(weights, "head weights", "a number for each head")
        if weights.shape != (len(self.heads),) or not abs(weights.sum() - 1) < 1e-4:
            raise ValueError(
                f"expected one weight for each of the {len(self.heads)} heads with a sum of 1, "
                f"got {weights.tolist()}; divide them by their sum"
            )
        origin = None if self.origin is None else replace(self.origin, network="")
        return replace(self, head_weights=weights, origin=origin)

    def moved(self, scale: float, corner: tuple[float, float] = (-0.5, -0.5)) -> Face:
        """Return the face in a photo that is cut at `corner` and then scaled; it has no `origin`.

        `corner` (x, y) is the new upper left corner in photo pixels; the whole photo starts at (-0.5, -0.5).
        """
        check_number(scale, "scale", above=0)
        box = (np.asarray(self.box)[:4] - np.tile(corner, 2)) * scale - 0.5
        left, top = (np.array(self.crop[:2]) - corner) * scale - 0.5
        crop = Crop(float(left), float(top), self.crop.size * scale)
        return replace(self, box=FaceBox(*box.tolist(), score=self.score), crop=crop, origin=None)

    def plot(self, *, side: int = 240) -> NotebookFigure:
        """A close-up in four pictures: landmarks, head pose, translucent mesh and solid mesh.

        `side` is the side of each picture in pixels.
        """
        from m4kit.visualize.figures import faces_figure

        if self.origin is None:
            raise ValueError("plot: this face has no photo; only faces of a prediction have one")
        return faces_figure(self._alone(), side=side)

    def to_dict(self) -> dict:
        """Box, score, pose, landmarks, parameters and warnings as plain numbers, lists and words."""
        return {
            "box": np.asarray(self.box)[:4].tolist(),
            "score": float(self.score),
            "pose_degrees": {
                name: float(angle) if math.isfinite(angle) else None
                for name, angle in zip(HeadPose._fields, self.pose, strict=True)
            },
            "landmarks": self.landmarks.astype(float).tolist(),
            "parameters": self.parameters.astype(float).tolist(),
            "failure_probability": self.failure_probability,
            "reasons": list(self.reasons),
        }

    def to_trimesh(self, *, colour: str = "clay") -> trimesh.Trimesh:
        """Return the mesh in the model frame (mm) for trimesh; `colour` is a mode of `vertex_colours`."""
        import trimesh

        return trimesh.Trimesh(self.shape, self.triangles, vertex_colors=self._colours(colour), process=False)

    def to_open3d(self, *, colour: str = "clay") -> open3d.geometry.TriangleMesh:
        """Return the mesh in the model frame (mm) for Open3D; `colour` is a mode of `vertex_colours`."""
        from m4kit.open3d_loading import load_open3d

        o3d = load_open3d()
        mesh = o3d.geometry.TriangleMesh(
            o3d.utility.Vector3dVector(self.shape.astype(float)), o3d.utility.Vector3iVector(self.triangles)
        )
        mesh.vertex_colors = o3d.utility.Vector3dVector(self._colours(colour) / 255)
        mesh.compute_vertex_normals()
        return mesh

    def save(self, path: str | Path, *, colour: str = "clay") -> Path:
        """Write the mesh in the model frame (mm) as OBJ, PLY, GLB or STL, by the ending; gives the path.

        `colour` is a mode of `vertex_colours`: "texture" writes the photo's colours. Raises `export.ExportError`
        as `export.save_mesh` does.
        """
        from m4kit.export import save_mesh

        return save_mesh(path, self.shape, self.triangles, colours=self._colours(colour))

    def to_html(self, path: str | Path | None = None) -> str | Path:
        """The face live in 3D, as `Prediction.to_html`; without a photo, the page shows no texture."""
        from m4kit.live import face_page, save_page

        return save_page(face_page(self), path)

    def _colours(self, mode: str) -> np.ndarray:
        from m4kit.vertex_colours import vertex_colours

        return vertex_colours(self, mode).colours

    def _alone(self) -> Prediction:
        image = np.zeros((1, 1, 3), np.uint8) if self.origin is None else self.origin.image
        return Prediction(image, (self,))

    def _to_photo(self, points: np.ndarray) -> np.ndarray:
        camera = self.camera
        return read_only(self.crop.to_photo(points @ camera[:, :3].T + camera[:, 3]))

    def _ipython_display_(self) -> None:
        if self.origin is None:
            print(repr(self))
        else:
            _show(self.plot(), self._alone(), repr(self))


@dataclass(frozen=True, eq=False, repr=False)
class Prediction(Sequence):
    """A photo, `image` (H, W, 3) uint8 RGB, and its faces, in the order of their boxes' areas, largest first.

    It is a sequence: `prediction[0]` is a face; slices, lists of indices and masks give predictions, so
    `prediction[prediction.to_dataframe()["yaw"] > 30]` keeps the faces turned to the left. `source` is the photo's
    name. `network` is the fingerprint of the heads that answered (`M4Net.heads_digest`), empty where it is not known.
    `frame` and `seconds` are the number of a video's frame, from 0, and the time at which it is shown; None for a
    photo.
    """

    image: np.ndarray
    faces: tuple[Face, ...]
    source: str = "<array>"
    network: str = ""
    frame: int | None = None
    seconds: float | None = None

    def __post_init__(self):
        image = read_only(check_image(self.image, name="Prediction"))
        remedy = "m4kit.predict makes them"
        check_type(self.source, "Prediction: source", str, remedy="give the photo's name")
        check_type(self.faces, "Prediction: faces", Sequence, remedy=remedy, words="a list of faces")
        faces = tuple(check_type(face, "Prediction: faces", Face, remedy=remedy) for face in self.faces)
        object.__setattr__(self, "image", image)
        object.__setattr__(self, "faces", faces)

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return replace(self, faces=self.faces[index])
        if np.ndim(index) == 0:
            if not isinstance(index, Integral):
                raise TypeError(f"expected a face's number, a slice, a list or a mask, got {shown(index)}")
            if not -len(self) <= index < len(self):
                raise IndexError(f"expected a face's number below {len(self)}, got {index}")
            return self.faces[index]
        chosen = np.asarray(index)
        if chosen.dtype == bool and chosen.shape != (len(self),):
            raise IndexError(f"expected a mask of {len(self)} faces, got shape {chosen.shape}")
        if chosen.size and chosen.dtype.kind not in "biu":
            raise IndexError(f"expected faces' numbers or a mask, got {shown(index)}")
        numbers = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(int)
        return replace(self, faces=tuple(self.faces[number] for number in numbers))

    def __iter__(self) -> Iterator[Face]:
        return iter(self.faces)

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        count = f"{len(self)} face{'' if len(self) == 1 else 's'}"
        lines = [f"  [{number}] {_in_words(face)}" for number, face in enumerate(self)]
        return "\n".join([f"Prediction({self.source!r}, {width}x{height} pixels, {count})", *lines])

    def __reduce__(self):
        from m4kit.prediction_file import from_bytes, own_model, to_bytes

        return from_bytes, (to_bytes(self), own_model(self))

    def plot(
        self,
        *,
        landmarks: bool = True,
        pose: bool = True,
        mesh: bool | float = False,
        boxes: bool = False,
        max_side: int = 720,
    ) -> NotebookFigure:
        """The photo with layers drawn over it; its longest side has `max_side` pixels at most.

        `mesh` is False, True for a translucent mesh, or an opacity from 0 to 1. `pose` draws a box that turns with
        the head. For more freedom compose `visualize.draw_landmarks`, `draw_pose`, `draw_mesh` and `draw_boxes`.
        """
        from m4kit.visualize.figures import photo_figure

        return photo_figure(self, landmarks=landmarks, pose=pose, mesh=mesh, boxes=boxes, max_side=max_side)

    def resized(self, scale: float) -> Prediction:
        """Return the prediction in the photo at another size: pixel (x, y) moves to (x + 0.5) * scale - 0.5.

        The sides are rounded to whole pixels. The faces have no `origin`.
        """
        height, width = self.image.shape[:2]
        check_number(scale, "scale", above=0, most=_LARGEST_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = cv2.resize(self.image, size, interpolation=way)
        return replace(self, image=image, faces=tuple(face.moved(scale) for face in self))

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per face: box in photo pixels, score, pose in degrees, failure probability (NaN if unknown).

        The index is the face's number in the prediction.
        """
        import pandas

        columns = ("left", "top", "right", "bottom", "score", *HeadPose._fields, "failure_probability")
        rows = [(*np.asarray(face.box), *face.pose, face.failure_probability) for face in self]
        return pandas.DataFrame(rows, columns=columns, dtype=float).rename_axis("face")

    def to_dict(self) -> dict:
        """The photo's name and size, and `Face.to_dict` of each face."""
        height, width = self.image.shape[:2]
        faces = [face.to_dict() for face in self]
        return {"photo": self.source, "width": width, "height": height, "faces": faces}

    def to_json(self, *, indent: int | None = None) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=indent)

    def save(self, path: str | Path, *, photo: str = "png") -> Path:
        """Write photo and faces into one `.npz` file without pickle, for `m4kit.load`; gives the path.

        `photo` is "png", which keeps every pixel, or "jpeg", which is smaller. The faces are exact in both;
        failure probabilities, which also depend on the photo, change slightly with "jpeg".
        """
        from m4kit.prediction_file import save_prediction

        return save_prediction(self, path, photo=photo)

    def to_html(self, path: str | Path | None = None) -> str | Path:
        """The faces live in 3D as one HTML page that works offline: see `m4kit.live`.

        Written to `path`, whose path it gives; without a path it gives the page. Raises `ValueError` for a prediction
        without faces.
        """
        from m4kit.live import prediction_page, save_page

        return save_page(prediction_page(self), path)

    def _ipython_display_(self) -> None:
        # Smaller than a plot, because the picture stays in the notebook's file.
        _show(self.plot(max_side=560), self, repr(self))


def measure_together(faces: Sequence[Face]) -> None:
    """Compute landmarks, poses, failure probabilities and reasons of the faces of one predictor, for later use.

    This takes less time than face by face.
    """
    if not faces:
        return
    heads, weights = (np.stack([getattr(face, name) for face in faces]) for name in ("heads", "head_weights"))
    parameters = read_only(fuse(heads, weights))
    points, poses = landmarks_in_crop(faces[0].model, parameters), head_poses(split(parameters).camera)
    for face, own, placed, pose in zip(faces, parameters, points, poses, strict=True):
        # Where `cached_property` keeps them.
        vars(face).update(parameters=own, landmarks=read_only(face.crop.to_photo(placed)), pose=pose)
    for face, assessment in zip(faces, faces[0].origin.assess(faces), strict=True):
        vars(face)["_assessment"] = assessment


def check_face(face: Face, name: str) -> Face:
    """Return a face, or raise `TypeError`."""
    return check_type(face, name, Face, remedy="a face of a prediction is prediction[0]")


def check_faces(faces: Face | Iterable[Face], name: str) -> list[Face]:
    """Return the faces of a face, a prediction or any other iterable of faces, or raise `TypeError`."""
    if isinstance(faces, Face):
        return [faces]
    if isinstance(faces, str) or not isinstance(faces, Iterable):
        raise TypeError(
            f"{name}: expected a prediction or faces, got {shown(faces)}; m4kit.predict makes one"
        )
    return [check_face(face, name) for face in faces]


def check_prediction(prediction: Prediction, name: str) -> Prediction:
    """Return a prediction, or raise `TypeError`."""
    return check_type(prediction, name, Prediction, remedy="m4kit.predict makes one")


def _in_words(face: Face) -> str:
    """Describe a face in one line."""
    angles = ", ".join(
        f"{name} {round(angle) if math.isfinite(angle) else 'unknown'}"
        for name, angle in zip(face.pose._fields, face.pose, strict=True)
    )
    return f"{face.box.width:.0f}x{face.box.height:.0f} px, score {face.score:.3f}, {angles}"


def _show(figure: NotebookFigure, prediction: Prediction, text: str) -> None:
    """Display a picture and a table in a notebook, the text in a terminal."""
    from IPython.display import display

    display(figure.bundle(text), raw=True)
    if len(prediction):
        digits = {"score": 3, **dict.fromkeys(HeadPose._fields, 1), "failure_probability": 2}
        # Adding 0 turns -0 into 0.
        table = prediction.to_dataframe()[list(digits)].round(digits) + 0
        table = table.rename(columns={"failure_probability": "failure probability"})
        formats = ["{:.3f}".format, *["{:.1f}°".format] * 3, "{:.0%}".format]
        display({"text/html": table.to_html(formatters=formats, na_rep="", border=0)}, raw=True)

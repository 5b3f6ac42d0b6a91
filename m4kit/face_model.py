"""The 3D morphable face model: vertices and landmarks from identity and expression coefficients."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from os import PathLike
from pathlib import Path
from types import NoneType

import numpy as np

from m4kit.checks import check_array, check_number, check_shape, check_type, check_whole, read_only
from m4kit.files import reason_of, write_whole
from m4kit.reading import read_file, unpack_arrays

IDENTITY_MODES = 40
EXPRESSION_MODES = 10
LANDMARKS = 68

ASSET = "face_model.npz"
_GIVE_PATH = "give the path of a saved .npz, or nothing for the packaged model"
FORMAT = 2
"""The version of the files that `FaceModel.save` writes and `FaceModel.load` reads."""

_ARRAYS = (
    "mean",
    "identity_modes",
    "expression_modes",
    "triangles",
    "landmark_vertices",
    "landmark_weights",
    "mirror",
    "symmetry",
)
_HEAD_ARRAYS = ("mean", "identity_modes", "expression_modes", "triangles", "mirror")
_INTEGERS = ("triangles", "landmark_vertices", "mirror")
_MODES = ("identity_modes", "expression_modes")


class FaceModelError(ValueError):
    """A file of a face model is missing, broken or of another kind, or a model has no head."""


@dataclass(frozen=True)
class Fit:
    """A weak-perspective camera and coefficients fitted to landmarks, one row per face.

    `camera` (n, 3, 4) is a scaled rotation and translation in the landmarks' unit, y up; `identity` (n, 40) and
    `expression` (n, 10) are in standard deviations; `landmarks` (n, 68, 3) are the model's under that camera.
    """

    camera: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    landmarks: np.ndarray


class FaceModel:
    """A linear model: vertices = mean + identity @ identity_modes + expression @ expression_modes.

    The frame is right-handed, in millimetres: x to the right and y up as the viewer sees a face that looks at them, z
    towards the viewer. The modes are scaled to one standard deviation.

    Arrays of float32 or int64: `mean` (V, 3), `modes` (50, V, 3), identity first, `triangles` (T, 3),
    counter-clockwise seen from outside, `landmark_vertices` and `landmark_weights` (68, 3), the landmarks as
    barycentric points on the mesh in iBUG's order, `landmark_mean` (68, 3) and `landmark_modes` (50, 68, 3), the
    model restricted to them, `mirror` (V,), the mirror partner of each vertex, and `symmetry` (50,), +1 for a
    symmetric mode and -1 for an antisymmetric one, whose coefficient changes sign when the face is mirrored. `mirror`
    and `symmetry` may be left out and are then empty. The arrays are read-only, because the packaged model is shared.

    `actions` maps names of expressions to coefficients (10,), `regions` maps parts of the face to masks (V,). The
    ten expression modes can represent strong one-sided actions, such as mouthSmileLeft, and winks. Small one-sided
    actions, such as browDownLeft, eyeSquintLeft or noseSneerLeft, move both sides of the packaged model.

    `head` is the model of the whole head, whose first vertices are these. The argument `head` has two entries:
    `arrays`, with the `mean` and modes of its other vertices and all its `triangles` and `mirror`, and `regions`,
    masks of all its vertices.
    """

    def __init__(
        self,
        *,
        arrays: dict[str, np.ndarray],
        actions: dict[str, np.ndarray] | None = None,
        regions: dict[str, np.ndarray] | None = None,
        head: dict[str, dict[str, np.ndarray]] | None = None,
        licence: str = "",
    ):
        arrays = {"mirror": (), "symmetry": ()} | arrays
        if missing := [name for name in _ARRAYS if name not in arrays]:
            raise ValueError(f"FaceModel: expected arrays {', '.join(_ARRAYS)}; got no {', '.join(missing)}")
        self.mean, self.landmark_weights, self.symmetry = (
            _own(arrays[name], np.float32) for name in ("mean", "landmark_weights", "symmetry")
        )
        self.triangles, self.landmark_vertices, self.mirror = (
            _own(arrays[name], np.int64) for name in _INTEGERS
        )
        self._people = len(arrays["identity_modes"])
        self.modes = read_only(np.concatenate([arrays[name] for name in _MODES], dtype=np.float32))
        self.landmark_mean, self.landmark_modes = (
            read_only(self.points(values)) for values in (self.mean, self.modes)
        )
        self.actions = {name: _own(value, np.float32) for name, value in (actions or {}).items()}
        self.regions = {name: _own(mask, bool) for name, mask in (regions or {}).items()}
        self.licence = licence
        # Small until someone asks for the head: half precision, as in the file.
        self._head_parts = head and {
            "arrays": {name: _compact(name, head["arrays"][name]) for name in _HEAD_ARRAYS},
            "regions": {name: np.asarray(mask, dtype=bool) for name, mask in head["regions"].items()},
        }

    @property
    def identity_modes(self) -> np.ndarray:
        """The first of the modes, (40, V, 3) in mm per standard deviation."""
        return self.modes[: self._people]

    @property
    def expression_modes(self) -> np.ndarray:
        """The last of the modes, (10, V, 3) in mm per standard deviation."""
        return self.modes[self._people :]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name, of which the constructor makes the model again."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @property
    def has_head(self) -> bool:
        """Whether there is a `head`."""
        return self._head_parts is not None

    @property
    def is_head(self) -> bool:
        """Whether the mesh is a whole head, as that of `head`."""
        return "scalp" in self.regions

    @cached_property
    def head(self) -> FaceModel:
        """The whole head with the same coefficients, landmarks and actions; its first V vertices are the face's.

        The rest are the skull, ears, neck, the back of the mouth, teeth, tongue and the backs of the eyeballs. It has
        a few triangles less in the mouth, where the face alone ends. It is made at the first use and then kept.

        Raises `FaceModelError` for a model that is only a face, such as the Basel Face Model.
        """
        if not self.has_head:
            raise FaceModelError(
                "expected a face model with a whole head, but this one is only a face; FaceModel.load() gives the "
                "packaged model, which has one"
            )
        more, regions = self._head_parts["arrays"], self._head_parts["regions"]
        arrays = self.arrays | {name: more[name] for name in ("triangles", "mirror")}
        arrays["mean"] = np.concatenate([arrays["mean"], more["mean"]])
        arrays |= {name: np.concatenate([arrays[name], more[name]], axis=1) for name in _MODES}
        return FaceModel(arrays=arrays, actions=self.actions, regions=regions, licence=self.licence)

    def with_mean(self, mean: np.ndarray) -> FaceModel:
        """Copy the model with another mean (V, 3) in mm, for a face that no coefficients reach; without a head."""
        arrays = self.arrays | {"mean": check_shape(mean, "mean", self.mean.shape)}
        return FaceModel(arrays=arrays, actions=self.actions, regions=self.regions, licence=self.licence)

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that depend on the mean, the modes and the landmarks.

        They are of the values as `save` rounds them, so that a model and its file have the same.
        """
        digest = hashlib.sha256()
        for name in ("mean", *_MODES, "landmark_vertices", "landmark_weights"):
            digest.update(_compact(name, getattr(self, name)).tobytes())
        return digest.hexdigest()[:16]

    def points(self, vertices: np.ndarray) -> np.ndarray:
        """Compute the landmarks (..., 68, 3) of meshes (..., V, 3)."""
        return (vertices[..., self.landmark_vertices, :] * self.landmark_weights[:, :, None]).sum(axis=-2)

    def vertices(self, identity=None, expression=None) -> np.ndarray:
        """Compute vertices (..., V, 3) in mm from coefficients (..., 40) and (..., 10); None means 0."""
        return self._blend(self.mean, self.modes, identity, expression)

    def landmarks(self, identity=None, expression=None) -> np.ndarray:
        """Compute landmarks (..., 68, 3) in mm, like `vertices` but without the mesh."""
        return self._blend(self.landmark_mean, self.landmark_modes, identity, expression)

    def _blend(self, mean, modes, identity, expression) -> np.ndarray:
        result = mean.copy()
        for coefficients, own, word in (
            (identity, modes[: self._people], "identity"),
            (expression, modes[self._people :], "expression"),
        ):
            if coefficients is None:
                continue
            values = check_array(coefficients, word, f"coefficients (..., {len(own)})").astype(mean.dtype)
            if values.shape[-1:] != (len(own),):
                raise ValueError(
                    f"expected {word} coefficients of shape (..., {len(own)}), got {values.shape}"
                )
            if values.ndim == 1:
                # For one face, BLAS would start threads that spin.
                result = result + np.einsum("k,kpc->pc", values, own)
            else:
                moved = values @ own.reshape(len(own), -1)
                result = result + moved.reshape(*values.shape[:-1], *mean.shape)
        return result

    def mirrored(self, coefficients: np.ndarray) -> np.ndarray:
        """Return the coefficients (..., 50) of the mirrored face."""
        return coefficients * self.symmetry

    def sample(self, n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw random identity (n, 40) and expression (n, 10) coefficients, float32.

        Identity is standard normal. Expression is a random mix of at most three of the model's actions, or standard
        normal if the model has none.
        """
        check_whole(n, "n", least=0)
        random = np.random.default_rng(check_whole(seed, "seed"))
        identity = random.standard_normal((n, len(self.identity_modes)), dtype=np.float32)
        if not self.actions:
            return identity, random.standard_normal((n, len(self.expression_modes)), dtype=np.float32)
        names, actions = list(self.actions), np.stack(list(self.actions.values()))
        chosen = random.random((n, len(names))).argsort(axis=1)[:, :3]
        strength = np.zeros((n, len(names)), dtype=np.float32)
        np.put_along_axis(strength, chosen, random.random(chosen.shape, dtype=np.float32), axis=1)
        if {"jawOpen", "mouthClose"} <= set(names):
            # mouthClose is for an open jaw: with a closed one the lips would pass through each other.
            jaw, close = names.index("jawOpen"), names.index("mouthClose")
            strength[:, close] = np.minimum(strength[:, close], strength[:, jaw])
        return identity, strength @ actions

    def fit(
        self,
        landmarks,
        *,
        weights=None,
        noise: float = 0.01,
        iterations: int = 60,
    ) -> Fit:
        """Fit camera, identity and expression to landmarks (n, 68, 2) or (68, 2), y up.

        Alternates between the weak-perspective camera (least squares, then the nearest scaled rotation) and the
        coefficients (ridge regression, the maximum a posteriori under a standard normal prior). `noise` is the
        assumed standard deviation of a landmark relative to sqrt(w * h) of the landmarks' box: a smaller value
        follows the points more closely, a larger one keeps the face closer to the mean. `weights` (68,) or (n, 68)
        weight the points.

        Raises `ValueError` for landmarks of another shape, not finite or without extent, and for weights that are
        negative or leave a face fewer than the four points that a camera needs.
        """
        check_number(noise, "noise", above=0)
        check_whole(iterations, "iterations", least=1)
        target = check_array(landmarks, "landmarks", "points (n, 68, 2)")[..., :2]
        if target.shape[-2:] != (LANDMARKS, 2):
            raise ValueError(f"expected landmarks of shape (n, 68, 2), got {target.shape}")
        target = target.reshape(-1, LANDMARKS, 2)
        n = len(target)
        weight = np.ones((n, LANDMARKS))
        if weights is not None:
            weight = weight * check_array(weights, "weights", "weights (68,) or (n, 68)")
        if not np.isfinite(weight).all() or (weight < 0).any() or ((weight > 0).sum(axis=1) < 4).any():
            raise ValueError("expected weights of 0 or more, at least four of them above 0 for each face")
        extent = np.ptp(target, axis=1)
        if n == 0 or not np.isfinite(target).all() or not (extent > 0).all():
            raise ValueError(
                "expected at least one face, with finite landmarks that span an area; leave out the others"
            )
        sigma = noise * np.sqrt(extent.prod(axis=1))
        root = (np.sqrt(weight) / sigma[:, None])[:, None]
        mean, modes = self.landmark_mean.astype(float), self.landmark_modes.astype(float)
        # (3, 68 * 50): a camera times this is the picture's basis.
        by_axis = modes.transpose(2, 1, 0).reshape(3, -1)
        coefficients, prior = np.zeros((n, len(modes))), np.eye(len(modes))
        for _ in range(iterations):
            shape = mean + np.tensordot(coefficients, modes, 1)
            rotation, scale, translation = _weak_perspective(shape, target, weight)
            projection = scale[:, None, None] * rotation[:, :2]
            basis = (projection @ by_axis).reshape(n, 2, LANDMARKS, -1)
            offset = target.mT - projection @ mean.T - translation[..., None]
            left = (basis * root[..., None]).reshape(n, 2 * LANDMARKS, -1)
            right = (offset * root).reshape(n, -1, 1)
            coefficients = np.linalg.solve(left.mT @ left + prior, left.mT @ right)[..., 0]
        shape = mean + np.tensordot(coefficients, modes, 1)
        rotation, scale, translation = _weak_perspective(shape, target, weight)
        translation = np.pad(translation, ((0, 0), (0, 1)))
        camera = np.concatenate([scale[:, None, None] * rotation, translation[..., None]], axis=2)
        placed = shape @ camera[..., :3].mT + translation[:, None]
        identity, expression = np.split(coefficients, [self._people], axis=1)
        return Fit(*(value.astype(np.float32) for value in (camera, identity, expression, placed)))

    def save(self, path: str | Path) -> None:
        """Write the model as `.npz` without pickle, with modes in half precision."""
        arrays = {name: _compact(name, values) for name, values in self.arrays.items()}
        words = {
            "version": FORMAT,
            "licence": self.licence,
            "actions": list(self.actions),
            "regions": list(self.regions),
        }
        if self.has_head:
            regions = self._head_parts["regions"]
            arrays |= {f"head_{name}": values for name, values in self._head_parts["arrays"].items()}
            arrays["head_regions"] = np.array(list(regions.values()), dtype=bool)
            words["head_regions"] = list(regions)
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            **arrays,
            actions=np.array(list(self.actions.values()), dtype=np.float32),
            regions=np.array(list(self.regions.values()), dtype=bool),
            words=np.array(json.dumps(words)),
        )
        write_whole(Path(path), buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path | None = None) -> FaceModel:
        """Load a model that `save` wrote, by default the packaged one.

        Raises `FaceModelError` for a file that is missing, broken or not a face model.
        """
        check_type(path, "FaceModel.load", str, PathLike, NoneType, remedy=_GIVE_PATH, words="a path")
        source = resources.files("m4kit.assets") / ASSET if path is None else Path(path)
        try:
            arrays = unpack_arrays(source.read_bytes() if path is None else read_file(source))
            words = json.loads(str(arrays.pop("words")))
            if words.get("version") != FORMAT:
                raise FaceModelError(
                    f"{source}: written by another version of m4kit, whose face models differ; use that version, or "
                    "build the file again with scripts/build_face_model.py"
                )
            actions = dict(zip(words["actions"], arrays.pop("actions"), strict=True))
            regions = dict(zip(words["regions"], arrays.pop("regions"), strict=True))
            head = None
            if "head_regions" in words:
                head = {
                    "arrays": {name: arrays.pop(f"head_{name}") for name in _HEAD_ARRAYS},
                    "regions": dict(zip(words["head_regions"], arrays.pop("head_regions"), strict=True)),
                }
            return cls(arrays=arrays, actions=actions, regions=regions, head=head, licence=words["licence"])
        except FaceModelError:
            raise
        except FileNotFoundError as error:
            raise FaceModelError(f"{source}: no such face model; give the path of a saved .npz") from error
        except Exception as error:
            raise FaceModelError(
                f"{source}: expected a face model written by FaceModel.save, but reading it failed "
                f"({reason_of(error)}); fetch or build the file again"
            ) from error

    @classmethod
    def load_bfm(cls, path: str | Path) -> FaceModel:
        """Load the Basel Face Model in 3DDFA-V2's reduced form (`bfm_noneck_v3.pkl`).

        Micrometres are converted to millimetres. Coefficients keep the file's own units, which are not standard
        deviations. BFM may be used for academic purposes only and may not be redistributed. The pickle is read by an
        unpickler that allows only numpy.
        """
        data = load_numpy_pickle(path)
        try:
            mean, identity, expression = (
                np.asarray(data[key], dtype=np.float64) for key in ("u", "w_shp", "w_exp")
            )
            # The triangles' indices refer to the whole head, of which the file has a part.
            triangles = np.unique(np.asarray(data["tri"]), return_inverse=True)[1]
            return basel_model(mean, identity, expression, triangles=triangles, keypoints=data["keypoints"])
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise FaceModelError(
                f"{path}: expected 3DDFA-V2's bfm_noneck_v3.pkl, but the arrays differ "
                f"({type(error).__name__}: {error})"
            ) from error


def basel_model(
    mean: np.ndarray,
    identity: np.ndarray,
    expression: np.ndarray,
    *,
    triangles: np.ndarray,
    keypoints: np.ndarray,
) -> FaceModel:
    """Make the Basel Face Model of 3DDFA's arrays: `mean` (3 V,) and modes (3 V, n) in micrometres.

    `triangles` (3, T) are clockwise seen from outside. `keypoints` (204,) are the places of the landmarks' x, y and z
    in the mean.
    """
    modes = (values.T.reshape(values.shape[1], -1, 3) / 1000 for values in (identity, expression))
    return FaceModel(
        arrays={
            "mean": mean.reshape(-1, 3) / 1000,
            **dict(zip(_MODES, modes, strict=True)),
            "triangles": triangles.reshape(3, -1)[::-1].T,
            **landmarks_at(np.asarray(keypoints).reshape(LANDMARKS, 3)[:, 0] // 3),
        },
        licence="Basel Face Model: academic use only, not to be redistributed",
    )


def landmarks_at(vertices: np.ndarray) -> dict[str, np.ndarray]:
    """Make the `arrays` of landmarks that are vertices, from their numbers (68,)."""
    numbers = np.repeat(np.asarray(vertices)[:, None], 3, axis=1)
    return {"landmark_vertices": numbers, "landmark_weights": np.tile([1.0, 0.0, 0.0], (len(numbers), 1))}


def _own(values, kind: type) -> np.ndarray:
    """Return a read-only copy."""
    return read_only(np.array(values, dtype=kind))


def _compact(name: str, values: np.ndarray) -> np.ndarray:
    """Convert an array of a model to the type in which it is saved."""
    values = np.asarray(values)
    if name in _MODES:
        return values.astype(np.float16)
    return values.astype(np.int32 if name in _INTEGERS else np.int8 if name == "symmetry" else np.float32)


def check_model(model: FaceModel, name: str = "model") -> FaceModel:
    """Return a face model, or raise `TypeError`."""
    return check_type(model, name, FaceModel, remedy="FaceModel.load(path) reads one from its file")


@cache
def packaged_model() -> FaceModel:
    """Return the packaged face model, which is loaded once and shared."""
    return FaceModel.load()


def _weak_perspective(shape, target, weight):
    """Fit rotation (n, 3, 3), scale (n,) and translation (n, 2) from shape (n, P, 3) to target (n, P, 2)."""
    share = (weight / weight.sum(axis=1, keepdims=True))[..., None]
    shape_centre, target_centre = ((points * share).sum(axis=1, keepdims=True) for points in (shape, target))
    moved, aim = (shape - shape_centre) * np.sqrt(share), (target - target_centre) * np.sqrt(share)
    # The pseudoinverse, because the points that have weight may lie in a plane.
    inverse = np.linalg.pinv(moved.mT @ moved, rcond=1e-12, hermitian=True)
    affine = (inverse @ (moved.mT @ aim)).mT
    u, _, vt = np.linalg.svd(affine, full_matrices=False)
    rows = u @ vt
    rotation = np.concatenate([rows, np.cross(rows[:, 0], rows[:, 1])[:, None]], axis=1)
    # The polar factor is the best rotation only for isotropic points, so the scale is fitted by least squares.
    turned = moved @ rows.mT
    scale = (turned * aim).sum(axis=(1, 2)) / (turned**2).sum(axis=(1, 2))
    translation = target_centre[:, 0] - scale[:, None] * (shape_centre @ rows.mT)[:, 0]
    return rotation, scale, translation


class _NumpyUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        allowed = {"_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"}
        if module.split(".", maxsplit=1)[0] == "numpy" and name in allowed:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise FaceModelError(
            f"expected a pickle of numpy arrays only, but it needs {module}.{name}, which was not run"
        )


def load_numpy_pickle(path: str | Path) -> dict:
    """Read a dictionary of numpy arrays from a pickle. Other objects are not run and raise `FaceModelError`."""
    path = Path(path)
    try:
        data = _NumpyUnpickler(io.BytesIO(read_file(path)), encoding="latin1").load()
    except FileNotFoundError as error:
        raise FaceModelError(
            f"{path}: no such file; give the path of 3DDFA-V2's bfm_noneck_v3.pkl"
        ) from error
    except FaceModelError as error:
        raise FaceModelError(f"{path}: {error}") from error
    except Exception as error:
        raise FaceModelError(f"{path}: not a readable pickle of numpy arrays ({error})") from error
    if not isinstance(data, dict):
        raise FaceModelError(f"{path}: expected a dictionary of numpy arrays, got {type(data).__name__}")
    return data

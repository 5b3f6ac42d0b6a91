"""The 3D morphable face model: vertices and landmarks from identity and expression coefficients."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from os import PathLike
from pathlib import Path
from types import NoneType

import numpy as np
import torch

from m4kit.checks import check_array, check_number, check_shape, check_type, check_whole, read_only
from m4kit.files import reason_of, write_whole
from m4kit.inference import loading, one_thread
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

    camera: torch.Tensor
    identity: torch.Tensor
    expression: torch.Tensor
    landmarks: torch.Tensor


class FaceModel(torch.nn.Module):
    """A linear model: vertices = mean + identity @ identity_modes + expression @ expression_modes.

    The frame is right-handed, in millimetres: x to the right and y up as the viewer sees a face that looks at them, z
    towards the viewer. The modes are scaled to one standard deviation.

    Buffers: `mean` (V, 3), `identity_modes` (40, V, 3), `expression_modes` (10, V, 3), `triangles` (T, 3),
    counter-clockwise seen from outside, `landmark_vertices` and `landmark_weights` (68, 3), the landmarks as
    barycentric points on the mesh in iBUG's order, `mirror` (V,), the mirror partner of each vertex, and `symmetry`
    (50,), +1 for a symmetric mode and -1 for an antisymmetric one, whose coefficient changes sign when the face is
    mirrored. `mirror` and `symmetry` are empty if a model has none.

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
        super().__init__()
        if missing := [name for name in _ARRAYS if name not in arrays]:
            raise ValueError(f"FaceModel: expected arrays {', '.join(_ARRAYS)}; got no {', '.join(missing)}")
        for name in _ARRAYS:
            array = np.asarray(arrays[name])
            kind = torch.int64 if array.dtype.kind in "iu" and name != "symmetry" else torch.float32
            self.register_buffer(name, torch.tensor(array).to(kind))
        basis = self.landmark_basis()
        for name, value in zip(("landmark_mean", "landmark_modes"), basis, strict=True):
            self.register_buffer(name, value)
        # Read-only, because the packaged model is shared.
        kinds = (actions or {}, np.float32), (regions or {}, bool)
        self.actions, self.regions = (
            {name: read_only(np.asarray(value, dtype=kind)) for name, value in named.items()}
            for named, kind in kinds
        )
        self.licence = licence
        # Small until someone asks for the head: half precision, as in the file.
        self._head_parts = head and {
            "arrays": {name: _compact(name, head["arrays"][name]) for name in _HEAD_ARRAYS},
            "regions": {name: np.asarray(mask, dtype=bool) for name, mask in head["regions"].items()},
        }

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
        arrays = {name: getattr(self, name).cpu().numpy() for name in _ARRAYS}
        more, regions = self._head_parts["arrays"], self._head_parts["regions"]
        arrays |= {name: more[name] for name in ("triangles", "mirror")}
        arrays["mean"] = np.concatenate([arrays["mean"], more["mean"]])
        arrays |= {name: np.concatenate([arrays[name], more[name]], axis=1) for name in _MODES}
        head = FaceModel(arrays=arrays, actions=self.actions, regions=regions, licence=self.licence)
        return head.to(self.mean)

    def with_mean(self, mean: np.ndarray) -> FaceModel:
        """The same modes around another mean (V, 3) in mm, for a face that no coefficients reach; without a head."""
        mean = check_shape(mean, "mean", tuple(self.mean.shape))
        arrays = {name: getattr(self, name).cpu().numpy() for name in _ARRAYS} | {"mean": mean}
        model = FaceModel(arrays=arrays, actions=self.actions, regions=self.regions, licence=self.licence)
        return model.to(self.mean)

    def _apply(self, *args, **kwargs):
        # They follow the model to another device or precision.
        for name in ("head", "_landmark_arrays"):
            vars(self).pop(name, None)
        return super()._apply(*args, **kwargs)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the mean, the modes or the landmarks.

        They are of the values as `save` rounds them, so that a model and its file have the same.
        """
        digest = hashlib.sha256()
        for name in ("mean", *_MODES, "landmark_vertices", "landmark_weights"):
            digest.update(_compact(name, getattr(self, name).cpu().numpy()).tobytes())
        return digest.hexdigest()[:16]

    @property
    def modes(self) -> torch.Tensor:
        """All modes, identity first, (50, V, 3) in mm per standard deviation."""
        return torch.cat([self.identity_modes, self.expression_modes])

    def landmark_basis(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The model restricted to its landmarks: mean (68, 3) and modes (50, 68, 3)."""
        return tuple(self.points(values) for values in (self.mean, self.modes))

    def points(self, vertices: torch.Tensor) -> torch.Tensor:
        """The landmarks (..., 68, 3) of meshes (..., V, 3)."""
        corners = vertices[..., self.landmark_vertices, :]
        return (corners * self.landmark_weights[:, :, None]).sum(-2)

    def vertices(self, identity=None, expression=None) -> torch.Tensor:
        """Vertices (..., V, 3) in mm from coefficients (..., 40) and (..., 10), differentiable; None means 0."""
        return self._blend(self.mean, self.identity_modes, self.expression_modes, identity, expression)

    def landmarks(self, identity=None, expression=None) -> torch.Tensor:
        """Landmarks (..., 68, 3) in mm, like `vertices` but without computing the mesh."""
        identity_modes, expression_modes = self.landmark_modes.split(
            [len(self.identity_modes), len(self.expression_modes)]
        )
        return self._blend(self.landmark_mean, identity_modes, expression_modes, identity, expression)

    def place_landmarks(self, coefficients: np.ndarray) -> np.ndarray:
        """Landmarks (..., 68, 3) in mm as an array, from all coefficients (..., 50), without PyTorch's overhead."""
        mean, modes = self._landmark_arrays
        return mean + (coefficients @ modes).reshape(*coefficients.shape[:-1], *mean.shape)

    @cached_property
    def _landmark_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        # Copies: torch moves a tensor to shared memory when another process gets it, and frees what it moved.
        mean, modes = self.landmark_mean, self.landmark_modes.flatten(1)
        return tuple(np.array(values.cpu().numpy()) for values in (mean, modes))

    def _blend(self, mean, identity_modes, expression_modes, identity, expression):
        # Arrays are one face's. Tensors may be a training's batch, which takes all threads.
        of_training = any(isinstance(coefficients, torch.Tensor) for coefficients in (identity, expression))
        result = mean
        with nullcontext() if of_training else one_thread():
            for coefficients, modes, word in (
                (identity, identity_modes, "identity"),
                (expression, expression_modes, "expression"),
            ):
                if coefficients is None:
                    continue
                if isinstance(coefficients, torch.Tensor):
                    values = coefficients.to(mean)
                else:
                    # Copied, because torch warns of arrays that are read-only.
                    array = check_array(coefficients, word, f"coefficients (..., {len(modes)})")
                    values = torch.tensor(array, dtype=mean.dtype, device=mean.device)
                if values.shape[-1:] != (len(modes),):
                    raise ValueError(
                        f"expected {word} coefficients of shape (..., {len(modes)}), got {tuple(values.shape)}"
                    )
                result = result + (values @ modes.flatten(1)).unflatten(-1, mean.shape)
        return result

    def mirrored(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Coefficients (..., 50) of the mirrored face."""
        return coefficients * self.symmetry

    def sample(self, n: int, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw random identity (n, 40) and expression (n, 10) coefficients.

        Identity is standard normal. Expression is a random mix of at most three of the model's actions, or standard
        normal if the model has none.
        """
        check_whole(n, "n", least=0)
        generator = torch.Generator().manual_seed(check_whole(seed, "seed"))
        identity = torch.randn(n, len(self.identity_modes), generator=generator)
        if not self.actions:
            return identity, torch.randn(n, len(self.expression_modes), generator=generator)
        actions = torch.tensor(np.stack(list(self.actions.values())))
        chosen = torch.rand(n, len(actions), generator=generator).argsort(1)[:, :3]
        strength = torch.zeros(n, len(actions)).scatter(1, chosen, torch.rand(n, 3, generator=generator))
        names = list(self.actions)
        if {"jawOpen", "mouthClose"} <= set(names):
            # mouthClose is for an open jaw: with a closed one the lips would pass through each other.
            jaw, close = names.index("jawOpen"), names.index("mouthClose")
            strength[:, close] = torch.minimum(strength[:, close], strength[:, jaw])
        return identity, strength @ actions

    @one_thread()
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
        if not isinstance(landmarks, torch.Tensor):
            landmarks = check_array(landmarks, "landmarks", "points (n, 68, 2)")
        target = torch.as_tensor(landmarks, dtype=torch.float64)[..., :2]
        if target.shape[-2:] != (LANDMARKS, 2):
            raise ValueError(f"expected landmarks of shape (n, 68, 2), got {tuple(target.shape)}")
        target = target.reshape(-1, LANDMARKS, 2)
        n = len(target)
        weight = torch.ones(n, LANDMARKS, dtype=torch.float64)
        if weights is not None:
            weights = check_array(weights, "weights", "weights (68,) or (n, 68)")
            weight = weight * torch.as_tensor(weights, dtype=torch.float64)
        if not weight.isfinite().all() or (weight < 0).any() or ((weight > 0).sum(1) < 4).any():
            raise ValueError("expected weights of 0 or more, at least four of them above 0 for each face")
        extent = target.amax(1) - target.amin(1)
        if n == 0 or not target.isfinite().all() or not (extent > 0).all():
            raise ValueError(
                "expected at least one face, with finite landmarks that span an area; leave out the others"
            )
        sigma = noise * extent.prod(1).sqrt()
        mean, modes = self.landmark_mean.double(), self.landmark_modes.double()
        coefficients = torch.zeros(n, len(modes), dtype=torch.float64)
        prior = torch.eye(len(modes), dtype=torch.float64)
        for _ in range(iterations):
            shape = mean + torch.einsum("nk,kpc->npc", coefficients, modes)
            rotation, scale, translation = _weak_perspective(shape, target, weight)
            projection = scale[:, None, None] * rotation[:, :2]
            basis = torch.einsum("nij,kpj->npik", projection, modes)
            offset = target - torch.einsum("nij,pj->npi", projection, mean) - translation[:, None]
            root = (weight.sqrt() / sigma[:, None])[..., None]
            left = (basis * root[..., None]).reshape(n, -1, len(modes))
            right = (offset * root).reshape(n, -1, 1)
            coefficients = torch.linalg.solve(left.mT @ left + prior, left.mT @ right)[..., 0]
        shape = mean + torch.einsum("nk,kpc->npc", coefficients, modes)
        rotation, scale, translation = _weak_perspective(shape, target, weight)
        translation = torch.cat([translation, torch.zeros(n, 1, dtype=torch.float64)], 1)
        camera = torch.cat([scale[:, None, None] * rotation, translation[..., None]], 2)
        placed = torch.einsum("nij,npj->npi", camera[..., :3], shape) + translation[:, None]
        identity, expression = coefficients.split([len(self.identity_modes), len(self.expression_modes)], 1)
        return Fit(*(value.float() for value in (camera, identity, expression, placed)))

    def save(self, path: str | Path) -> None:
        """Write the model as `.npz` without pickle, with modes in half precision."""
        arrays = {name: _compact(name, getattr(self, name).numpy()) for name in _ARRAYS}
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
    @loading()
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
    @loading()
    def load_bfm(cls, path: str | Path) -> FaceModel:
        """Load the Basel Face Model in 3DDFA-V2's reduced form (`bfm_noneck_v3.pkl`).

        Micrometres are converted to millimetres. Coefficients keep the file's own units, which are not standard
        deviations. BFM may be used for academic purposes only and may not be redistributed. The pickle is read by an
        unpickler that allows only numpy.
        """
        data = load_numpy_pickle(path)
        try:
            mean, identity, expression = (
                np.asarray(data[key], dtype=np.float64) / 1000 for key in ("u", "w_shp", "w_exp")
            )
            # The triangles are clockwise, and their indices refer to the whole head, of which the file has a part.
            triangles = np.unique(np.asarray(data["tri"]), return_inverse=True)[1].reshape(3, -1)[::-1].T
            keypoints = np.asarray(data["keypoints"]).reshape(LANDMARKS, 3)[:, 0] // 3
            return cls(
                arrays={
                    "mean": mean.reshape(-1, 3),
                    "identity_modes": identity.T.reshape(identity.shape[1], -1, 3),
                    "expression_modes": expression.T.reshape(expression.shape[1], -1, 3),
                    "triangles": triangles.astype(np.int64),
                    "landmark_vertices": keypoints.astype(np.int64)[:, None].repeat(3, axis=1),
                    "landmark_weights": np.tile([1.0, 0.0, 0.0], (LANDMARKS, 1)),
                    "mirror": np.zeros(0, dtype=np.int64),
                    "symmetry": np.zeros(0),
                },
                licence="Basel Face Model: academic use only, not to be redistributed",
            )
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise FaceModelError(
                f"{path}: expected 3DDFA-V2's bfm_noneck_v3.pkl, but the arrays differ "
                f"({type(error).__name__}: {error})"
            ) from error


def _compact(name: str, values: np.ndarray) -> np.ndarray:
    """An array of a model as it is saved."""
    values = np.asarray(values)
    if name in _MODES:
        return values.astype(np.float16)
    return values.astype(np.int32 if name in _INTEGERS else np.int8 if name == "symmetry" else np.float32)


def check_model(model: FaceModel, name: str = "model") -> FaceModel:
    """Return a face model, or raise `TypeError`."""
    return check_type(model, name, FaceModel, remedy="FaceModel.load(path) reads one from its file")


@cache
def packaged_model() -> FaceModel:
    """The packaged face model, loaded once and shared; do not write to its buffers."""
    return FaceModel.load()


@cache
def packaged_fingerprint() -> str:
    """The fingerprint of the packaged face model; computing one takes some 20 ms."""
    return packaged_model().fingerprint


def _weak_perspective(shape, target, weight):
    """Fit rotation (n, 3, 3), scale (n,) and translation (n, 2) from shape (n, P, 3) to target (n, P, 2)."""
    share = (weight / weight.sum(1, keepdim=True))[..., None]
    shape_centre, target_centre = (shape * share).sum(1, keepdim=True), (target * share).sum(1, keepdim=True)
    moved, aim = (shape - shape_centre) * share.sqrt(), (target - target_centre) * share.sqrt()
    affine = torch.linalg.lstsq(moved, aim).solution.mT
    u, _, vt = torch.linalg.svd(affine, full_matrices=False)
    rows = u @ vt
    rotation = torch.cat([rows, torch.linalg.cross(rows[:, 0], rows[:, 1])[:, None]], 1)
    # The polar factor is the best rotation only for isotropic points, so the scale is fitted by least squares.
    turned = moved @ rows.mT
    scale = (turned * aim).sum((1, 2)) / (turned * turned).sum((1, 2))
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

"""Finds, checks, reads and writes files of weights.

Weights come from the package, a path, or a URL with a known SHA-256. `m4kit/assets/weights.json` holds the hashes of
all registered weights; `scripts/register_weights.py` writes it. Downloads are kept in the folder that the environment
variable `M4KIT_CACHE` names (default: `~/.cache/m4kit`). With `M4KIT_OFFLINE=1` nothing is downloaded.

PyTorch is loaded where tensors are, because prediction by ONNX Runtime does without.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import sys
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from m4kit.face_model import FaceModel, packaged_model
from m4kit.files import sha256_of, write_whole

if TYPE_CHECKING:
    import torch

REGISTRY = "weights.json"

LARGEST_DOWNLOAD = 2_000_000_000
"""Bytes at which the download of a file of unknown size stops."""


class WeightsError(ValueError):
    """A file of weights is missing, broken, changed, or of another network or face model."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where one set of registered weights is.

    `file` is its name in `m4kit/assets`, or in the cache folder if it has a `url`; then `bytes` is its size. `sha256`
    is the file's hash in hexadecimal. `licence` is one sentence for the users of the weights.
    """

    file: str
    sha256: str
    licence: str
    url: str | None = None
    bytes: int | None = None


@cache
def registry() -> Mapping[str, Source]:
    """Read all registered weights, by name."""
    entries = json.loads((resources.files("m4kit.assets") / REGISTRY).read_text(encoding="utf-8"))
    return {name: Source(**entry) for name, entry in entries.items()}


def resolve(source: str | Path, *, sha256: str | None = None) -> Path:
    """Find the path of the weights that a registered name, a URL or a path stands for.

    Registered weights are checked against the registry's SHA-256. A URL needs `sha256` and is downloaded once. A path
    is checked only if `sha256` is given.

    Raises `WeightsError`, which names the file and what to do.
    """
    text = str(source)
    if text in registry():
        entry = registry()[text]
        if entry.url:
            return _downloaded(entry.url, sha256=entry.sha256, file=entry.file, size=entry.bytes)
        path = Path(str(resources.files("m4kit.assets") / entry.file))
        return verify(path, entry.sha256, remedy="install m4kit again")
    if urllib.parse.urlsplit(text).scheme in ("http", "https"):
        if sha256 is None:
            raise WeightsError(
                f"{text}: expected the SHA-256 of a download; m4kit.weights.resolve(url, sha256=...) gives its path"
            )
        return _downloaded(text, sha256=sha256)
    path = Path(source)
    if sha256 is not None:
        return verify(path, sha256, remedy="fetch the file again, or correct sha256=")
    if not path.is_file():
        known = ", ".join(registry()) or "none"
        raise WeightsError(f"{path}: no such file, and no registered weights have that name (known: {known})")
    return path


def _downloaded(url: str, *, sha256: str, file: str = "", size: int = LARGEST_DOWNLOAD) -> Path:
    """Return the URL's file of at most `size` bytes in the cache folder; it is downloaded unless it is there.

    Several processes may download it at once: each into a file of its own, of which one stays.
    """
    folder = Path(os.environ.get("M4KIT_CACHE") or Path.home() / ".cache" / "m4kit") / sha256[:12]
    path = folder / (file or Path(urllib.parse.urlsplit(url).path).name or "file")
    came = sha256_of(path) if path.is_file() else None
    if came == sha256.lower():
        return path
    by_hand = f"download {url} by other means, with SHA-256 {sha256}, and put it there: {path}"
    if os.environ.get("M4KIT_OFFLINE", "") not in ("", "0"):
        found = "no such file" if came is None else f"a damaged file, with SHA-256 {came}"
        raise WeightsError(f"{path}: {found}, and M4KIT_OFFLINE forbids downloads; {by_hand}")
    import pooch

    def download(url: str, part: str, pooch_: object) -> None:
        fetch = pooch.HTTPDownloader(progressbar=sys.stderr is not None and sys.stderr.isatty(), timeout=30)
        with _Bounded(part, size) as bounded:
            fetch(url, bounded, pooch_)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(url, f"sha256:{sha256}", fname=path.name, path=folder, downloader=download)
    # The errors of requests are OSErrors. A wrong hash or a malformed address is a ValueError.
    except (OSError, ValueError) as error:
        raise WeightsError(f"{url}: the download failed ({error}); try again, or {by_hand}") from error
    return path


class _Bounded(io.FileIO):
    """A new file of at most `size` bytes, in case a server does not stop sending."""

    def __init__(self, path: str, size: int):
        super().__init__(path, "w")
        self.size = size

    def write(self, content: bytes) -> int:
        if self.tell() + len(content) > self.size:
            raise OSError(f"expected at most {self.size} bytes, got more")
        return super().write(content)


def verify(path: Path, sha256: str, *, remedy: str) -> Path:
    """Return the path if its file has that SHA-256; else raise `WeightsError`, which ends with the remedy."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; {remedy}")
    came = sha256_of(path)
    if came != sha256.lower():
        raise WeightsError(f"{path}: expected SHA-256 {sha256}, got {came}; {remedy}")
    return path


def check_fits(network, model: FaceModel, *, remedy: str = "") -> None:
    """Raise `WeightsError` unless this is the face model whose parameters an `M4Net`, or its engine, predicts.

    A network that was never trained fits every face model. `remedy` replaces the end of the error.
    """
    wanted = network.notes.get("face_model", "")
    if not wanted or wanted == model.fingerprint:
        return
    packaged = packaged_model().fingerprint
    if not remedy:
        own = (
            "leave out the other model" if wanted == packaged else "give the model that they were trained for"
        )
        remedy = f"{own}, or give weights for this one, which m4kit train --model makes"
    names = [f"{one} (the packaged one)" if one == packaged else one for one in (wanted, model.fingerprint)]
    raise WeightsError(
        f"{network.notes.get('file') or 'network'}: these weights predict parameters of the face model {names[0]}, "
        f"got the face model {names[1]}; {remedy}"
    )


def read_tensors(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read tensors and metadata of a safetensors file.

    Raises `WeightsError` if the file is missing or broken.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; expected weights as .safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except SafetensorError as error:
        raise WeightsError(
            f"{path}: expected a whole .safetensors file, but reading it failed ({error}); "
            "fetch or save it again"
        ) from error


def read_pickled(path: str | Path) -> object:
    """Read a PyTorch file (`.pth`, `.pt`) onto the CPU, if it holds tensors and plain values only.

    Raises `WeightsError` for a file that is missing or broken, or holds other objects, which are not run.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; expected weights as .pth")
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError:
        # Without PyTorch's message, which tells how to run those objects.
        raise WeightsError(
            f"{path}: expected tensors only, but the file is broken or holds other objects, which were not run; "
            "fetch it again from its publisher"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise WeightsError(
            f"{path}: expected a complete PyTorch file of weights, but reading failed ({error}); fetch it again"
        ) from error


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str],
    *,
    half: bool = False,
) -> None:
    """Write a safetensors file atomically.

    With `half`, tensors of two or more dimensions are stored in half precision. Vectors (biases, batch-norm
    statistics) keep their precision: they are small and lose the most.
    """
    import safetensors.torch

    stored = {
        name: (tensor.half() if half and tensor.is_floating_point() and tensor.dim() > 1 else tensor)
        .detach()
        .cpu()
        .contiguous()
        for name, tensor in tensors.items()
    }
    write_whole(Path(path), safetensors.torch.save(stored, metadata=dict(metadata)))


def load_strictly(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], *, path: str | Path) -> None:
    """Load tensors into a module.

    Raises `WeightsError` unless their names and shapes are exactly the module's. `path` is named in the error.
    """
    wanted = module.state_dict()
    missing, unknown = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    shapes = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in tensors and tensors[name].shape != wanted[name].shape
    ]
    faults = [
        f"{len(names)} {word} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for word, names in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if names
    ]
    if faults:
        raise WeightsError(
            f"{path}: expected the weights of {type(module).__name__}, but of its tensors "
            f"{'; '.join(faults)}; give a file that was saved from this network at this size"
        )
    module.load_state_dict(dict(tensors), strict=True)


def fingerprint(module: torch.nn.Module, *, without: tuple[str, ...] = ()) -> str:
    """Compute 16 hexadecimal digits that identify a module's weights: the start of the SHA-256 of its tensors.

    Tensors whose names start with one of `without` are left out.
    """
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if not name.startswith(without):
            # As bytes, because numpy has no bfloat16.
            content = tensor.detach().cpu().reshape(-1).contiguous()
            content = content.view(torch.uint8) if len(content) else content
            digest.update(name.encode() + content.numpy().tobytes())
    return digest.hexdigest()[:16]

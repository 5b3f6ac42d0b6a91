"""Where weights come from: the package, a path of yours, or a URL whose SHA-256 is known.

`m4kit/assets/weights.json` is the one place that holds the hashes; `scripts/register_weights.py` writes it.
"""

from __future__ import annotations

import hashlib
import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from m4kit.download import DownloadError, download, sha256_of
from m4kit.files import write_whole

REGISTRY = "weights.json"


class WeightsError(ValueError):
    """A file of weights is missing, broken, changed, or of another network."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where one set of weights lies.

    `file` is its name in `m4kit/assets`, or in the cache folder where `url` says where to fetch it from.
    `sha256` is the file's hash in hexadecimal and `licence` the sentence that a user of the weights must
    know.
    """

    name: str
    file: str
    sha256: str
    licence: str
    url: str | None = None


@cache
def registry() -> Mapping[str, Source]:
    """All weights that m4kit knows by name."""
    entries = json.loads((resources.files("m4kit.assets") / REGISTRY).read_text(encoding="utf-8"))
    return {name: Source(name=name, **entry) for name, entry in entries.items()}


def resolve(source: str | Path, *, sha256: str | None = None) -> Path:
    """The file of weights that `source` means: a registered name, a URL, or a path.

    Registered weights are checked against the registry's SHA-256. A URL needs `sha256`; it is downloaded
    once into the cache folder. A path is taken as it is, and checked if `sha256` is given.

    Raises `WeightsError` with the file's name and the remedy.
    """
    text = str(source)
    if text in registry():
        entry = registry()[text]
        if entry.url:
            return _downloaded(entry.url, sha256=entry.sha256, file=entry.file)
        path = Path(str(resources.files("m4kit.assets") / entry.file))
        return verify(path, entry.sha256, remedy="install m4kit anew")
    if urllib.parse.urlsplit(text).scheme in ("http", "https"):
        if sha256 is None:
            raise WeightsError(
                f"{text}: expected the SHA-256 of a download; m4kit.weights.resolve(url, sha256=...) gives its path"
            )
        return _downloaded(text, sha256=sha256)
    path = Path(source)
    if sha256 is not None:
        return verify(path, sha256, remedy="fetch the file anew, or correct sha256=")
    if not path.is_file():
        known = ", ".join(registry()) or "none"
        raise WeightsError(f"{path}: no such file, and no registered weights have that name (known: {known})")
    return path


def _downloaded(url: str, *, sha256: str, file: str | None = None) -> Path:
    try:
        return download(url, sha256=sha256, file=file)
    except DownloadError as error:
        raise WeightsError(str(error)) from error


def verify(path: Path, sha256: str, *, remedy: str, name: str | None = None) -> Path:
    """The path, if its file has that SHA-256; else `WeightsError`."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; {remedy}")
    came = sha256_of(path)
    if came != sha256.lower():
        raise WeightsError(f"{name or path}: expected SHA-256 {sha256}, got {came}; {remedy}")
    return path


def read_tensors(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file, or a `WeightsError` that says what is wrong with it."""
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
            "fetch or save it anew"
        ) from error


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str],
    *,
    half: bool = False,
) -> None:
    """Write a safetensors file, whole or not at all.

    With `half`, tensors of two and more dimensions are stored in half precision; the short ones (biases,
    batch-norm statistics) stay as they are, since they weigh nothing and lose the most.
    """
    path = Path(path)
    stored = {
        name: (tensor.half() if half and tensor.is_floating_point() and tensor.dim() > 1 else tensor)
        .detach()
        .cpu()
        .contiguous()
        for name, tensor in tensors.items()
    }
    write_whole(path, safetensors.torch.save(stored, metadata=dict(metadata)))


def load_strictly(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], *, path: str | Path) -> None:
    """Load tensors whose names and shapes are exactly the module's, or raise `WeightsError`."""
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
            f"{'; '.join(faults)}; give the file of this very network and size"
        )
    module.load_state_dict(dict(tensors), strict=True)


def fingerprint(module: torch.nn.Module, *, without: tuple[str, ...] = ()) -> str:
    """16 hexadecimal digits that identify a module's weights: the start of the SHA-256 of its tensors.

    Tensors whose names start with one of `without` are left out.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if not name.startswith(without):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]

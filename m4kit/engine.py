"""Engines run a network on pictures, by ONNX Runtime or PyTorch.

An engine is a function of pictures (n, H, W, 3) uint8 RGB. It returns the network's `answers` as arrays, and has

- `name`: one of `ENGINES`,
- `notes`: what identifies the network, as text (`M4Net.facts`, `FaceBoxes.facts`),
- `batch`: how many crops are best run together.

"int8" and "onnx" run by ONNX Runtime, and need a model that `scripts/export_engines.py` wrote beside the weights.
"onnx" and "torch" give the same answers, in fp32. "int8" has layers of 8-bit integers. It is faster, and its answers
differ a little.

A model for "onnx" holds the layers, and takes its numbers from the file of weights. One for "int8" has its own.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

import numpy as np

from m4kit.checks import check_choice, check_whole
from m4kit.files import sha256_of
from m4kit.weights import WeightsError, registry, resolve, verify

if TYPE_CHECKING:
    import onnxruntime
    from torch import nn

ENGINES = ("int8", "onnx", "torch")
DEVICES = ("cpu", "cuda", "mps", "auto")

EXPORTED = "engines.json"
"""The SHA-256 of the packaged models, by weights and engine; `scripts/export_engines.py` writes it."""

_EXPORT = "python scripts/export_engines.py {}, in m4kit's repository, writes it"


class EngineError(ValueError):
    """An engine or a device that is not there, or a network that this engine cannot run."""


class Engine(Protocol):
    """Runs a network on pictures (n, H, W, 3) uint8 RGB; see the module."""

    name: str
    notes: dict[str, str]
    batch: int

    def __call__(self, pictures: np.ndarray) -> tuple[np.ndarray, ...]: ...


_IN_THIS_PROCESS: WeakSet[OnnxEngine] = WeakSet()


def _leave_sessions_to_the_parent() -> None:
    """In a forked process: drop the sessions, but never end them, which would wait for the parent's threads."""
    for engine in _IN_THIS_PROCESS:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine._session))
        engine._session = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_sessions_to_the_parent)


class TorchEngine:
    """Runs a folded copy of a network by PyTorch, on the CPU or a GPU. Later changes of the network do not reach it.

    `device` is one of `DEVICES`. `threads` counts those of the CPU; torch's own number does not matter.
    """

    name = "torch"

    def __init__(self, network: nn.Module, *, device: str = "cpu", threads: int = 1):
        from m4kit.folding import folded

        self.device, self.threads = check_device(device), check_whole(threads, "threads", least=1)
        self.notes = network.facts()
        self.batch = 24 if self.device == "cpu" else 256
        self._network = folded(network).to(self.device)

    def __call__(self, pictures: np.ndarray) -> tuple[np.ndarray, ...]:
        import torch

        from m4kit.inference import inference

        with inference(self.threads), torch.autocast(self.device, enabled=False):
            answers = self._network.answers(torch.tensor(pictures, device=self.device))
            return tuple(answer.cpu().numpy() for answer in answers)


class OnnxEngine:
    """Runs an exported model (`.onnx`) on the CPU by ONNX Runtime: the engines "int8" and "onnx".

    It takes no thread of its own with `threads=1`. More threads wait for work without spinning. A copy in another
    process, pickled or forked, opens the model again: a forked process has none of its parent's threads.

    Raises `EngineError` without ONNX Runtime, and `WeightsError` for a file that is missing, broken, or exported from
    other weights than those beside it.
    """

    # With more crops, the layers' outputs no longer fit into a processor's cache: 24 take 10 % more time each.
    batch = 8

    def __init__(self, path: str | Path, *, threads: int = 1):
        self.path, self.threads = Path(path).absolute(), check_whole(threads, "threads", least=1)
        self._session = None
        self._session = self._opened()
        self.notes = dict(self._session.get_modelmeta().custom_metadata_map)
        self.name = self.notes.pop("engine", "onnx")
        self._check_weights()

    def __call__(self, pictures: np.ndarray) -> tuple[np.ndarray, ...]:
        if self._session is None:
            self._session = self._opened()
        return tuple(self._session.run(None, {"pictures": pictures}))

    def __getstate__(self) -> dict:
        return {**vars(self), "_session": None}

    def _opened(self) -> onnxruntime.InferenceSession:
        _IN_THIS_PROCESS.add(self)
        ort = _onnxruntime()
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        # A thread that spins takes the core from whoever has work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        remedy = f"{_EXPORT.format(self.path.stem.removesuffix('_int8') + '.safetensors')} again"
        if not self.path.is_file():
            raise WeightsError(f"{self.path}: no such file; {remedy}")
        try:
            return ort.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        # Its errors have no common class but Exception.
        except Exception as error:
            raise WeightsError(
                f"{self.path}: expected an exported model and its weights, but ONNX Runtime cannot open them "
                f"({str(error).splitlines()[0]}); {remedy}"
            ) from error

    def _check_weights(self) -> None:
        try:
            hashes = json.loads(self.notes["weights"])
        except (KeyError, ValueError) as error:
            raise WeightsError(
                f"{self.path}: expected a model that scripts/export_engines.py wrote"
            ) from error
        for file, sha256 in hashes.items():
            if sha256_of(self.path.parent / file) != sha256:
                raise WeightsError(
                    f"{self.path}: exported from another {file} than the one beside it; "
                    f"{_EXPORT.format(file)} again"
                )


def make_engine(
    network: nn.Module | str | Path,
    load: Callable[[str | Path], nn.Module],
    *,
    engine: str | None = None,
    device: str = "cpu",
    threads: int = 1,
) -> Engine:
    """The engine of a network, or of weights by their registered name or path, which `load` reads into a network.

    Without `engine`, it is the first of "int8" and "onnx" on the CPU for which these weights have an exported model,
    else "torch". Raises `EngineError` if the engine or the device is not there, or if there is no model for it.
    """
    if engine is not None:
        check_choice(engine, "engine", ENGINES)
    check_whole(threads, "threads", least=1)
    device = check_device(device, engine=engine)
    named = isinstance(network, str | os.PathLike)
    if device != "cpu" or engine == "torch" or (engine is None and not named):
        return TorchEngine(load(network) if named else network, device=device, threads=threads)
    if not named:
        raise EngineError(
            f"engine: expected 'torch' for a network that is given as an object, got {engine!r}; save it and export "
            f"the file ({_EXPORT.format('FILE')}), then give its path"
        )
    for name in ENGINES[:2] if engine is None else (engine,):
        if model := exported_model(network, name):
            return OnnxEngine(model, threads=threads)
    if engine is None:
        return TorchEngine(load(network), threads=threads)
    options = " --calibration DATA" if engine == "int8" else ""
    raise EngineError(
        f"{network}: engine {engine!r} needs an exported model beside the weights, and there is none; "
        f"{_EXPORT.format(f'{network}{options}')}, or give engine='torch'"
    )


def exact_engine(network: str | Path, load: Callable[[str | Path], nn.Module]) -> Engine:
    """The engine of weights in fp32 on the CPU: "onnx" if they have an exported model, else "torch"."""
    engine = "onnx" if exported_model(network, "onnx") else "torch"
    return make_engine(network, load, engine=engine)


def exported_model(weights: str | Path, engine: str) -> Path | None:
    """The path of the model that was exported from these weights for "int8" or "onnx", None if there is none.

    Raises `WeightsError` for weights that are not there, and for a packaged model that is missing or changed.
    """
    path = model_path(resolve(weights), engine)
    if str(weights) in registry():
        sha256 = _hashes().get(str(weights), {}).get(engine)
        return sha256 and verify(path, sha256, remedy="install m4kit again")
    return path if path.is_file() else None


def model_path(weights: Path, engine: str) -> Path:
    """Where the model for "int8" or "onnx" of a file of weights is."""
    return weights.with_name(weights.stem + {"int8": "_int8.onnx", "onnx": ".onnx"}[engine])


def check_device(device: str, *, engine: str | None = None) -> str:
    """Return "cpu", "cuda" or "mps"; "auto" is the first GPU that is there. ONNX Runtime takes the CPU.

    Raises `EngineError` for a device that is not there.
    """
    check_choice(device, "device", DEVICES)
    by_onnx = engine in ("int8", "onnx")
    if by_onnx and device in ("cuda", "mps"):
        raise EngineError(
            f"device: engine {engine!r} runs on the CPU, got {device!r}; give engine='torch' for a GPU"
        )
    if device == "cpu" or by_onnx:
        return "cpu"
    import torch

    there = [
        name for name, module in (("cuda", torch.cuda), ("mps", torch.backends.mps)) if module.is_available()
    ]
    if device == "auto":
        return there[0] if there else "cpu"
    if device not in there:
        raise EngineError(
            f"device: expected one that PyTorch finds here ({', '.join(['cpu', *there])}), got {device!r}; give "
            "device='auto', or install the driver and a build of PyTorch for it"
        )
    return device


@cache
def _hashes() -> dict[str, dict[str, str]]:
    return json.loads((resources.files("m4kit.assets") / EXPORTED).read_text(encoding="utf-8"))


def _onnxruntime():
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(
            f"engine: 'int8' and 'onnx' need ONNX Runtime, but importing it failed ({error}); pip install "
            "onnxruntime, or give engine='torch'"
        ) from error
    return onnxruntime

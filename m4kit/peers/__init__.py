"""Other people's networks with the call and the `Prediction` of m4kit's own, to compare with."""

from __future__ import annotations

import os
from pathlib import Path

from m4kit.peers.face_mesh import TASK, MediaPipe
from m4kit.peers.peer import Peer
from m4kit.peers.synergynet import CHECKPOINT, SynergyNet
from m4kit.peers.tddfa_v2 import NETWORKS, TddfaV2

__all__ = ["FOLDER", "PEERS", "MediaPipe", "Peer", "SynergyNet", "TddfaV2", "load_peer", "present_peers"]

FOLDER = "M4KIT_PEER_FILES"
"""The environment variable that names the folder with the peers' files, where no other folder is given."""

PEERS = {
    "3ddfa-v2-mb1": lambda folder: TddfaV2(_given(folder), "mb1"),
    "3ddfa-v2-mb05": lambda folder: TddfaV2(_given(folder), "mb05"),
    "mediapipe": MediaPipe,
    "synergynet": lambda folder: SynergyNet(_given(folder)),
}
"""How each peer is made from the folder that holds its files, by its name."""


_NETWORK_FILES = {
    "3ddfa-v2-mb1": NETWORKS["mb1"],
    "3ddfa-v2-mb05": NETWORKS["mb05"],
    "mediapipe": TASK,
    "synergynet": CHECKPOINT,
}


def load_peer(name: str, folder: str | Path | None = None) -> Peer:
    """Load the peer of a name, from a folder with its files, by default that of the environment variable `FOLDER`.

    Raises `ValueError` for an unknown name, without a folder that is needed, and for files that are missing or wrong.
    """
    if name not in PEERS:
        raise ValueError(f"peers: expected {', '.join(PEERS)}, got {name!r}")
    return PEERS[name](_given_or_set(folder))


def present_peers(folder: str | Path | None = None) -> dict[str, Peer]:
    """Load the peers whose network is in a folder, by name; without a folder there are none.

    The folder is as for `load_peer`. Raises `ValueError` if there is no such folder, and as `load_peer` for a network
    without its other files.
    """
    folder = _given_or_set(folder)
    if folder is None:
        return {}
    if not Path(folder).is_dir():
        raise ValueError(f"peers: {folder} is no folder; give the one with the peers' files ({FOLDER})")
    present = [name for name, file in _NETWORK_FILES.items() if (Path(folder) / file).is_file()]
    return {name: load_peer(name, folder) for name in present}


def _given_or_set(folder: str | Path | None) -> str | Path | None:
    return os.environ.get(FOLDER) if folder is None else folder


def _given(folder: str | Path | None) -> Path:
    if folder is None:
        raise ValueError(f"peers: give the folder with the peers' files (--peer-files DIR, or {FOLDER})")
    return Path(folder)

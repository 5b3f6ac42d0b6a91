"""Other people's networks with the call and the `Prediction` of m4kit's own, to compare with."""

from __future__ import annotations

from pathlib import Path

from m4kit.peers.face_mesh import MediaPipe
from m4kit.peers.peer import Peer
from m4kit.peers.synergynet import SynergyNet
from m4kit.peers.tddfa_v2 import TddfaV2

__all__ = ["PEERS", "MediaPipe", "Peer", "SynergyNet", "TddfaV2", "load_peer"]

PEERS = {
    "3ddfa-v2-mb1": lambda folder: TddfaV2(_given(folder), "mb1"),
    "3ddfa-v2-mb05": lambda folder: TddfaV2(_given(folder), "mb05"),
    "mediapipe": MediaPipe,
    "synergynet": lambda folder: SynergyNet(_given(folder)),
}
"""How each peer is made from the folder that holds its files, by its name."""


def load_peer(name: str, folder: str | Path | None = None) -> Peer:
    """The peer of a name, from a folder with its files.

    Raises `ValueError` for an unknown name, without a folder that is needed, and for files that are missing or wrong.
    """
    if name not in PEERS:
        raise ValueError(f"peers: expected {', '.join(PEERS)}, got {name!r}")
    return PEERS[name](folder)


def _given(folder: str | Path | None) -> Path:
    if folder is None:
        raise ValueError("peers: give the folder with the peers' files (--peer-files DIR)")
    return Path(folder)

"""Files that are there as a whole or not at all."""

from __future__ import annotations

from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all, whenever the process ends."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    part.replace(path)

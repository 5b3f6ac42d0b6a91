"""The browser's side of the views: modules without a bundler, of files that lie beside this one."""

from __future__ import annotations

from pathlib import Path


def listening_module(name: str) -> str:
    """The JavaScript of a view, with `keepListening` of `listening.js` before it."""
    folder = Path(__file__).parent
    return "\n".join((folder / file).read_text(encoding="utf-8") for file in ("listening.js", name))

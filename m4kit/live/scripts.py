"""The browser's side of the views: JavaScript without a bundler, put together from the files in `js/`.

The explorers' widgets and the live pages use the same files. A widget's `module` ends with `export default`, as
anywidget wants it; a page has several such modules in one script, each as a `part` with a name.
"""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "js"
_EVERYWHERE = ("messages", "keyboard")
_EXPORT = "export default {"

CANVAS = ("shaders", "geometry", "panel", "renderer", "gestures", "view")
"""The files of the 3D view."""

TRIANGLE = ("weight_triangle",)
"""The files of a triangle of head weights."""


def read(name: str) -> str:
    """Read a file in `js/` as text."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def module(*names: str) -> str:
    """Join the files `names` to a JavaScript module, after the two that every module needs."""
    return "\n".join(read(f"{name}.js") for name in _EVERYWHERE + names)


def part(constant: str, *names: str) -> str:
    """Make the same module a constant of a script, without names of its own in that script."""
    text = module(*names)
    if text.count(_EXPORT) != 1:
        raise ValueError(f"expected one {_EXPORT!r} in {', '.join(names)}, got {text.count(_EXPORT)}")
    return f"const {constant} = (() => {{\n{text.replace(_EXPORT, 'return {')}\n}})();\n"

"""Imports run one way: a module imports only what stands before it."""

import ast
from pathlib import Path

import m4kit

PACKAGE = Path(m4kit.__file__).parent

LAYERS = (
    ("stand_ins", "images", "camera", "files", "pages", "assets"),
    ("landmarks", "boxes", "metrics"),
    ("face_model",),
    ("parameters",),
    ("weights",),
    ("network", "folding"),
    ("detector", "views"),
    ("prediction",),
    ("confidence",),
    ("predictor",),
    ("light", "head_frame"),
    ("render",),
    ("vertex_colours", "export"),
    ("visualize",),
    ("predict_page",),
    ("conditions",),
    ("datasets",),
    ("evaluate",),
    ("scenes",),
    ("training",),
    ("ablation",),
    ("explore",),
    ("cli",),
)
"""The rooms of the package, lowest first."""

LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name below `m4kit`."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(part for part in parts if part != "__init__")] = path
    return {name: path for name, path in names.items() if name}


def imported(path: Path) -> set[str]:
    """What a module imports of m4kit, wherever in it, as dotted names below `m4kit`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "m4kit":
            module = ".".join(node.module.split(".")[1:])
            found |= {f"{module}.{alias.name}".strip(".") for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                ".".join(alias.name.split(".")[1:]) for alias in node.names if alias.name.startswith("m4kit.")
            }
    return found


def targets(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules among `known` that a module imports."""
    return {
        name if name in known else name.rpartition(".")[0]
        for name in imported(path)
        if name in known or name.rpartition(".")[0] in known
    }


class TestLayers:
    def test_every_module_has_its_layer(self):
        assert {name.split(".")[0] for name in modules()} == set(LEVEL)

    def test_no_import_points_up(self):
        known, upward = modules(), []
        for name, path in known.items():
            room = name.split(".")[0]
            upward += [
                f"{name} imports {target}"
                for target in targets(path, known)
                if LEVEL[target.split(".")[0]] > LEVEL[room]
            ]
        assert upward == []

    def test_no_imports_run_in_a_circle(self):
        known = modules()
        graph = {name: targets(path, known) - {name} for name, path in known.items()}
        done: set[str] = set()

        def visit(name: str, way: tuple[str, ...]) -> None:
            assert name not in way, " -> ".join((*way[way.index(name) :], name))
            if name not in done:
                for target in graph[name]:
                    visit(target, (*way, name))
                done.add(name)

        for name in graph:
            visit(name, ())

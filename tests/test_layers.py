"""Imports run one way: a module imports only what stands before it."""

import ast
from pathlib import Path

import m4kit

PACKAGE = Path(m4kit.__file__).parent

LAYERS = (
    (
        "checks",
        "open3d_loading",
        "reading",
        "pixels",
        "images",
        "camera",
        "files",
        "inference",
        "pages",
        "tables",
        "assets",
        "commands",
    ),
    ("landmarks", "boxes", "priors", "metrics"),
    ("face_model",),
    ("parameters",),
    ("weights",),
    ("network", "faceboxes", "folding"),
    ("engine",),
    ("detector", "views"),
    ("prediction",),
    ("confidence",),
    ("prediction_file",),
    ("predictor",),
    ("many", "spread"),
    ("face_table", "table_folder"),
    ("tabulation",),
    ("video",),
    ("peers",),
    ("light", "head_frame", "exaggeration", "raster", "coarse_mesh"),
    ("render",),
    ("texture",),
    ("vertex_colours", "export"),
    ("visualize",),
    ("live",),
    ("photo_files",),
    ("predict_page",),
    ("predict_command",),
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

METHODS_THAT_REACH_UP = {
    *(("prediction", room) for room in ("prediction_file", "vertex_colours", "export", "visualize", "live")),
    ("video.result", "visualize"),
}
"""`plot`, `save` and their like on a result import what they need inside the method, as in pandas."""

LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name below `m4kit`."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(part for part in parts if part != "__init__")] = path
    return {name: path for name, path in names.items() if name}


def imported(path: Path, *, anywhere: bool = True) -> set[str]:
    """What a module imports of m4kit, `anywhere` or at its top alone, as dotted names below `m4kit`."""
    found, tree = set(), ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if anywhere else tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "m4kit":
            module = ".".join(node.module.split(".")[1:])
            found |= {f"{module}.{alias.name}".strip(".") for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                ".".join(alias.name.split(".")[1:]) for alias in node.names if alias.name.startswith("m4kit.")
            }
    return found


def targets(name: str, known: dict[str, Path]) -> set[str]:
    """The modules among `known` that a module imports, but for what its methods may reach up to."""

    def modules_of(names: set[str]) -> set[str]:
        modules = {one if one in known else one.rpartition(".")[0] for one in names}
        return modules & known.keys()

    everything = modules_of(imported(known[name]))
    at_the_top = modules_of(imported(known[name], anywhere=False))
    return at_the_top | {one for one in everything if (name, one.split(".")[0]) not in METHODS_THAT_REACH_UP}


class TestLayers:
    def test_every_module_has_its_layer(self):
        assert {name.split(".")[0] for name in modules()} == set(LEVEL)

    def test_no_import_points_up(self):
        known, upward = modules(), []
        for name in known:
            room = name.split(".")[0]
            upward += [
                f"{name} imports {target}"
                for target in targets(name, known)
                if LEVEL[target.split(".")[0]] > LEVEL[room]
            ]
        assert upward == []

    def test_no_imports_run_in_a_circle(self):
        known = modules()
        graph = {name: targets(name, known) - {name} for name in known}
        done: set[str] = set()

        def visit(name: str, way: tuple[str, ...]) -> None:
            assert name not in way, " -> ".join((*way[way.index(name) :], name))
            if name not in done:
                for target in graph[name]:
                    visit(target, (*way, name))
                done.add(name)

        for name in graph:
            visit(name, ())

"""The site that `make docs` builds: Sphinx with MyST-NB and furo, offline, with the notebooks' stored outputs.

The repository's root is the source folder, so links between pages, notebooks and licences work on the site as they
do in the repository. `docs/index.md` is the first page.
"""

import pkgutil
import re
import subprocess
import sys
from html import escape
from importlib import import_module
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

import m4kit

ROOT = Path(__file__).parent.parent
LIVE = "live"
"""The folder of the live pages in the site."""

project = "m4kit"
author = "m4kit's maintainers"
copyright = author
release = version = m4kit.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "notebooks/*.ipynb",
    "sample_images/README.md",
    "m4kit/assets/LICENSES.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]
exclude_patterns = [".*", "build", "dist", "tests", "scripts", "benchmarks"]

nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
# A notebook begins with its one title, and answers stand below it without titles of their own.
# Plotly charts are live pages.
suppress_warnings = ["toc.empty_glob", "mystnb.unknown_mime_type"]

# A block without a language is for the shell.
highlight_language = "none"
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 90
python_use_unqualified_type_names = True
add_module_names = False

html_theme = "furo"
html_title = "m4kit"
html_static_path = ["_static"]
html_css_files = ["m4kit.css"]
html_js_files = ["frames.js"]
html_show_sourcelink = False
html_copy_source = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"


def modules_of(package: str) -> list[str]:
    """The public modules of a package that its page describes: the package if it exports names, else its modules."""
    module = import_module(package)
    if package != "m4kit" and getattr(module, "__all__", None):
        return [package]
    names = [f"{package}.{found.name}" for found in pkgutil.iter_modules(module.__path__)]
    return [name for name in names if not name.rpartition(".")[2].startswith("_")]


class Modules(SphinxDirective):
    """Describes a package: `modules:: m4kit.scenes`. For `m4kit` itself, its modules that are no packages."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        package, lines = self.arguments[0], []
        names = modules_of(package)
        if package == "m4kit":
            names = [name for name in names if not hasattr(import_module(name), "__path__")]
        for name in names:
            # What stands at the top of m4kit is described there.
            shown = [key for key, home in m4kit._HOMES.items() if name == f"m4kit.{home}"]
            lines += [name, "-" * len(name), "", f".. automodule:: {name}", "   :members:"]
            lines += ["   :imported-members:"] if getattr(import_module(name), "__all__", None) else []
            lines += [f"   :exclude-members: {', '.join(shown)}"] if shown else []
            lines += [""]
        node = nodes.section()
        node.document = self.state.document
        nested_parse_with_titles(self.state, StringList(lines, source=package), node)
        return node.children


def skip_fields(_app, _what, _name, obj, *_):
    """Leave out the fields of named tuples that Python describes itself: the class's text says what they are."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else None


def add_other_pages(app, docname, source):
    """List the pages and notebooks that no table of contents names where `docs/index.md` says "other pages"."""
    if docname != root_doc:
        return
    named = set(re.findall(r"^(?:/|\.\./)?([\w/]+)$", source[0], re.MULTILINE))
    pages = sorted(name for name in app.env.found_docs if name.startswith("docs/") and name.count("/") == 1)
    other = [name for name in pages if name != root_doc and name.removeprefix("docs/") not in named]
    source[0] = source[0].replace("% other pages", "\n".join(f"/{name}" for name in other))


def to_rst(_app, _what, _name, _obj, _options, lines):
    """Our docstrings are plain text: bars and stars are themselves, an indented block is code, and a word may end
    right after a backtick."""
    written, code = [], False
    for line in lines:
        text = line.strip()
        inside = len(line) - len(line.lstrip()) >= 4
        code = code and (inside or not text)
        if inside and not code and not text.startswith(">>>") and _begins_block(written):
            written += ["::", ""]
            code = True
        if not code and not text.startswith((">>>", "...")):
            line = re.sub(r"(`[\w.]+`)(?=\w)", r"\1\\ ", line)  # noqa: PLW2901
            line = re.sub(r"\||\*(?=\.)", r"\\\g<0>", line)  # noqa: PLW2901
        written.append(line)
    lines[:] = written


def _begins_block(written: list[str]) -> bool:
    """Whether a new paragraph begins after these lines, which is no part of a list."""
    above = next((line for line in reversed(written) if line.strip()), "")
    return (not written or not written[-1].strip()) and not above.startswith((" ", "- "))


def describe_outputs(_app, doctree):
    """Give pictures that cells made a text for those who do not see them: the line of code that made them."""
    for cell in doctree.findall(lambda node: isinstance(node, nodes.container) and "cell" in node["classes"]):
        code = next(cell.findall(nodes.literal_block), None)
        lines = code.astext().strip().splitlines() if code else []
        for picture in cell.findall(nodes.image):
            if lines and not picture.get("alt"):
                picture["alt"] = f"The output of the cell that ends with {lines[-1].strip()}"


def write_live_pages(app):
    """Write the live pages, in a process of its own, unless they are newer than all that they are made of."""
    if app.builder.name != "html":
        return
    out = Path(app.outdir) / LIVE
    sources = [Path(__file__).parent / "live_pages.py", *(ROOT / "notebooks").glob("*.ipynb")]
    sources += [
        path for path in (ROOT / "m4kit").rglob("*") if path.suffix in (".py", ".js", ".css", ".html")
    ]
    oldest = min((path.stat().st_mtime for path in out.glob("*.html")), default=0)
    if oldest < max(path.stat().st_mtime for path in sources):
        subprocess.run([sys.executable, Path(__file__).parent / "live_pages.py", out], check=True)


def show_live_pages(app, doctree):
    """Show live pages in place of the still pictures of explorers, and where plotly charts belong."""
    docname = app.env.docname
    if app.builder.name != "html" or not docname.startswith("notebooks/"):
        return
    for cell in doctree.findall(lambda node: isinstance(node, nodes.container) and "cell" in node["classes"]):
        name = f"{Path(docname).name}_{cell.get('cell_index')}.html"
        if not (Path(app.outdir) / LIVE / name).exists():
            continue
        output = [node for node in cell.children if "cell_output" in node.get("classes", [])]
        code = next(cell.findall(nodes.literal_block)).astext().strip().splitlines()[-1]
        frame = nodes.raw("", live_frame(f"../{LIVE}/{name}", f"Live: {code}"), format="html")
        if output:
            stills = [
                node
                for node in output[0].children
                if "m4kit-still" in node.astext() or any(node.findall(nodes.image))
            ]
            for node in stills:
                output[0].remove(node)
            output[0].append(frame)
        else:
            cell.append(frame)


def live_frame(address: str, title: str) -> str:
    """A live page inside a page of the site."""
    return f'<iframe class="live" src="{address}" title="{escape(title)}" loading="lazy"></iframe>'


def write_first_page(app, error):
    """Let `build/docs/index.html` lead to the first page."""
    if error is None and app.builder.name == "html":
        target = f"{root_doc}.html"
        page = (
            f'<!doctype html><meta charset="utf-8"><title>m4kit</title>'
            f'<meta http-equiv="refresh" content="0; url={target}"><a href="{target}">m4kit</a>\n'
        )
        (Path(app.outdir) / "index.html").write_text(page, encoding="utf-8")


def setup(app):
    app.add_directive("modules", Modules)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-docstring", to_rst)
    app.connect("builder-inited", write_live_pages)
    app.connect("doctree-read", describe_outputs)
    app.connect("doctree-read", show_live_pages)
    app.connect("source-read", add_other_pages)
    app.connect("build-finished", write_first_page)

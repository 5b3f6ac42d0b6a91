"""Without JupyterLab, widgets, plotly and Open3D, predictions and tables work; what needs one of them says so."""

import re
import subprocess
import sys
import textwrap

import pytest

from helpers.paths import ROOT, SAMPLES

HIDDEN = ("jupyterlab", "ipywidgets", "anywidget", "IPython", "plotly", "open3d")


def run(code, tmp_path):
    """What a script prints that runs in a process without the hidden packages."""
    lines = [
        "import sys",
        f"sys.modules.update(dict.fromkeys({HIDDEN}))",
        "import m4kit",
        f"photo, folder = {str(SAMPLES / 'astronaut.jpg')!r}, {str(tmp_path)!r}",
        textwrap.dedent(code),
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_predictions_tables_pictures_and_files_work(tmp_path):
    code = """
        prediction = m4kit.predict(photo)
        print(len(prediction.to_dataframe()), len(prediction.to_dict()["faces"]))
        path = prediction.save(folder + "/one.m4kit.npz")
        print((m4kit.load(path)[0].vertices == prediction[0].vertices).all())
        print(prediction[0].save(folder + "/face.ply").stat().st_size > 100_000)
        print(prediction.plot(mesh=True).save(folder + "/plot.jpg").exists())
        print(sorted(set(sys.modules) & {"jupyterlab.labapp", "plotly.graph_objects", "open3d.cpu"}))
    """
    assert run(code, tmp_path).splitlines() == ["1 1", "True", "True", "True", "[]"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "m4kit.explore.MeshViewer",
            "MeshViewer needs the package (ipywidgets|anywidget), which is not installed",
        ),
        ("m4kit.explore.ActivationExplorer", "needs the package .+, which is not installed: pip install"),
        ("face.to_open3d()", "needs Open3D, but importing it failed"),
    ],
)
def test_what_needs_more_says_so(call, message, tmp_path):
    code = f"""
        (face, *_) = m4kit.predict(photo)
        try:
            {call}
        except (ImportError, ValueError, RuntimeError) as error:
            print(error)
    """
    assert re.search(message, run(code, tmp_path))

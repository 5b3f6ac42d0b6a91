"""What all explorers share: guarded callbacks, changes together, and imports on demand."""

import subprocess
import sys
import threading
import time

import ipywidgets as widgets
import pytest

from m4kit import explore
from m4kit.explore.explorer import Explorer


@pytest.fixture
def explorer():
    explorer = Explorer()
    explorer.calls = []
    return explorer


def test_a_callback_that_fails_is_recorded_and_shown_until_the_next_success(explorer):
    def fail(value):
        if value:
            raise ValueError("no <such> face")
        return "fine"

    guarded = explorer.guard(fail)
    assert guarded(True) is None
    assert isinstance(explorer.errors.pop(), ValueError)
    assert "no &lt;such&gt; face" in explorer.error_line.value
    assert guarded(False) == "fine"
    assert explorer.error_line.value == ""


def test_a_user_reads_what_is_wrong_without_its_name_in_python(explorer):
    def fail(error):
        raise error

    guarded = explorer.guard(fail)
    guarded(ValueError("expected a face, got none"))
    assert explorer.error_line.text == "expected a face, got none"
    guarded(PermissionError(13, "Permission denied", "a.gif"))
    assert explorer.error_line.text == "a.gif: Permission denied"
    # Nobody can act on the words "'nose'".
    guarded(KeyError("nose"))
    assert explorer.error_line.text == "This is a fault in m4kit, please report it: KeyError: 'nose'"
    assert [type(error) for error in explorer.errors] == [ValueError, PermissionError, KeyError]
    explorer.errors.clear()


def test_on_follows_values_and_clicks(explorer):
    slider, button = widgets.FloatSlider(), widgets.Button()
    explorer.on(slider, lambda: explorer.calls.append(slider.value))
    explorer.on(button, lambda: explorer.calls.append("click"))
    slider.value = 2.0
    button.click()
    assert explorer.calls == [2.0, "click"]


def test_callbacks_of_two_threads_do_not_run_at_once_and_none_is_lost(explorer):
    sliders = [widgets.FloatSlider() for _ in range(2)]
    for slider in sliders:

        def slow(slider=slider):
            explorer.calls.append("begin")
            with explorer.together():
                time.sleep(0.05)
            explorer.calls.append("end")

        explorer.on(slider, slow)
    threads = [threading.Thread(target=setattr, args=(slider, "value", 1.0)) for slider in sliders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert explorer.calls == ["begin", "end"] * 2


def test_changes_made_together_run_no_callback_even_if_they_fail(explorer):
    slider = widgets.FloatSlider()
    explorer.on(slider, lambda: explorer.calls.append(slider.value))
    with pytest.raises(ZeroDivisionError), explorer.together():
        slider.value = 2.0
        with explorer.together():
            slider.value = 3.0
        slider.value = 4.0
        slider.value = 1 / 0
    assert explorer.calls == []
    slider.value = 5.0
    assert explorer.calls == [5.0]


def test_the_error_line_is_the_last_row(explorer):
    one = widgets.Label()
    explorer.content = (one,)
    assert explorer.content == (one,)
    assert explorer.children == (one, explorer.error_line)


def test_it_is_displayed_as_its_still_a_note_and_the_live_widget_each_on_its_own(explorer, monkeypatch):
    """JupyterLab shows only one format of an output, and for a widget whose kernel is gone an error."""
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.append(bundle))
    explorer.still = lambda: b"\xff\xd8picture"
    explorer._ipython_display_()
    widget = "application/vnd.jupyter.widget-view+json"
    assert [list(bundle) for bundle in shown] == [["text/plain", "image/jpeg"], ["text/html"], [widget]]
    assert shown[2][widget]["model_id"] == explorer.model_id


def test_a_viewer_brings_neither_training_nor_studies_nor_plotly_along():
    code = (
        "import sys; from m4kit.explore import MeshViewer\n"
        "heavy = {'m4kit.training', 'm4kit.ablation', 'm4kit.scenes', 'm4kit.evaluate', 'm4kit.datasets'}\n"
        "heavy |= {'plotly', 'pandas', 'open3d'}\n"
        "print(sorted(heavy & set(sys.modules)), end='')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]"


def test_every_explorer_is_listed_and_found_at_its_first_use():
    assert dir(explore) == explore.__all__
    assert [getattr(explore, name).__name__ for name in explore.__all__] == explore.__all__
    with pytest.raises(AttributeError, match="no attribute 'Viewer'; it has ActivationExplorer"):
        explore.Viewer  # noqa: B018

"""The live view's kernel side: what travels to the browser, and when."""

import ipywidgets as widgets
import numpy as np
import pytest

from m4kit.explore.canvas import MESSAGE_BYTES, Canvas
from m4kit.face_model import FaceModel

TRIANGLES = np.array([[0, 1, 2], [0, 2, 3]])
SQUARE = np.array([[0.0, 0, 0], [10, 0, 0], [10, 20, 1], [0, 20, 1]])


@pytest.fixture
def canvas(sent):
    return Canvas()


def kinds(messages):
    return [content["kind"] for content, _ in messages]


def test_the_browser_can_undo_the_steps_to_within_a_few_micrometres(canvas, sent):
    vertices = FaceModel.load().mean
    canvas.set_vertices(vertices)
    ((content, (buffer,)),) = sent
    steps = np.frombuffer(buffer, "<u2").reshape(-1, 3)
    undone = np.array(content["low"]) + steps * np.array(content["step"])
    assert np.abs(undone - vertices).max() < 0.002


def test_no_message_of_the_packaged_face_is_large(canvas, sent):
    model = FaceModel.load()
    canvas.set_mesh(model.mean, model.triangles)
    canvas.set_colours(np.zeros((len(model.mean), 3), np.uint8))
    canvas.swing(model.identity_modes[0])
    assert max(sum(map(len, buffers)) for _, buffers in sent) <= MESSAGE_BYTES


def test_triangles_in_pieces_are_the_triangles(canvas, sent):
    triangles = FaceModel.load().head.triangles
    canvas.set_triangles(triangles)
    assert len(sent) > 1
    flat = np.zeros(sent[0][0]["total"], dtype=int)
    for content, (buffer,) in sent:
        piece = np.frombuffer(buffer, "<u2")
        flat[content["first"] : content["first"] + len(piece)] = piece
    assert np.array_equal(flat.reshape(-1, 3), triangles)


def test_triangles_travel_only_when_they_change(canvas, sent):
    canvas.set_mesh(SQUARE, TRIANGLES)
    canvas.set_mesh(SQUARE + 1, TRIANGLES.copy())
    assert kinds(sent) == ["triangles", "vertices", "vertices"]
    canvas.set_mesh(SQUARE, TRIANGLES[:1])
    assert kinds(sent)[3:] == ["triangles", "vertices"]


def test_colours_travel_only_when_they_change(canvas, sent):
    colours = np.arange(12, dtype=np.uint8).reshape(4, 3)
    for sent_colours in (colours, colours.copy(), colours + 1):
        canvas.set_colours(sent_colours)
    assert kinds(sent) == ["colours", "colours"]
    canvas.set_panels(["a", "b"])
    canvas.set_colours(colours, panel=1)
    canvas.set_panels(["a"])
    canvas.set_panels(["a", "b"])
    canvas.set_colours(colours, panel=1)
    assert kinds(sent).count("colours") == 4


def test_a_browser_that_opens_later_hears_the_last_of_each_thing(canvas, sent):
    canvas.set_panels(["a"])
    canvas.set_mesh(SQUARE, TRIANGLES)
    canvas.set_vertices(SQUARE * 2)
    canvas.set_points("landmarks", SQUARE, np.zeros((4, 3)))
    del sent[:]
    canvas._received(canvas, {"kind": "ready"}, [])
    assert kinds(sent) == ["panels", "triangles", "vertices", "points"]
    assert sent[2][0]["step"][0] == pytest.approx(20 / 65535)


def test_the_browser_can_find_its_model_from_the_start(canvas):
    """A trait that is set after the comm was opened could get lost with the messages that it is to save."""
    assert canvas.own_id == canvas.model_id
    assert Canvas().own_id != canvas.own_id


def test_a_browser_can_move_modes_by_itself(canvas, sent):
    """What it gets, added up, is the mesh that the kernel would send."""
    modes, sliders = np.stack([SQUARE[:, ::-1], SQUARE**2]), [widgets.FloatSlider(), widgets.FloatSlider()]
    canvas.follow(sliders, lambda number: modes[number])
    assert canvas.sliders == {sliders[0].model_id: 0, sliders[1].model_id: 1}
    canvas.set_vertices(SQUARE, at={1: 0.5})
    canvas._received(canvas, {"kind": "mode", "mode": 1}, [])
    (vertices, (state,)), (mode, (displacement,)) = sent
    assert vertices["at"] == {"1": 0.5} and mode["mode"] == 1

    def undone(content, buffer):
        steps = np.frombuffer(buffer, "<u2").reshape(-1, 3)
        return np.array(content["low"]) + steps * np.array(content["step"])

    moved = undone(vertices, state) + (2.0 - 0.5) * undone(mode, displacement)
    np.testing.assert_allclose(moved, SQUARE + 1.5 * modes[1], atol=0.02)


def test_a_browser_that_opens_later_hears_the_looks_too(canvas, monkeypatch):
    state = []
    monkeypatch.setattr(Canvas, "send_state", lambda self, key=None: state.extend(key))
    canvas._received(canvas, {"kind": "ready"}, [])
    assert {"camera", "show", "opacity", "shading", "label"} <= set(state)


def test_a_panel_that_is_gone_is_forgotten(canvas, sent):
    canvas.set_panels(["a", "b"])
    for panel in (0, 1):
        canvas.set_mesh(SQUARE, TRIANGLES, panel=panel)
    canvas.set_panels(["a"])
    del sent[:]
    canvas._received(canvas, {"kind": "ready"}, [])
    assert {content["panel"] for content, _ in sent} == {0}
    del sent[:]
    canvas.set_panels(["a", "b"])
    canvas.set_mesh(SQUARE, TRIANGLES, panel=1)
    assert kinds(sent) == ["panels", "triangles", "vertices"]


def test_a_new_mesh_ends_the_swing_for_browsers_that_open_later(canvas, sent):
    canvas.set_mesh(SQUARE, TRIANGLES)
    canvas.swing(SQUARE)
    canvas.set_vertices(SQUARE)
    del sent[:]
    canvas._received(canvas, {"kind": "ready"}, [])
    assert "morph" not in kinds(sent)


def test_nothing_large_is_kept_in_the_saved_state(canvas):
    """A notebook saved with its widgets carries their traits; geometry is not among them."""
    model = FaceModel.load()
    canvas.set_mesh(model.mean, model.triangles)
    state = canvas.get_state()
    assert not any(isinstance(value, bytes | memoryview) for value in state.values())
    assert sum(len(str(value)) for name, value in state.items() if name not in ("_esm", "_css")) < 4_000


def test_clicks_resets_and_browsers_without_webgl_are_answered(canvas, sent):
    heard = []
    canvas.on_click = lambda panel, vertex: heard.append((panel, vertex))
    canvas.on_reset = lambda: heard.append("reset")
    canvas.still = lambda: b"jpeg"
    canvas._received(canvas, {"kind": "clicked", "panel": 1, "vertex": 7}, [])
    canvas._received(canvas, {"kind": "reset"}, [])
    canvas._received(canvas, {"kind": "no webgl"}, [])
    assert heard == [(1, 7), "reset"]
    assert sent == [({"kind": "still"}, [b"jpeg"])]


@pytest.mark.parametrize("broken", [SQUARE[:, :2], SQUARE * np.nan])
def test_points_of_a_wrong_shape_or_not_finite_are_an_error_before_it_travels(canvas, sent, broken):
    with pytest.raises(ValueError, match="expected finite points"):
        canvas.set_vertices(broken)
    assert not sent


def test_points_without_a_colour_each_are_an_error(canvas):
    with pytest.raises(ValueError, match="landmarks: expected places"):
        canvas.set_points("landmarks", SQUARE, np.zeros((3, 3)))

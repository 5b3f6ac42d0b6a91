"""The photo on the mesh, and the skin's tone where the photo does not show the skin."""

import dataclasses

import cv2
import numpy as np
import pytest

from m4kit.render import vertex_normals
from m4kit.texture import _sampled, visible
from m4kit.vertex_colours import vertex_colours

from helpers.faces import MODEL, face

SKIN, DARK = (210, 160, 130), (40, 30, 25)


def painted(dark, shown=None):
    """The texture of a face, `face()` unless given, in a photo of skin, `dark` (240, 240) where a mask says so."""
    photo = np.full((240, 240, 3), SKIN, np.uint8)
    photo[dark] = DARK
    return vertex_colours(shown or face(), "texture", image=photo)


def test_the_texture_is_the_photos_colour_where_the_photo_shows_the_vertex():
    across = np.linspace(0, 255, 240).astype(np.uint8)
    photo = np.stack(np.broadcast_arrays(across[None], across[:, None], np.uint8(40)), axis=-1)
    shown = face(pose=(35, 0, 0))
    texture = vertex_colours(shown, "texture", image=photo)
    seen = ~texture.filled
    assert 0.2 < seen.mean() < 0.8
    expected = shown.vertices[seen, :2] * 255 / 239
    error = np.abs(texture.colours[seen, :2] - expected).max(axis=1)
    # At the border they fade.
    assert (error < 2).mean() > 0.95


def test_a_photo_wider_than_opencv_reads_gives_the_same_texture():
    across = np.linspace(0, 255, 240).astype(np.uint8)
    wide = np.zeros((240, 40_000, 3), np.uint8)
    photo = wide[:, -480:]
    photo[:, -240:] = np.stack(np.broadcast_arrays(across[None], across[:, None], np.uint8(40)), axis=-1)
    first = face()
    shown, moved = (
        dataclasses.replace(first, crop=first.crop._replace(left=first.crop.left + left))
        for left in (240, 40_000 - 240)
    )
    here, there = (
        vertex_colours(one, "texture", image=image) for one, image in ((shown, photo), (moved, wide))
    )
    both = ~here.filled & ~there.filled
    assert both.sum() > 0.95 * (~here.filled).sum() > 1000
    assert np.abs(there.colours[both].astype(int) - here.colours[both]).max() <= 2


def test_a_mesh_of_more_vertices_than_opencv_reads_at_once_has_the_photos_colours():
    photo = np.full((40, 60, 3), SKIN, np.uint8)
    photo[:, 30:] = DARK
    places = np.random.default_rng(0).uniform(1, 28, (70_000, 3))
    places[40_000:, 0] += 30
    colours = _sampled(photo, places)
    assert (colours[:40_000] == SKIN).all()
    assert (colours[40_000:] == DARK).all()


def test_what_the_photo_hides_is_filled_from_the_mirrored_side():
    """A photo that is red on the seen cheek only: turned away, the other cheek is red too, not the wall behind."""
    shown = face(pose=(50, 0, 0))
    photo = np.full((240, 240, 3), (0, 0, 255), dtype=np.uint8)
    photo[:, : int(shown.vertices[:, 0].max()) + 1] = (200, 30, 30)
    texture = vertex_colours(shown, "texture", image=photo)
    cheek = MODEL.regions["cheek"] & texture.filled
    assert cheek.any()
    assert (texture.colours[cheek] == (200, 30, 30)).all()


def test_gaps_beside_the_nose_are_filled_from_beside_them_and_not_from_the_other_side_in_another_light():
    shown = face()
    photo = np.full((240, 240, 3), 150, dtype=np.uint8)
    photo[:, : round(float(shown.vertices[:, 0].mean()))] = 110
    texture = vertex_colours(shown, "texture", image=photo)
    across = vertex_normals(shown.vertices, shown.triangles)[:, 0]
    nose = MODEL.regions["nose"] & texture.filled
    # The inner walls of the nostrils face the other side, and are filled as in its light.
    for side, colour in (
        ((shown.vertices[:, 0] < 110) & (across < -0.1), 110),
        ((shown.vertices[:, 0] > 130) & (across > 0.1), 150),
    ):
        assert (nose & side).sum() > 10
        off = np.abs(texture.colours[nose & side].astype(int) - colour)
        # Nearer to this side's colour than to the other's.
        assert (off < 20).mean() > 0.95


def test_a_vertex_behind_the_nose_is_not_seen():
    turned = face(pose=(60, 0, 0))
    seen = visible(turned.vertices, turned.triangles)
    person_left = MODEL.mean[:, 0] > 30
    assert seen[MODEL.regions["cheek"] & person_left].mean() != pytest.approx(
        seen[MODEL.regions["cheek"] & ~person_left].mean(), abs=0.3
    )


def test_hair_over_the_forehead_and_the_ears_is_filled_with_skin_and_marked():
    shown = face()
    rows, columns = np.mgrid[:240, :240]
    left, right = shown.landmarks[[0, 16], 0]
    brows = shown.landmarks[17:27, 1].min()
    texture = painted((rows < brows - 15) | (columns < left) | (columns > right))
    hair = np.array(SKIN) - texture.colours > 20
    assert not hair.any()
    x, y = shown.vertices[:, :2].T
    assert texture.filled[(y < brows - 17) | (x < left - 2) | (x > right + 2)].all()
    assert not texture.filled[MODEL.regions["nose"]].all()


def test_brows_and_a_beard_stay():
    shown = face()
    rows, columns = np.mgrid[:240, :240]
    brows, lips = shown.landmarks[17:27, 1], shown.landmarks[57, 1]
    chin = (rows > lips + 4) & (np.abs(columns - 120) < 30)
    texture = painted(((rows > brows.min()) & (rows < brows.max())) | chin)
    x, y = shown.vertices[:, :2].T
    seen = visible(shown.vertices, shown.triangles)
    for part in (
        (y > lips + 6) & (np.abs(x - 120) < 27),
        np.linalg.norm(shown.vertices[:, :2] - shown.landmarks[19, :2], axis=1) < 4,
    ):
        assert (part & seen).sum() > 2
        assert not texture.filled[part & seen].any()


def test_the_filled_part_begins_in_the_photos_colours_and_ends_in_the_skins_tone_on_the_lit_side():
    """A photo that darkens downwards: no step at the border; hidden parts are as bright as the seen skin."""
    shade = np.linspace(1.0, 0.7, 240)[:, None, None]
    shown = face(pose=(30, 0, 0))
    photo = np.rint(np.broadcast_to(shade * SKIN, (240, 240, 3))).astype(np.uint8)
    texture = vertex_colours(shown, "texture", image=photo)
    edges = np.concatenate([shown.triangles[:, [0, 1]], shown.triangles[:, [1, 2]]])
    border = edges[texture.filled[edges[:, 0]] & ~texture.filled[edges[:, 1]]]
    assert len(border) > 50
    step = np.abs(np.diff(texture.colours[border].astype(int), axis=1))
    assert step.max() < 12
    low, high = (f(texture.colours[~texture.filled].astype(int), axis=0) for f in (np.min, np.max))
    assert (texture.colours[texture.filled] >= low - 3).all()
    assert (texture.colours[texture.filled] <= high + 3).all()


def test_a_face_outside_its_photo_has_a_plain_tone():
    shown = face()
    away = dataclasses.replace(shown, crop=shown.crop._replace(left=1000.0))
    texture = vertex_colours(away, "texture", image=np.zeros((240, 240, 3), np.uint8))
    assert texture.filled.all()
    assert len(np.unique(texture.colours, axis=0)) == 1


def test_the_mouths_inside_has_the_colours_that_the_photo_shows_between_the_lips():
    shown = face(coefficients=np.concatenate([np.zeros(40), MODEL.actions["jawOpen"]]))
    opening = np.zeros((240, 240), np.uint8)
    cv2.fillPoly(opening, [np.rint(shown.landmarks[60:, :2]).astype(np.int32)], 1)
    texture = painted(opening > 0, shown)
    inside = MODEL.regions["mouth_inside"] & texture.filled
    assert inside.sum() > 100
    assert np.abs(texture.colours[inside].astype(int) - DARK).mean() < 20

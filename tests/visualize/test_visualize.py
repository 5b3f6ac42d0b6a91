"""Drawings and figures: what changes where, what stands in a figure. Beauty is judged by eye, not here."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from PIL import Image

from m4kit import visualize
from m4kit.camera import HeadPose, rotation_from_euler
from m4kit.landmarks import LANDMARK_GROUPS
from m4kit.visualize.drawing import pose_text
from m4kit.visualize.figures import NO_FACE, ROWS

from helpers.faces import ellipsoid, ellipsoid_model, face
from helpers.synthetic import photo, prediction

DRAWINGS = [visualize.draw_landmarks, visualize.draw_pose, visualize.draw_mesh, visualize.draw_boxes]


def changed(picture, image):
    """Where a picture differs, as (n, 2) points x, y."""
    return np.argwhere((picture != image).any(axis=2))[:, ::-1]


def words_places(figure):
    """Left, bottom, right, top of all words of a figure with their boxes, (n, 4), in pixels."""
    figure.draw_without_rendering()
    words = [part for axes in figure.axes for part in (axes.title, axes.yaxis.label, *axes.texts)]
    return np.array(
        [(one.get_bbox_patch() or one).get_window_extent().extents for one in words if one.get_text()]
    )


def assert_words_keep_apart(figure):
    """No words reach into others or out of the figure; half a pixel may be lost to rounding."""
    places = words_places(figure)
    assert (places[:, :2] > -0.5).all() and (places[:, 2:] < np.array(figure.bbox.size) + 0.5).all()
    for one, other in combinations(places, 2):
        overlap = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
        assert overlap.min() < 0.5


def coloured(picture, image, colour):
    """The middle, (x, y), of the pixels that came closer to a colour."""
    before, after = (np.abs(part.astype(int) - colour).sum(axis=2) for part in (image, picture))
    points = np.argwhere((before - after > 60) & (after < 60))
    assert len(points)
    return points.mean(axis=0)[::-1]


def coloured_places(picture):
    """Where a picture is more than a little coloured, as (n, 2) points x, y."""
    return np.argwhere(np.ptp(picture.astype(int), axis=2) > 60)[:, ::-1]


class TestEveryDrawing:
    @pytest.mark.parametrize("draw", DRAWINGS)
    def test_the_picture_given_stays_untouched_and_the_new_one_has_its_size(self, draw):
        image = photo()
        before = image.copy()
        picture = draw(image, ellipsoid())
        np.testing.assert_array_equal(image, before)
        assert (picture.shape, picture.dtype) == (image.shape, np.uint8)
        assert (picture != image).any()

    @pytest.mark.parametrize("draw", DRAWINGS)
    def test_nothing_changes_far_from_the_face(self, draw):
        image = photo(400, 400)
        points = changed(draw(image, ellipsoid(centre=(150, 250), height=80)), image)
        assert np.abs(points - [150, 250]).max() < 80

    @pytest.mark.parametrize("draw", DRAWINGS)
    def test_a_face_half_outside_the_photo_is_drawn(self, draw):
        image = photo()
        assert len(changed(draw(image, ellipsoid(centre=(0, 190))), image))

    @pytest.mark.parametrize("draw", DRAWINGS)
    def test_several_faces_are_drawn_and_none_gives_the_photo(self, draw):
        image = photo(200, 400)
        points = changed(draw(image, [ellipsoid(centre=(100, 100)), ellipsoid(centre=(300, 100))]), image)
        assert points[:, 0].min() < 120
        assert points[:, 0].max() > 280
        np.testing.assert_array_equal(draw(image, []), image)

    @pytest.mark.parametrize("draw", DRAWINGS)
    def test_an_image_of_another_kind_is_refused(self, draw):
        with pytest.raises(ValueError, match="uint8 RGB"):
            draw(np.zeros((20, 20)), ellipsoid())

    def test_boxes_need_no_face(self):
        image, one = photo(), ellipsoid()
        box = np.asarray(one.box)
        expected = visualize.draw_boxes(image, one)
        np.testing.assert_array_equal(visualize.draw_boxes(image, box[None]), expected)
        bare = visualize.draw_boxes(image, one, scores=False)
        np.testing.assert_array_equal(visualize.draw_boxes(image, box[None, :4], scores=False), bare)
        np.testing.assert_array_equal(visualize.draw_boxes(image, np.zeros((0, 5))), image)
        with pytest.raises(ValueError, match=r"draw: box 0, .* has no area"):
            visualize.draw_boxes(image, box[None, [2, 1, 0, 3]])

    def test_drawings_compose(self):
        image, one = photo(), ellipsoid()
        picture = visualize.draw_boxes(visualize.draw_landmarks(visualize.draw_mesh(image, one), one), one)
        assert len(changed(picture, image)) > len(changed(visualize.draw_mesh(image, one), image))


class TestLandmarks:
    def test_the_groups_hold_each_of_the_68_points(self):
        contours = [contour for contours, _ in LANDMARK_GROUPS.values() for contour in contours]
        assert sorted({index for contour in contours for index in contour}) == list(range(68))
        closed = [contour for contour in contours if contour[0] == contour[-1]]
        assert [(min(c), max(c)) for c in closed] == [(36, 41), (42, 47), (48, 59), (60, 67)]

    @pytest.mark.parametrize("points", [True, False])
    def test_every_landmark_is_painted_and_no_pixel_far_from_a_contour(self, points):
        image, one = photo(), ellipsoid()
        picture = visualize.draw_landmarks(image, one, points=points)
        x, y = np.rint(one.landmarks[:, :2]).astype(int).T
        assert (picture[y, x] != image[y, x]).any(axis=1).all()
        painted = changed(picture, image)
        contours = [contour for contours, _ in LANDMARK_GROUPS.values() for contour in contours]
        distance = np.full(len(painted), np.inf)
        for contour in contours:
            ends = one.landmarks[list(contour), :2]
            for a, b in pairwise(ends):
                at = np.clip((painted - a) @ (b - a) / max((b - a) @ (b - a), 1e-9), 0, 1)
                distance = np.minimum(distance, np.linalg.norm(painted - a - at[:, None] * (b - a), axis=1))
        assert distance.max() < 3

    def test_lines_grow_with_the_face(self):
        shares = []
        for height in (60, 240, 960):
            image, one = photo(2 * height, 2 * height), ellipsoid(centre=(height, height), height=height)
            shares.append(len(changed(visualize.draw_landmarks(image, one), image)) / height**2)
        # A line of constant width would cover a sixteenth of the share on a face 16 times as tall.
        assert shares[0] < 6 * shares[2]

    def test_arrays_are_taken_for_faces(self):
        image, one, two = photo(), ellipsoid(), ellipsoid(centre=(60, 60), height=60)
        faces = visualize.draw_landmarks(image, [one, two])
        both = np.stack([one.landmarks, two.landmarks])
        np.testing.assert_array_equal(visualize.draw_landmarks(image, both), faces)
        np.testing.assert_array_equal(visualize.draw_landmarks(image, list(both[..., :2])), faces)

    @pytest.mark.parametrize("landmarks", [np.zeros((5, 2)), np.full((68, 2), np.nan)])
    def test_other_arrays_are_refused(self, landmarks):
        with pytest.raises(ValueError, match="68 finite landmarks"):
            visualize.draw_landmarks(photo(), landmarks)


class TestPose:
    @pytest.mark.parametrize(("yaw", "sign"), [(35, -1), (-35, 1)])
    def test_positive_yaw_turns_the_box_to_the_photos_left(self, yaw, sign):
        image = photo()
        picture = visualize.draw_pose(image, ellipsoid(yaw=yaw))
        front, back = coloured(picture, image, (255, 176, 32)), coloured(picture, image, (56, 139, 253))
        assert np.sign(front[0] - back[0]) == sign

    def test_positive_pitch_turns_the_box_up(self):
        image = photo()
        picture = visualize.draw_pose(image, ellipsoid(pitch=35))
        front, back = coloured(picture, image, (255, 176, 32)), coloured(picture, image, (56, 139, 253))
        assert front[1] < back[1]

    def test_axes_point_right_and_up_on_a_frontal_face_and_tilt_clockwise_with_positive_roll(self):
        image = photo()
        upright = visualize.draw_pose_axes(image, np.eye(3), (100, 100), 100)
        assert coloured(upright, image, (235, 64, 52)) == pytest.approx([135, 100], abs=10)
        assert coloured(upright, image, (52, 199, 89)) == pytest.approx([100, 65], abs=10)
        tilted = visualize.draw_pose_axes(image, rotation_from_euler(0, 0, 40), (100, 100), 100)
        assert coloured(tilted, image, (52, 199, 89))[0] > 110

    def test_the_nose_axis_goes_where_the_face_looks(self):
        image = photo()
        turned = visualize.draw_pose_axes(image, rotation_from_euler(60, 0, 0), (100, 100), 100)
        assert coloured(turned, image, (10, 108, 255))[0] < 90

    def test_the_box_surrounds_the_landmarks_of_a_frontal_face(self):
        image, one = photo(), ellipsoid()
        points = changed(visualize.draw_pose(image, one), image)
        low, high = one.landmarks[:, :2].min(axis=0), one.landmarks[:, :2].max(axis=0)
        assert (points.min(axis=0) < low).all()
        assert (points.max(axis=0) > high).all()

    def test_angles_are_written_with_their_signs(self):
        assert pose_text(HeadPose(12.4, -3.2, -0.3)) == "yaw +12°  pitch −3°  roll 0°"  # noqa: RUF001
        image, one = photo(), ellipsoid()
        below = visualize.draw_pose(image, one, box=False, text=True)
        assert changed(below, image)[:, 1].min() > one.landmarks[:, 1].max()

    def test_words_stay_in_a_small_picture(self):
        image = photo(60, 60)
        picture = visualize.draw_pose(image, ellipsoid(centre=(30, 40), height=50), text=True)
        assert len(changed(picture, image))


class TestMesh:
    def test_opacity_shows_the_photo_through(self):
        image, one = photo(), ellipsoid()
        solid, half = (visualize.draw_mesh(image, one, opacity=opacity).astype(float) for opacity in (1, 0.5))
        np.testing.assert_allclose(half, (solid + image) / 2, atol=1.01)

    def test_eyes_have_pupils(self):
        one = face()
        dark = visualize.draw_mesh(photo(240, 240), one).max(-1) < 90
        rows, columns = dark.nonzero()
        for eye in (one.landmarks[36:42, :2], one.landmarks[42:48, :2]):
            low, high = eye.min(axis=0), eye.max(axis=0)
            inside = (columns > low[0]) & (columns < high[0]) & (rows > low[1]) & (rows < high[1])
            assert inside.any()


class TestOverview:
    def test_one_photo_gives_four_rows_in_the_papers_order(self):
        figure = visualize.overview(prediction(ellipsoid(), size=(300, 400)), max_side=320)
        assert [axes.get_ylabel() for axes in figure.axes] == list(ROWS)
        assert ROWS == ("landmarks", "head pose", "translucent mesh", "solid mesh")
        assert [axes.images[0].get_array().shape for axes in figure.axes] == [(240, 320, 3)] * 4
        tops = [axes.get_position().y1 for axes in figure.axes]
        assert tops == sorted(tops, reverse=True)
        assert all(not axes.get_xticks().size and not axes.get_yticks().size for axes in figure.axes)

    def test_several_photos_are_columns_of_one_height(self):
        photos = [
            prediction(ellipsoid(), size=(200, 200)),
            prediction(ellipsoid(), size=(200, 300)),
            prediction(),
        ]
        figure = visualize.overview(photos, max_side=150)
        assert len(figure.axes) == 12
        assert {axes.images[0].get_array().shape[0] for axes in figure.axes} == {100}
        assert [axes.get_ylabel() for axes in figure.axes[::3]] == list(ROWS)
        assert [text.get_text() for text in figure.axes[2].texts] == [NO_FACE]
        assert not figure.axes[0].texts

    def test_close_shows_the_largest_face_alone_in_squares(self):
        faces = [ellipsoid(centre=(60, 60), height=40), ellipsoid(centre=(300, 200), height=80)]
        photos = [prediction(*faces[::-1], size=(300, 400)), prediction()]
        figure = visualize.overview(photos, max_side=150, close=True)
        shown = figure.axes[0].images[0].get_array()
        assert shown.shape == (150, 150, 3)
        # The contours fill most of the square, centred: the small face is out of it.
        places = coloured_places(shown)
        assert np.ptp(places, axis=0).min() > 50
        assert np.abs(places.mean(axis=0) - 75).max() < 20
        assert [text.get_text() for text in figure.axes[1].texts] == [NO_FACE]

    def test_a_photo_without_a_face_is_shown_and_says_so(self):
        figure = visualize.overview(prediction(size=(480, 640)))
        (axes,) = figure.axes
        assert axes.get_title() == "no face found"
        smaller = prediction(size=(480, 640)).resized(0.75).image
        np.testing.assert_array_equal(axes.images[0].get_array(), smaller)

    def test_words_keep_to_their_place_however_small(self):
        panorama = prediction(ellipsoid(centre=(400, 50), height=60), size=(100, 600))
        assert_words_keep_apart(visualize.overview(panorama))
        narrow = prediction(size=(400, 200))
        assert_words_keep_apart(visualize.overview([prediction(size=(100, 600)), narrow, narrow]))
        assert_words_keep_apart(visualize.overview(prediction(size=(400, 60))))
        titles = ["a rather long title of a small photo", "one"]
        assert_words_keep_apart(visualize.overview([narrow, narrow], titles=titles, max_side=160))

    def test_words_that_have_room_are_of_one_size(self):
        figure = visualize.overview([prediction(ellipsoid(), size=(300, 400))] * 2, titles=["one", "two"])
        words = [axes.yaxis.label for axes in figure.axes[::2]] + [axes.title for axes in figure.axes[:2]]
        assert {one.get_fontsize() for one in words} == {12 * 72 / figure.dpi}

    def test_the_saved_figure_holds_the_pictures_pixel_for_pixel(self, tmp_path):
        figure = visualize.overview(prediction(ellipsoid(), size=(517, 483)), max_side=517)
        saved = np.asarray(Image.open(figure.save(tmp_path / "overview.png")).convert("RGB"))
        for axes in figure.axes:
            shown = axes.images[0].get_array()
            left, bottom, right, top = np.rint(axes.get_window_extent().extents).astype(int)
            part = saved[len(saved) - top : len(saved) - bottom, left:right]
            np.testing.assert_array_equal(part, shown)

    def test_it_saves_as_jpeg_too(self, tmp_path):
        path = visualize.overview(prediction(ellipsoid())).save(tmp_path / "overview.jpg")
        with Image.open(path) as image:
            assert image.format == "JPEG"

    def test_nothing_to_show_is_refused(self):
        with pytest.raises(ValueError, match="empty list"):
            visualize.overview([])
        with pytest.raises(ValueError, match="of at least 16, in pixels"):
            visualize.overview(prediction(), max_side=0)


class TestFacesFigure:
    def test_each_face_is_a_column_with_its_angles(self):
        one, two = ellipsoid(yaw=30, height=60), ellipsoid(centre=(60, 60), height=40)
        figure = visualize.faces_figure(prediction(one, two), side=120)
        assert len(figure.axes) == 8
        assert [axes.get_title() for axes in figure.axes[:4]] == list(ROWS)
        assert [axes.get_ylabel() for axes in figure.axes[::4]] == [pose_text(one.pose), pose_text(two.pose)]
        assert {axes.images[0].get_array().shape for axes in figure.axes} == {(120, 120, 3)}

    @pytest.mark.parametrize("side", [64, 110])
    def test_words_keep_to_their_row_and_column(self, side):
        assert_words_keep_apart(
            visualize.faces_figure(prediction(ellipsoid(yaw=-30), ellipsoid()), side=side)
        )

    def test_the_largest_faces_only(self):
        faces = [ellipsoid(height=40) for _ in range(3)]
        assert len(visualize.faces_figure(prediction(*faces), side=64, max_faces=2).axes) == 8

    def test_without_a_face_it_says_so(self):
        assert visualize.faces_figure(prediction()).axes[0].get_title() == NO_FACE


class TestShapes:
    MODEL = ellipsoid_model()

    def test_a_row_for_each_shape_and_a_column_for_each_yaw(self):
        shape = self.MODEL.vertices()
        figure = visualize.shapes_figure({"one": shape, "two": shape}, self.MODEL, yaws=(-30, 0, 30))
        assert len(figure.axes) == 6
        assert [axes.get_ylabel() for axes in figure.axes[::3]] == ["one", "two"]

    def test_a_nose_turned_to_positive_yaw_points_to_the_left(self):
        nose = self.MODEL.mean / 20 + [0, 0, 60]
        figure = visualize.shapes_figure({"nose": nose}, self.MODEL, yaws=(-40, 40))
        painted = [axes.images[0].get_array()[..., 3].nonzero()[1].mean() for axes in figure.axes]
        assert painted[0] > 110 > painted[1]

    def test_nothing_to_show_is_an_error(self):
        with pytest.raises(ValueError, match="at least one shape"):
            visualize.shapes_figure({}, self.MODEL)


class TestPictures:
    def test_pictures_stand_side_by_side_below_their_titles_pixel_for_pixel(self, tmp_path):
        black, grey = np.zeros((40, 60, 3), np.uint8), np.full((30, 50, 3), 99, np.uint8)
        figure = visualize.pictures_figure({"before": black, "after": grey})
        assert [axes.get_title() for axes in figure.axes] == ["before", "after"]
        saved = np.asarray(Image.open(figure.save(tmp_path / "both.png")).convert("RGB"))
        assert (saved == 99).all(axis=2).sum() == 30 * 50

    def test_nothing_to_show_is_an_error_and_so_is_another_kind_of_picture(self):
        with pytest.raises(ValueError, match="at least one picture"):
            visualize.pictures_figure({})
        with pytest.raises(ValueError, match="picture 'before': expected an image"):
            visualize.pictures_figure({"before": np.zeros((40, 60))})


class TestInNotebooks:
    def test_pyplot_does_not_know_the_figure(self):
        visualize.overview(prediction(ellipsoid()))
        from matplotlib._pylab_helpers import Gcf

        assert Gcf.get_all_fig_managers() == []

    def test_photos_are_displayed_once_as_jpeg(self, monkeypatch):
        shown = []
        monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
        figure = visualize.overview(prediction(ellipsoid()))
        figure._ipython_display_()
        (bundle,) = shown
        assert set(bundle) == {"image/jpeg", "text/plain"}

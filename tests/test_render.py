"""Rendered meshes, checked against closed forms: a sphere, a rectangle, a triangle."""

import numpy as np
import pytest

from m4kit.light import Lamp, Light
from m4kit.render import depth_map, render, render_each, vertex_normals

from helpers.synthetic import photo, rectangle, sphere

BLACK = np.zeros((40, 60, 3), dtype=np.uint8)
BALL = sphere(centre=(30, 20, 0), radius=15)
FLAT = Light(softness=0, gloss=0, cavity=0, sky=(1, 1, 1), ground=(1, 1, 1))
"""Light without shade."""


def grid(seen):
    """x and y, each (h, w), of a depth map's pixels in the photo."""
    height, width = seen.depth.shape
    return np.meshgrid(np.arange(seen.left, seen.left + width), np.arange(seen.top, seen.top + height))


class TestDepthMap:
    @pytest.mark.parametrize("centre", [(60.0, 50.0, 7.0), (3999.3, 2999.7, -500.0)])
    def test_a_sphere_has_its_radius_and_depth_at_every_place(self, centre):
        radius = 40.0
        seen = depth_map(*sphere(centre=centre, radius=radius))
        x, y = grid(seen)
        distance = np.hypot(x - centre[0], y - centre[1])
        assert np.isfinite(seen.depth[distance < radius - 0.1]).all()
        assert np.isnan(seen.depth[distance > radius + 0.01]).all()
        inner = distance < 0.9 * radius
        height = np.sqrt(radius**2 - distance[inner] ** 2)
        np.testing.assert_allclose(seen.depth[inner], centre[2] + height, atol=0.1)

    def test_a_triangle_covers_the_pixels_whose_centres_are_inside(self):
        vertices = np.array([[0.5, 0.5, 0], [0.5, 8.7, 16.4], [8.7, 0.5, 8.2]])
        seen = depth_map(vertices, np.array([[0, 1, 2]]), region=(-2, -1, 14, 13))
        x, y = grid(seen)
        inside = (x > 0.5) & (y > 0.5) & (x + y < 9.2)
        np.testing.assert_array_equal(np.isfinite(seen.depth), inside)
        # The plane through the three vertices.
        expected = (x - 0.5) + 2 * (y - 0.5)
        np.testing.assert_allclose(seen.depth[inside], expected[inside], atol=1e-5)

    def test_back_faces_are_culled(self):
        vertices, triangles = rectangle(2, 2, 8, 8)
        assert np.isfinite(depth_map(vertices, triangles).depth).any()
        assert np.isnan(depth_map(vertices, triangles[:, ::-1]).depth).all()

    def test_the_nearer_part_of_a_mesh_hides_the_farther(self):
        near, far = rectangle(0, 0, 9, 9, z=5), rectangle(-5, -5, 14, 14, z=-5)
        both = np.vstack([far[0], near[0]]), np.vstack([far[1], near[1] + 4])
        seen = depth_map(*both, region=(-5, -5, 20, 20))
        x, y = grid(seen)
        inside = (x > 0) & (x < 9) & (y > 0) & (y < 9)
        assert (seen.depth[inside] == 5).all()
        assert (seen.depth[(x < 0) & (x > -5) & (y > -5)] == -5).all()

    def test_normals_of_vertices_point_out_of_a_sphere(self):
        vertices, triangles = sphere(radius=3.0)
        cosine = (vertex_normals(vertices, triangles) * (vertices / 3 * [1, -1, 1])).sum(axis=1)
        # The poles' and the seam's vertices have neighbours on one side only.
        assert np.quantile(cosine, 0.05) > 0.999

    def test_an_empty_region_is_refused(self):
        with pytest.raises(ValueError, match="at least 1x1"):
            depth_map(*sphere(), region=(0, 0, 0, 4))


class TestRender:
    def test_integer_coordinates_are_pixel_centres(self):
        picture = render(BLACK, [rectangle(9.5, 4.5, 10.5, 5.5)])
        changed = np.argwhere(picture.any(axis=2))
        np.testing.assert_array_equal(changed, [[5, 10]])

    def test_an_edge_covers_its_share_of_a_pixel(self):
        whole = render(BLACK, [rectangle(9.5, 4.5, 20.5, 9.5)])
        half = render(BLACK, [rectangle(10.0, 4.5, 20.5, 9.5)])
        np.testing.assert_allclose(half[7, 10], 0.5 * whole[7, 10], atol=1)
        np.testing.assert_array_equal(half[7, 11], whole[7, 11])

    def test_a_sphere_covers_its_area(self):
        picture = render(BLACK, [BALL], colour=(255, 255, 255), light=FLAT)
        assert picture[..., 0].sum() / 255 == pytest.approx(np.pi * 15**2, rel=0.005)

    @pytest.mark.parametrize("order", [1, -1])
    def test_the_larger_of_two_faces_is_in_front_in_whatever_order_they_come(self, order):
        small, large = sphere(centre=(35, 20, 900), radius=10), sphere(centre=(22, 20, 0), radius=14)
        colours = [(255, 0, 0), (0, 0, 255)]
        picture = render(BLACK, [small, large][::order], colour=colours[::order])
        overlap, alone = picture[20, 31], picture[20, 42]
        assert overlap[2] > overlap[0]
        assert alone[0] > alone[2]

    def test_the_photo_does_not_shine_through_where_one_face_ends_before_another(self):
        front, back = rectangle(4.5, 4.5, 20, 30.5), rectangle(15, 4.5, 30.5, 30.5)
        picture = render(BLACK, [back, front], colour=(255, 255, 255), light=FLAT)
        assert (picture[10, 10:25] >= 254).all()

    def test_opacity_mixes_the_solid_picture_with_the_photo(self):
        image, meshes = photo(40, 60), [sphere(centre=(30, 20, 0), radius=12)]
        solid = render(image, meshes)
        np.testing.assert_array_equal(render(image, meshes, opacity=0), image)
        np.testing.assert_allclose(
            render(image, meshes, opacity=0.5), (solid.astype(float) + image) / 2, atol=1.01
        )

    def test_pictures_at_several_opacities_are_those_of_each(self):
        image = photo(60, 40)
        meshes = [sphere(centre=(30, 20, 0), radius=12), sphere(centre=(45, 25, 0), radius=9)]
        each = render_each(image, meshes, opacities=[0.3, 1])
        for picture, opacity in zip(each, (0.3, 1), strict=True):
            np.testing.assert_array_equal(picture, render(image, meshes, opacity=opacity))

    def test_the_photo_given_stays_untouched(self):
        image = photo(40, 60)
        before = image.copy()
        picture = render(image, [sphere(centre=(30, 20, 0), radius=12)])
        np.testing.assert_array_equal(image, before)
        assert picture.shape == image.shape
        assert picture.dtype == np.uint8

    def test_nothing_changes_outside_the_mesh(self):
        image = photo(40, 60)
        picture = render(image, [sphere(centre=(30, 20, 0), radius=12)])
        y, x = np.mgrid[:40, :60]
        outside = np.hypot(x - 30, y - 20) > 13
        np.testing.assert_array_equal(picture[outside], image[outside])

    def test_light_comes_from_above_left(self):
        picture = render(BLACK, [BALL]).astype(int)
        assert picture[12, 22].sum() > picture[20, 30].sum() > picture[28, 38].sum() > 60

    def test_shadows_are_not_black(self):
        y, x = np.mgrid[:40, :60]
        inside = np.hypot(x - 30, y - 20) < 14
        brightness = render(BLACK, [BALL], light=Light(gloss=0))[inside].mean(axis=-1)
        # 0.4 in sRGB is an eighth of the light, 0.7 is half of it.
        assert brightness.min() > 0.4 * brightness.max()
        assert brightness.min() < 0.7 * brightness.max()

    def test_the_light_can_be_chosen(self):
        light = Light(key=Lamp((0.9, -0.1, 0.3), (1, 1, 1)))
        picture = render(BLACK, [BALL], light=light).astype(int)
        assert picture[20, 42].sum() > picture[20, 18].sum()

    def test_colours_by_vertex_are_interpolated(self):
        vertices, triangles = rectangle(0, 0, 40, 30)
        colours = np.array([[255, 0, 0], [255, 0, 0], [0, 0, 255], [0, 0, 255]])
        picture = render(BLACK, [(vertices, triangles)], colour=[colours]).astype(int)
        assert picture[15, 3, 0] > 2 * picture[15, 3, 2]
        assert picture[15, 36, 2] > 2 * picture[15, 36, 0]

    def test_hollows_are_darker(self):
        bowl, triangles = BALL
        floor = np.array([[-50, -50, -3], [-50, 90, -3], [110, 90, -3], [110, -50, -3]], dtype=float)
        mesh = (np.vstack([bowl, floor]), np.vstack([triangles, [[len(bowl), len(bowl) + 1, len(bowl) + 2]]]))
        plain = render(BLACK, [mesh], light=Light(cavity=0)).astype(int)
        dark = render(BLACK, [mesh], light=Light(cavity=1)).astype(int)
        assert dark[34, 16].sum() < plain[34, 16].sum()
        np.testing.assert_array_equal(dark[20, 30], plain[20, 30])

    @pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), (60.0, 40.0, 0.0), (-200.0, 20.0, 0.0)])
    def test_a_mesh_may_reach_outside_the_picture(self, centre):
        picture = render(BLACK, [sphere(centre=centre, radius=12)])
        assert picture.any() == (centre[0] > -100)

    def test_no_mesh_gives_the_photo(self):
        np.testing.assert_array_equal(render(BLACK, []), BLACK)


class TestBadInput:
    def test_nan_is_named(self):
        vertices, triangles = sphere()
        vertices[3:5, 1] = np.nan
        with pytest.raises(ValueError, match=r"2 of \d+ are NaN or infinite"):
            render(BLACK, [(vertices, triangles)])

    @pytest.mark.parametrize(
        ("vertices", "triangles", "message"),
        [
            (np.zeros((0, 3)), np.zeros((1, 3), dtype=int), "vertices of shape"),
            (np.zeros((4, 2)), np.zeros((1, 3), dtype=int), "vertices of shape"),
            (np.zeros((4, 3)), np.zeros((0, 3), dtype=int), "triangles of shape"),
            (np.zeros((4, 3)), np.array([[0, 1, 4]]), "index 4 vertices, got 0 to 4"),
        ],
    )
    def test_an_invalid_mesh_is_refused(self, vertices, triangles, message):
        with pytest.raises(ValueError, match=message):
            depth_map(vertices, triangles)

    def test_an_image_of_another_kind_is_refused(self):
        with pytest.raises(ValueError, match=r"render: expected an image .* uint8 RGB"):
            render(np.zeros((4, 4, 3)), [])

    def test_colours_that_do_not_fit_are_refused(self):
        mesh = sphere()
        with pytest.raises(ValueError, match="one entry for each of the 2 meshes"):
            render(BLACK, [mesh, mesh], colour=[(1, 2, 3)])
        with pytest.raises(ValueError, match="one per vertex"):
            render(BLACK, [mesh], colour=[np.zeros((5, 3))])

    def test_an_opacity_out_of_range_is_refused(self):
        with pytest.raises(ValueError, match="opacity: expected a number from 0 to 1"):
            render(BLACK, [], opacity=55)

"""What is seen of triangles, compared with a search through all of them."""

import numpy as np
import pytest

from m4kit.raster import look


def searched(corners, points):
    """Triangle, weights and depth at points (n, 2), by solving for the weights in each triangle."""
    nearest = np.full(len(points), -1)
    weights, depth = np.zeros((len(points), 3)), np.full(len(points), -np.inf)
    for number, triangle in enumerate(corners.transpose(2, 1, 0)):
        system = np.vstack([triangle[:, :2].T, np.ones(3)])
        if abs(np.linalg.det(system)) < 1e-9:
            continue
        found = np.linalg.solve(system, np.vstack([points.T, np.ones(len(points))])).T
        here = found @ triangle[:, 2]
        nearer = (found >= 0).all(axis=1) & (here > depth)
        nearest[nearer], weights[nearer], depth[nearer] = number, found[nearer], here[nearer]
    return nearest, weights, np.where(nearest < 0, np.nan, depth)


def some_triangles(count=9):
    """Triangles that overlap each other and the window's edges; two of them stand on their edge."""
    corners = np.random.default_rng(1).uniform(
        [[[-6]], [[-4]], [[-9]]], [[[26]], [[18]], [[9]]], (3, 3, count)
    )
    corners[:, 2, :2] = (corners[:, 0, :2] + corners[:, 1, :2]) / 2
    return corners


@pytest.mark.parametrize("fine", [1, 4])
@pytest.mark.parametrize("some", [False, True])
def test_every_point_sees_the_nearest_triangle_around_it(monkeypatch, fine, some):
    monkeypatch.setattr("m4kit.raster._TOGETHER", 100)
    corners, (left, top, width, height) = some_triangles(), (2, 1, 20, 13)
    pixels = np.random.default_rng(2).random((height, width)) < 0.2
    y, x = np.nonzero(pixels if some else np.ones_like(pixels))
    steps = (np.arange(fine) + 0.5) / fine - 0.5
    within = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    points = (np.column_stack([x + left, y + top])[:, None] + within).reshape(-1, 2)
    triangle, weights, depth = searched(corners, points)
    seen = look(corners, (left, top, width, height), pixels=pixels if some else None, fine=fine)
    assert (triangle >= 0).any() and (triangle < 0).any()
    np.testing.assert_array_equal(seen.triangle, triangle)
    np.testing.assert_allclose(seen.weights.T, weights, atol=1e-5)
    np.testing.assert_allclose(seen.depth, depth, atol=1e-4)


def test_two_triangles_share_an_edge_without_a_gap():
    random = np.random.default_rng(3)
    for _ in range(20):
        # A square turned by a random angle, split along its diagonal through many pixel centres or beside them.
        angle = random.choice([0, np.pi / 4, random.uniform(0, np.pi)])
        ring = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 12
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        square = np.column_stack([ring @ turn.T + 20, np.zeros(4)])
        corners = square[[[0, 1, 2], [0, 2, 3]]].transpose(2, 1, 0)
        seen = look(corners, (0, 0, 41, 41)).triangle.reshape(41, 41) >= 0
        y, x = np.mgrid[:41, :41]
        inside = np.abs((np.dstack([x, y]) - 20) @ turn).max(axis=-1) < 12 - 1e-6
        assert seen[inside].all()


def test_nothing_to_see_is_nothing():
    far = some_triangles() + 100
    for corners in (far, far[..., :0]):
        seen = look(corners, (0, 0, 5, 4))
        assert (seen.triangle == -1).all() and np.isnan(seen.depth).all() and not seen.weights.any()
    assert look(some_triangles(), (0, 0, 5, 4), pixels=np.zeros((4, 5), bool)).triangle.shape == (0,)

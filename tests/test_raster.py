"""What is seen of triangles, compared with a search through all of them."""

import numpy as np
import pytest

from m4kit.raster import look


def searched(corners, values, points):
    """Depth and values at points (n, 2), by solving for the weights of the corners in each triangle."""
    found, depth = np.zeros((len(values), len(points))), np.full(len(points), -np.inf)
    for triangle, numbers in zip(corners.transpose(2, 1, 0), values.transpose(2, 0, 1), strict=True):
        system = np.vstack([triangle[:, :2].T, np.ones(3)])
        if abs(np.linalg.det(system)) < 1e-9:
            continue
        weights = np.linalg.solve(system, np.vstack([points.T, np.ones(len(points))]))
        here = triangle[:, 2] @ weights
        nearer = (weights >= 0).all(axis=0) & (here > depth)
        depth[nearer], found[:, nearer] = here[nearer], (numbers @ weights)[:, nearer]
    return np.where(np.isinf(depth), np.nan, depth), found


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
    within = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 1, 2)
    points = (np.column_stack([x + left, y + top]) + within).reshape(-1, 2)
    values = np.random.default_rng(3).random((2, 3, corners.shape[2])).astype(np.float32)
    depth, found = searched(corners, values, points)
    seen = look(
        corners, (left, top, width, height), values=values, pixels=pixels if some else None, fine=fine
    )
    assert np.isnan(depth).any() and not np.isnan(depth).all()
    np.testing.assert_allclose(seen.depth, depth, atol=1e-4)
    np.testing.assert_allclose(seen.values, found, atol=1e-5)


def test_two_triangles_share_an_edge_without_a_gap():
    random = np.random.default_rng(3)
    for _ in range(20):
        # A square turned by a random angle, split along its diagonal through many pixel centres or beside them.
        angle = random.choice([0, np.pi / 4, random.uniform(0, np.pi)])
        ring = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 12
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        square = np.column_stack([ring @ turn.T + 20, np.zeros(4)])
        corners = square[[[0, 1, 2], [0, 2, 3]]].transpose(2, 1, 0)
        seen = np.isfinite(look(corners, (0, 0, 41, 41)).depth).reshape(41, 41)
        y, x = np.mgrid[:41, :41]
        inside = np.abs((np.dstack([x, y]) - 20) @ turn).max(axis=-1) < 12 - 1e-6
        assert seen[inside].all()


def test_nothing_to_see_is_nothing():
    far = some_triangles() + 100
    for corners in (far, far[..., :0]):
        seen = look(corners, (0, 0, 5, 4), values=corners[:2])
        assert np.isnan(seen.depth).all() and seen.values.shape == (2, 20) and not seen.values.any()
    assert look(some_triangles(), (0, 0, 5, 4), pixels=np.zeros((4, 5), bool)).depth.shape == (0,)

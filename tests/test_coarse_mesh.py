"""Coarser meshes of the face model: fewer vertices of the same face, none of them far from where the surface is."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from m4kit.coarse_mesh import clustered, coarse_mesh

from helpers.faces import MODEL, face


@pytest.mark.parametrize("side", [1.0, 2.0, 4.0])
def test_a_kept_vertex_is_near_each_vertex_and_triangles_keep_their_side(side):
    kept, triangles = clustered(MODEL, side)
    points = MODEL.mean[kept]
    assert len(np.unique(kept)) == len(kept) < len(MODEL.mean)
    assert cKDTree(points).query(MODEL.mean)[0].max() < np.sqrt(3) * side
    assert np.unique(triangles).max() < len(kept)
    first, second, third = points[triangles].swapaxes(0, 1)
    towards = np.cross(second - first, third - first)[:, 2]
    skin = ~np.any([MODEL.regions[name][kept] for name in ("mouth_inside", "eyeballs")], axis=0)
    towards = towards[skin[triangles].all(axis=1)]
    assert towards[towards > 0].sum() > 10 * -towards[towards < 0].sum()


def test_larger_cells_leave_fewer_triangles_and_no_cells_leave_all():
    counts = [len(clustered(MODEL, side).triangles) for side in (0.0, 1.0, 2.0, 4.0, 8.0)]
    assert counts[0] == len(MODEL.triangles)
    assert counts == sorted(counts, reverse=True) and counts[-1] < 0.2 * counts[0]


def test_a_triangle_joins_no_parts_that_only_touch():
    """The lips of the mean face touch; of an open mouth, no triangle spans the opening."""
    kept, triangles = clustered(MODEL, 4.0)
    opened = MODEL.vertices(None, MODEL.actions["jawOpen"])
    skin = ~MODEL.regions["mouth_inside"][kept]
    corners = opened[kept][triangles[skin[triangles].all(axis=1)]]
    landmarks = MODEL.landmarks(None, MODEL.actions["jawOpen"])
    middle, half = landmarks[[62, 66], :2].mean(axis=0), 0.3 * (landmarks[62, 1] - landmarks[66, 1])
    assert half > 3
    near = np.abs(corners[:, :, 0] - middle[0]).max(axis=1) < 12
    spans = (
        near
        & (corners[:, :, 1].min(axis=1) < middle[1] - half)
        & (corners[:, :, 1].max(axis=1) > middle[1] + half)
    )
    assert not spans.any()


def test_a_large_face_has_the_whole_mesh_and_a_small_one_vertices_that_pixels_tell_apart():
    large = face().moved(20)
    assert coarse_mesh(large).triangles is MODEL.triangles
    kept = [len(coarse_mesh(face().moved(scale)).kept) for scale in (1.0, 0.5, 0.25)]
    assert kept == sorted(kept, reverse=True) and kept[-1] < 0.6 * len(MODEL.mean)

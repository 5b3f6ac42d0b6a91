"""Live pages as files: their size, what they hold, and what they refuse."""

import base64
import gzip
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from m4kit import Prediction, predict
from m4kit.explore import FaceModelExplorer, HeadWeightExplorer, MeshViewer
from m4kit.live import scripts
from m4kit.live.packing import Packer, lower_neighbours, packed_triangles, page_order, smooth_rest

from helpers.faces import MODEL, face
from helpers.paths import SAMPLES

PREDICTION = predict(SAMPLES / "astronaut.jpg")
TRIANGLES = np.array([[0, 1, 2], [2, 1, 3], [2, 3, 4]])


class TestPages:
    @pytest.mark.parametrize(
        "page",
        [PREDICTION.to_html, MeshViewer(PREDICTION).to_html, HeadWeightExplorer(PREDICTION).to_html],
        ids=["prediction", "viewer", "heads"],
    )
    def test_a_face_with_texture_photo_and_all_modes_is_one_small_file_without_links(self, page, tmp_path):
        written = page(tmp_path / "face.html")
        assert written == tmp_path / "face.html"
        assert written.stat().st_size < 1_500_000
        # The namespace of SVG is a name, and nothing is loaded from it.
        links = set(re.findall(r"https?://[^\s\"'`]+", written.read_text(encoding="utf-8")))
        assert links == {"http://www.w3.org/2000/svg"}

    def test_without_a_path_the_page_is_given_as_text(self):
        page = FaceModelExplorer().to_html()
        assert page.startswith("<!DOCTYPE html>")
        assert len(page) < 1_500_000

    def test_a_face_without_a_photo_has_a_page_in_clay(self):
        found = settings_of(face(pose=(30, 0, 0)).to_html())
        assert found["photos"] == []
        assert "texture" not in found["faces"][0]

    def test_a_name_cannot_break_out_of_the_page(self):
        page = replace(PREDICTION, source="</script><script>alert(1)</script>").to_html()
        assert "alert(1)</script>" not in page

    def test_a_prediction_without_faces_has_no_page(self):
        with pytest.raises(ValueError, match="expected a prediction with faces"):
            Prediction(PREDICTION.image, ()).to_html()


def settings_of(page: str) -> dict:
    """What a page holds, without its arrays."""
    return json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL).group(1))


class TestExplorers:
    def test_a_viewer_s_page_begins_with_what_it_shows(self):
        other = replace(PREDICTION, faces=(PREDICTION[0].with_head_weights([1, 0, 0, 0]),))
        viewer = MeshViewer(PREDICTION, other=other)
        viewer.colour.value = "depth"
        assert settings_of(viewer.to_html())["colour"] == "depth"
        viewer.compare.value = "difference"
        found = settings_of(viewer.to_html())
        assert (found["colour"], found["beside"]) == ("moved", 1)
        assert [face["title"] for face in found["faces"]] == ["Face 1", "Other prediction, face 1"]

    def test_a_page_of_head_weights_begins_with_them_and_has_the_measured_best(self):
        explorer = HeadWeightExplorer(PREDICTION)
        explorer.weights = [0.7, 0.3, 0, 0]
        found = settings_of(explorer.to_html())
        assert found["weights"] == [0.7, 0.3, 0, 0]
        assert found["study"]["best"] == pytest.approx(explorer.preset("Best measured"))

    def test_a_page_of_a_model_begins_with_its_sliders(self):
        explorer = FaceModelExplorer(of=PREDICTION)
        explorer.fit()
        found = settings_of(explorer.to_html())
        assert found["coefficients"] == explorer.coefficients.tolist()
        assert [face["title"] for face in found["faces"]] == ["Mean face", "Face 1"]

    def test_coefficients_of_a_page_are_in_standard_deviations(self):
        twice = FaceModelExplorer(deviations=np.full(50, 2.0)).to_html()
        actions = settings_of(twice)["models"][0]["actions"]
        assert actions["jawOpen"] == pytest.approx(MODEL.actions["jawOpen"] / 2, abs=1e-3)


class TestPacking:
    def test_the_page_order_is_a_permutation_that_brings_neighbours_together(self):
        triangles, count = MODEL.head.triangles, len(MODEL.head.mean)
        order = page_order(triangles, count)
        assert np.array_equal(np.sort(order), np.arange(count))
        apart = np.abs(np.diff(np.argsort(order)[triangles], axis=1))
        assert np.median(apart) < np.median(np.abs(np.diff(triangles, axis=1))) / 10

    def test_triangles_keep_their_orientation_and_number(self):
        lowest, second, third = packed_triangles(TRIANGLES)
        first = np.cumsum(lowest)
        found = np.column_stack([first, first + second, first + third])
        assert found.tolist() == [[0, 1, 2], [1, 3, 2], [2, 3, 4]]

    def test_a_neighbour_with_a_lower_number_is_counted_once(self):
        lower = lower_neighbours(TRIANGLES, 5)
        assert [lower[v].indices.tolist() for v in range(5)] == [[], [0], [0, 1], [1, 2], [2, 3]]
        assert lower.data.tolist() == [1] * lower.nnz

    def test_a_constant_field_costs_next_to_nothing(self):
        lower = lower_neighbours(MODEL.triangles, len(MODEL.mean))
        rest = smooth_rest(np.ones((2, lower.shape[0], 3)), 0.5, lower)
        # Only vertices without a lower neighbour say what the constant is.
        assert np.array_equal(np.unique(rest), [0, 4])
        assert (rest[0] > 0).sum() == (np.diff(lower.indptr) == 0).sum()

    def test_the_same_array_is_kept_once(self):
        packer = Packer()
        first, second = packer.add([1, 2, 3], "u2"), packer.add([1, 2, 3], "u2")
        assert first == second
        assert len(gzip.decompress(base64.b64decode(packer.text()))) == 6

    def test_numbers_that_do_not_fit_are_refused(self):
        with pytest.raises(ValueError, match="type u1, got 0 to 300"):
            Packer().add([0, 300], "u1")


def test_a_module_becomes_a_constant_of_a_script():
    found = scripts.part("TRIANGLE", *scripts.TRIANGLE)
    assert found.startswith("const TRIANGLE = (() => {")
    assert "export" not in found

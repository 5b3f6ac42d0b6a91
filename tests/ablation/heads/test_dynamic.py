"""Dynamic against static weights: what they follow, whom they help; and crops made worse by a known amount."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from m4kit.ablation import command, dynamic_figure, dynamic_study
from m4kit.ablation.heads.crop_faults import FACE_SIDE, out_of_focus, partly_hidden
from m4kit.cli import main
from m4kit.conditions.linear_light import to_linear
from m4kit.evaluate import predict_heads
from m4kit.network import M4Net
from m4kit.weights import WeightsError

from helpers.aflw_like import write_set
from helpers.head_answers import CROP, YAWS, parameters_of, samples_of
from helpers.head_records import linear_study


@pytest.fixture(scope="module")
def static():
    """A small untrained network whose answers at least lie in the crop; its heads differ."""
    torch.manual_seed(0)
    network = M4Net("small").eval()
    network.parameter_mean.copy_(torch.as_tensor(parameters_of(0).mean(axis=0)))
    network.parameter_std.copy_(
        torch.as_tensor(np.concatenate([np.tile([0.05, 0.05, 0.05, 4], 3), np.ones(50)]))
    )
    return network


@pytest.fixture(scope="module")
def dynamic(static):
    """On the same heads: a different weight for every face."""
    torch.manual_seed(1)
    network = static.with_dynamic_fusion()
    with torch.no_grad():
        network.head_scores.weight.normal_(0, 5)
    return network


@pytest.fixture(scope="module")
def samples(model):
    """Faces of noise, so that no two crops are alike."""

    def noise(number):
        return lambda: np.random.default_rng(number).integers(
            0, 40 + 20 * number, (300, 300, 3), dtype=np.uint8
        )

    return [replace(one, image=noise(k)) for k, one in enumerate(samples_of(model, parameters_of(0)))]


@pytest.fixture(scope="module")
def compared(model, samples):
    """Compares two networks on the faces, by default unchanged."""

    def compared(static, dynamic, samples=samples, *, blurs=(), patches=(), examples=2):
        options = {"blurs": blurs, "patches": patches, "examples": examples, "progress": False}
        return dynamic_study(static, dynamic, model, samples, dataset="nine faces", **options)

    return compared


@pytest.fixture(scope="module")
def study(compared, static, dynamic):
    return compared(static, dynamic, blurs=(2.0,), patches=(0.3,))


class TestCropsMadeWorse:
    def test_a_point_out_of_focus_becomes_a_disc_of_the_radius_asked_for(self):
        crop = np.zeros((120, 120, 3), np.uint8)
        crop[60, 60] = 255
        for radius in (3.0, 6.0):
            light = to_linear(out_of_focus(crop, radius))[..., 0]
            squares = np.square(np.mgrid[-60:60, -60:60]).sum(axis=0)
            # Over a disc, the squared distance from its middle is half the squared radius on average.
            assert (2 * (light * squares).sum() / light.sum()) ** 0.5 == pytest.approx(radius, rel=0.15)

    def test_a_radius_or_a_share_of_nothing_gives_the_crop_back(self):
        crop = np.random.default_rng(0).integers(0, 255, (120, 120, 3), dtype=np.uint8)
        np.testing.assert_array_equal(out_of_focus(crop, 0), crop)
        np.testing.assert_array_equal(partly_hidden(crop, 0, seed=1), crop)

    def test_a_patch_covers_its_share_in_one_colour_and_a_larger_one_covers_it(self):
        crop = np.random.default_rng(0).integers(0, 255, (120, 120, 3), dtype=np.uint8)
        for seed in range(5):
            small, large = (partly_hidden(crop, share, seed=seed) for share in (0.1, 0.4))
            hidden, more = ((picture != crop).any(axis=-1) for picture in (small, large))
            assert hidden.sum() == pytest.approx(0.1 * FACE_SIDE**2, rel=0.1)
            assert (more | ~hidden).all()
            assert len(np.unique(small[hidden], axis=0)) == 1

    def test_amounts_that_make_no_sense_are_errors(self):
        crop = np.zeros((120, 120, 3), np.uint8)
        with pytest.raises(ValueError, match="a radius from 0 to 42 crop pixels, got -1"):
            out_of_focus(crop, -1)
        with pytest.raises(ValueError, match=r"a share of the face from 0 to 1, got 1\.5"):
            partly_hidden(crop, 1.5, seed=0)


class TestStudy:
    def test_as_they_are_the_errors_and_weights_are_those_of_each_network(
        self, study, static, dynamic, model, samples
    ):
        for network, errors in ((static, study.plain.static), (dynamic, study.plain.dynamic)):
            expected = predict_heads(network, model, samples, progress=False)
            np.testing.assert_allclose(errors, expected.evaluate().nme, rtol=1e-4)
        np.testing.assert_allclose(study.plain.weights, expected.weights, atol=1e-5)
        np.testing.assert_allclose(study.static_weights, np.full(4, 0.25), atol=1e-6)
        np.testing.assert_allclose(study.yaw, YAWS, atol=1e-3)
        assert np.ptp(study.plain.weights, axis=0).max() > 0.05

    def test_blur_and_patches_are_shown_to_both_networks(self, study, static, dynamic):
        assert [(one.kind, one.level) for one in study.conditions] == [
            ("as it is", 0),
            ("blur", 2),
            ("occlusion", 0.3),
        ]
        assert [one.level for one in study.of_kind("blur")] == [0, 2]
        for one in study.conditions[1:]:
            assert np.abs(one.static - study.plain.static).max() > 1e-3
            assert np.abs(one.dynamic - study.plain.dynamic).max() > 1e-3

    def test_networks_of_other_heads_each_answer_by_their_own(self, compared, dynamic, model, samples):
        torch.manual_seed(5)
        other = M4Net("small").eval()
        found = compared(other, dynamic, samples[:4])
        expected = predict_heads(other, model, samples[:4], progress=False).evaluate().nme
        np.testing.assert_allclose(found.plain.static, expected, rtol=1e-4)

    def test_a_layer_that_gives_the_static_weights_changes_nothing(self, compared, static):
        found = compared(static, static.with_dynamic_fusion())
        np.testing.assert_allclose(found.plain.difference, 0, atol=1e-4)

    def test_the_faces_kept_are_those_helped_and_hurt_most_with_landmarks_in_the_crops_pixels(
        self, study, samples
    ):
        difference = study.plain.difference
        assert study.helped[0].name == study.names[difference.argmin()]
        assert study.hurt[0].name == study.names[difference.argmax()]
        face = study.helped[0]
        assert face.dynamic - face.static == pytest.approx(difference.min())
        true = samples[int(face.name)].landmarks[:, :2]
        # Pixel i of the crop has its centre at left + (i + 0.5) * scale.
        placed = np.array(CROP[:2]) + (face.static_landmarks + 0.5) * CROP.scale
        error = np.linalg.norm(placed - true, axis=1).mean() / np.sqrt(np.ptp(true, axis=0).prod())
        assert 100 * error == pytest.approx(face.static, rel=1e-3)

    def test_the_same_seed_gives_the_same_figures(self, compared, study, static, dynamic):
        again = compared(static, dynamic, patches=(0.3,))
        np.testing.assert_array_equal(again.conditions[-1].dynamic, study.conditions[-1].dynamic)

    def test_networks_of_another_fusion_are_refused(self, compared, static, dynamic):
        with pytest.raises(ValueError, match="a network with dynamic fusion as `dynamic`, got static"):
            compared(static, static)
        with pytest.raises(ValueError, match="a network with static fusion as `static`, got dynamic"):
            compared(dynamic, dynamic)

    def test_the_report_has_one_line_per_condition_and_the_table_one_row_per_face(self, study):
        lines = study.report().splitlines()
        assert lines[0].startswith("Dynamic against static weights on 9 faces of nine faces")
        assert [line.split()[0] for line in lines[2:6]] == ["faces", "as", "blur", "occlusion"]
        assert lines[-1].startswith(
            f"on unchanged faces it helps {100 * (study.plain.difference < 0).mean():.0f} %"
        )
        table = study.to_dataframe()
        assert len(table) == 27
        assert table["weight_3"][10] == pytest.approx(study.conditions[1].weights[1, 2], abs=1e-4)
        assert table["yaw"][2] == -20


def test_the_figure_shows_weights_and_gains_against_yaw_blur_and_occlusion_and_the_faces(study):
    figure = dynamic_figure(study)
    charts = figure.axes[:6]
    # Three of the steps of yaw hold the faces of this set only by ones and twos: nothing is drawn of so few.
    drawn = [len(axes.lines[0].get_xdata()) for axes in charts[:3]]
    assert drawn[1:] == [2, 2]
    means = [line.get_ydata()[1] for line in charts[1].lines[::2]]
    np.testing.assert_allclose(means, study.conditions[1].weights.mean(axis=0), rtol=1e-5)
    assert sum(bool(axes.images) for axes in figure.axes) == len(study.helped) + len(study.hurt)
    assert study.plain.verdict in figure.get_suptitle()


def test_networks_for_another_face_model_are_refused(compared, static, dynamic, model, monkeypatch):
    monkeypatch.setitem(dynamic.notes, "face_model", "another")
    with pytest.raises(WeightsError, match=rf"another, got the face model {model.fingerprint}"):
        compared(static, dynamic)


@pytest.fixture
def run(tmp_path, static, dynamic):
    """The command over a small set, with a network as main weights and one as `--dynamic`; its exit status."""
    for name, network in (("static", static), ("dynamic", dynamic)):
        network.save(tmp_path / f"{name}.safetensors")
    # What another set's study chose, so that nothing is searched.
    chosen = linear_study(network=static.heads_digest()).save(tmp_path / "chosen.parquet")
    place = write_set(tmp_path / "set")

    def run(weights, *more):
        given = ["ablate", "heads", "--dataset", "aflw2000-3d", place, "--chosen", chosen, "--quiet", *more]
        given += ["--weights", tmp_path / f"{weights}.safetensors"]
        return main([*map(str, given), "--dynamic", str(tmp_path / "dynamic.safetensors")])

    return run


def test_main_weights_of_dynamic_fusion_are_refused_before_anything_runs(run, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(command, "predict_heads", lambda *given, **options: asked.append(given))
    assert run("dynamic") == 2
    assert asked == []
    out, err = capsys.readouterr()
    assert out == ""
    assert "dynamic.safetensors: expected a network with static fusion to compare --dynamic with" in err


def test_the_heads_are_reported_even_if_the_dynamic_study_fails(run, capsys, monkeypatch):
    def failing(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(command, "dynamic_study", failing)
    assert run("static") == 2
    out, err = capsys.readouterr()
    assert out.startswith("3 faces of aflw2000-3d (set), ")
    assert "\ndynamic " in out
    assert err == "m4kit ablate: no space left\n"


def test_the_command_writes_table_and_figure_of_dynamic_weights(run, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("static", "--out", out, "--views", "2") == 0
    printed = capsys.readouterr().out
    assert "\ndynamic " in printed
    # Its crops are seen once, and by that it goes.
    assert "3 faces of aflw2000-3d (set), 2 views of each crop, " in printed
    assert "\nDynamic against static weights on 3 faces of aflw2000-3d (set); NME" in printed
    assert (out / "dynamic.csv").is_file()
    with Image.open(out / "dynamic.png") as figure:
        assert figure.width > 1000

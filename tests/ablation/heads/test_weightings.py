"""Trainings under different weights of the heads: what is trained, how it is compared, its record and command."""

import json
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from m4kit.ablation import (
    WEIGHTINGS,
    RecordError,
    WeightingStudy,
    judge,
    train_weightings,
    validation_samples,
    weighting_study,
    weightings_figure,
)
from m4kit.ablation.heads import weightings
from m4kit.cli import main
from m4kit.evaluate import predict_heads
from m4kit.face_model import FaceModel
from m4kit.network import M4Net
from m4kit.training import TrainingError
from m4kit.training.data import Labels, decoded_crops
from m4kit.training.transfer import set_whitening, whitening_of

from helpers.training import SHORT, labels_of


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """A labels file, the archive that it names, and weights to start from."""
    folder = tmp_path_factory.mktemp("weightings")
    labels = labels_of(model, 24, seed=1, held_out=8)
    labels.save(folder / "labels.npz")
    noise = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "drawn.zip", "w") as archive:
        for name in labels.names:
            picture = cv2.resize(noise.integers(0, 255, (15, 15, 3), np.uint8), (120, 120))
            archive.writestr(str(name), cv2.imencode(".jpg", picture)[1].tobytes())
    torch.manual_seed(0)
    network = M4Net("small")
    set_whitening(network, whitening_of(labels.parameters))
    network.save(folder / "start.safetensors")
    (folder / "config.json").write_text(json.dumps(SHORT.to_dict() | {"steps": 2, "validate_every": 2}))
    return folder


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """The command, once: its status, its folder, and what it printed."""
    out = tmp_path_factory.mktemp("out")

    def run(*more, start=folder / "start.safetensors"):
        given = ["--data", folder, "--labels", folder / "labels.npz", "--start", start, "--out", out]
        words = ["ablate", "weightings", *given, "--config", folder / "config.json", "--quiet", *more]
        return main([*map(str, words)])

    assert run() == 0
    return run, out


@pytest.fixture(scope="module")
def networks(run):
    return {name: M4Net.load(run[1] / name.replace(" ", "_") / "weights.safetensors") for name in WEIGHTINGS}


@pytest.fixture(scope="module")
def study(run):
    return WeightingStudy.load(run[1] / "weightings.parquet")


def test_fixed_weights_stay_and_the_others_are_learned(networks, study):
    for name, weights in WEIGHTINGS.items():
        if weights is not None:
            logits = networks[name].head_logits
            np.testing.assert_allclose(logits.softmax(0).detach().numpy(), weights, atol=1e-6)
            np.testing.assert_allclose(study.weights[study.names.index(name)], weights, atol=1e-5)
    assert networks["learned"].head_logits.detach().std() > 0
    assert networks["dynamic"].fusion == "dynamic"


def test_the_trainings_differ_by_their_weights_alone(run):
    configs = [
        json.loads((run[1] / name.replace(" ", "_") / "config.json").read_text()) for name in WEIGHTINGS
    ]
    assert [config.pop("fixed_head_weights") for config in configs] == [
        None if weights is None else list(weights) for weights in WEIGHTINGS.values()
    ]
    assert all(config == configs[0] for config in configs)


def test_figures_are_those_of_each_network_on_the_people_held_out(study, networks, folder, model):
    labels = Labels.load(folder / "labels.npz")
    samples, _ = validation_samples(labels, model, data=folder, progress=False)
    assert study.faces == len(samples) == 8
    for row, name in enumerate(study.names):
        answers = predict_heads(networks[name], model, samples, progress=False)
        found = answers.evaluate()
        expected = found.balanced.mean if all(study.counts) else found.nme.mean()
        assert study.own[row] == pytest.approx(expected, abs=2e-3)
        alone = judge(answers, np.eye(4)).headline
        np.testing.assert_allclose(study.heads[row], alone, atol=2e-3)
        assert study.best[row] <= min(study.own[row], alone.min()) + 2e-2
        best = judge(answers, study.best_weights[row]).headline
        assert best[0] == pytest.approx(study.best[row], abs=2e-3)
    learned = predict_heads(networks["learned"], model, samples, progress=False)
    np.testing.assert_allclose(study.again, judge(learned, study.weights).headline, atol=2e-3)


def test_a_training_does_not_differ_from_itself(networks, folder, model):
    samples, _ = validation_samples(Labels.load(folder / "labels.npz"), model, data=folder, progress=False)
    twins = {"learned": networks["learned"], "again": networks["learned"]}
    study = weighting_study(twins, samples, dataset="some", model=model, resamples=50, progress=False)
    assert study.differences.tolist() == [[0, 0, 0]] * 2
    assert study.verdict("again") == "does not differ"
    with pytest.raises(ValueError, match="expected one named 'learned', got again"):
        weighting_study({"again": networks["learned"]}, samples, dataset="some", progress=False)


def test_the_command_continues_and_prints_a_line_per_training(run, capsys):
    command_again, out = run
    weights = [out / name.replace(" ", "_") / "weights.safetensors" for name in WEIGHTINGS]
    before = [path.stat().st_mtime_ns for path in weights]
    assert command_again() == 0
    assert [path.stat().st_mtime_ns for path in weights] == before
    printed = capsys.readouterr().out
    for name in WEIGHTINGS:
        assert f"\n{name} " in printed
    assert "8 faces of the validation people of drawn" in printed
    assert (out / "weightings.png").stat().st_size > 10_000


def test_the_report_and_the_figure_say_that_one_seed_was_trained(study):
    assert study.training["seed"] == SHORT.seed
    assert f"seed {SHORT.seed}: the intervals do not cover other seeds" in study.report()
    assert "one seed" in weightings_figure(study).axes[0].get_title()


def test_another_seed_is_another_study_with_a_folder_of_its_own(run, tmp_path, capsys, monkeypatch):
    command_again, _ = run
    assert command_again("--seed", "3") == 2
    assert "seed" in capsys.readouterr().err
    monkeypatch.setattr(weightings, "WEIGHTINGS", {"learned": None})
    assert command_again("--seed", "3", "--out", tmp_path) == 0
    assert WeightingStudy.load(tmp_path / "weightings.parquet").training["seed"] == 3


def test_trainings_from_another_start_are_not_continued(run, tmp_path, capsys):
    command_again, out = run
    record = (out / "weightings.parquet").read_bytes()
    torch.manual_seed(1)
    M4Net("small").save(tmp_path / "other.safetensors")
    assert command_again(start=tmp_path / "other.safetensors") == 2
    assert "expected trainings that started from" in capsys.readouterr().err
    assert (out / "weightings.parquet").read_bytes() == record
    # The folder of an older m4kit, which did not store the start, is continued.
    (out / "start.txt").unlink()
    assert command_again() == 0


def test_a_study_that_could_not_begin_takes_another_start(folder, model, tmp_path, monkeypatch):
    monkeypatch.setattr(weightings, "WEIGHTINGS", {"learned": None})
    labels = Labels.load(folder / "labels.npz")
    crops = decoded_crops(labels, data=folder, cache=tmp_path, progress=False)
    given = {"out": tmp_path / "out", "model": model, "progress": False}
    with pytest.raises(TrainingError, match="at least one batch of 64"):
        train_weightings(folder / "start.safetensors", labels, crops, replace(SHORT, batch=64), **given)
    torch.manual_seed(1)
    M4Net("small").save(tmp_path / "other.safetensors")
    train_weightings(tmp_path / "other.safetensors", labels, crops, replace(SHORT, steps=1), **given)
    with pytest.raises(TrainingError, match="expected trainings that started from"):
        train_weightings(folder / "start.safetensors", labels, crops, replace(SHORT, steps=1), **given)


def test_wrong_inputs_are_errors(run, folder, tmp_path, capsys, networks):
    command_again, _ = run
    assert command_again("--minutes", "1") == 2
    assert "expected steps, got minutes" in capsys.readouterr().err
    networks["dynamic"].save(tmp_path / "dynamic.safetensors")
    labels = labels_of(FaceModel.load(), 24, seed=1, held_out=8)
    crops = decoded_crops(labels, data=folder, cache=tmp_path, progress=False)
    with pytest.raises(TrainingError, match="expected a network with static fusion"):
        train_weightings(tmp_path / "dynamic.safetensors", labels, crops, SHORT, out=tmp_path, progress=False)


def test_the_record_survives_its_file(study, tmp_path):
    again = WeightingStudy.load(study.save(tmp_path / "again.parquet"))
    assert again.report() == study.report()
    assert again.names == study.names == tuple(WEIGHTINGS)


def test_broken_records_are_errors_that_name_the_file(study, tmp_path):
    path = study.save(tmp_path / "record.parquet")
    table = pd.read_parquet(path)
    table["own"] = [[1.0, 2.0]] * len(table)
    table.to_parquet(path)
    with pytest.raises(RecordError, match=r"record.parquet: expected own of shape \(5,\), got 10 numbers"):
        WeightingStudy.load(path)
    with pytest.raises(RecordError, match="no such record"):
        WeightingStudy.load(tmp_path / "nowhere.parquet")


def test_the_figure_shows_both_kinds_of_result(study):
    axes = weightings_figure(study).axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(lines["heads trained under learned weights, fused with these"], study.again)
    words = [text.get_text() for text in axes.get_xticklabels()]
    assert [word.split("\n")[0] for word in words] == list(study.names)
    assert len(axes.texts) == 2 * len(study.names)


def test_the_packaged_record_has_all_weightings_and_five_trainings_of_their_own():
    packaged = WeightingStudy.packaged()
    assert packaged.names == tuple(WEIGHTINGS)
    assert packaged.training["fixed_head_weights"] is None
    np.testing.assert_allclose(packaged.weights.sum(1), 1, atol=1e-4)
    np.testing.assert_allclose(packaged.weights[0], 0.25, atol=1e-4)
    # Fused again with its own weights, the learned network is what it was trained to be.
    learned = packaged.names.index("learned")
    assert packaged.again[learned] == pytest.approx(packaged.own[learned], abs=0.005)
    assert len(set(packaged.own.round(4))) == 5

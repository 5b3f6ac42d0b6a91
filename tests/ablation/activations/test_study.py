import json
import multiprocessing
import os
import time
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from m4kit.ablation.activations import study as activation_study
from m4kit.ablation.activations import workers
from m4kit.ablation.activations.run import (
    ActivationTrainer,
    Run,
    Settings,
    fresh_network,
    study_labels,
    train,
)
from m4kit.ablation.activations.study import Plan, Study, StudyError
from m4kit.ablation.activations.units import BINS, curve, stage_gradients, units
from m4kit.cli import main
from m4kit.face_model import FaceModel
from m4kit.network import ACTIVATIONS, M4Net
from m4kit.parameters import landmarks_in_crop
from m4kit.training import TrainingError
from m4kit.training.data import Labels, averaging_matrix, decoded_crops
from m4kit.training.synthetic import random_parameters

SIDE = 32
SETTINGS = Settings(crop_size=SIDE, batch=4, sources=("drawn",), validate_every=2, validation_faces=6)


@pytest.fixture(scope="module")
def model():
    return FaceModel.load()


@pytest.fixture(scope="module")
def data(model, tmp_path_factory):
    """A folder with an archive of faces drawn as a dot a landmark, and their labels file."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    n = 24
    parameters = np.stack([random_parameters(random, model) for _ in range(n)])
    points = landmarks_in_crop(model, parameters)[..., :2].astype(np.float32)
    names = [f"face{i}.png" for i in range(n)]
    with zipfile.ZipFile(folder / "drawn.zip", "w") as archive:
        for name, face in zip(names, points, strict=True):
            crop = np.full((120, 120, 3), 90, np.uint8)
            for x, y in face:
                cv2.circle(crop, (round(59.5 + float(x)), round(59.5 - float(y))), 3, (200, 120, 160), -1)
            archive.writestr(name, cv2.imencode(".png", crop)[1].tobytes())
    labels = Labels(
        names=np.array(names),
        source=np.array(["drawn"] * n),
        parameters=parameters,
        points21=averaging_matrix() @ points,
        points68=points,
        validation=np.arange(n) >= n - 8,
        face_model=model.fingerprint,
    )
    labels.save(folder / "labels.npz")
    return folder


@pytest.fixture(scope="module")
def faces(data):
    """Labels and decoded crops."""
    labels = study_labels(data / "labels.npz", ("drawn",))
    return labels, decoded_crops(labels, data=data, cache=data, crop_size=SIDE, progress=False)


def lines_of(folder):
    """What a run wrote, without the clock."""
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    clock = ("elapsed", "seconds", "cpu_seconds")
    return [{name: value for name, value in entry.items() if name not in clock} for entry in entries]


class TestUnits:
    def test_a_channel_that_relu_never_lets_through_is_dead(self):
        torch.manual_seed(0)
        network = M4Net("small", "relu", crop_size=SIDE)
        x = torch.randn(4, 3, SIDE, SIDE)
        before = units(network, x)
        with torch.no_grad():
            network.backbone.dw3_1.bn_dw.bias[:16] = -100
        after = units(network, x)
        assert before["dw3_1"].dead == 0
        # 16 of the stage's 64 depthwise and 64 pointwise channels.
        assert after["dw3_1"].dead == pytest.approx(16 / 128)
        assert after["dw2_2"].dead == 0

    def test_shares_of_saturation_are_those_of_the_normal_distribution(self):
        torch.manual_seed(0)
        x = torch.randn(64, 3, SIDE, SIDE)
        # conv1 passes noise on, which the batch norm gives mean 0 and standard deviation 1.
        for name, share in (("relu", 0.5), ("sigmoid", 0.00001), ("tanh", 0.0291), ("leaky_relu", 0.5)):
            network = M4Net("small", name, crop_size=SIDE)
            with torch.no_grad():
                network.backbone.conv1.weight.zero_()
                network.backbone.conv1.weight[:, 0, 1, 1] = 1
            found = units(network, x)["conv1"]
            # tanh' = 1 - tanh^2 is below 0.05 beyond atanh(sqrt(0.95)) = 2.178, and P(|x| > 2.178) = 0.0294.
            assert found.saturated == pytest.approx(share, abs=0.004)
            assert found.std == pytest.approx(1, abs=0.01)
            assert found.histogram.sum() == pytest.approx(1)
            assert found.histogram[BINS[:-1] >= 0].sum() == pytest.approx(0.5, abs=0.01)

    def test_it_leaves_the_network_as_it_was(self):
        network = M4Net("small", "rrelu", crop_size=SIDE).train()
        state = {name: value.clone() for name, value in network.state_dict().items()}
        random = torch.get_rng_state()
        units(network, torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator()))
        assert network.training
        assert torch.equal(random, torch.get_rng_state())
        assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())

    def test_stage_gradients_make_up_the_whole_gradient_but_for_the_last_layers(self):
        network = M4Net("small", "elu", crop_size=SIDE)
        network(torch.randn(2, 3, SIDE, SIDE)).square().sum().backward()
        rest = [*network.last_head.parameters(), network.head_logits]
        whole = nn.utils.get_total_norm([p.grad for p in network.parameters()])
        parts = [*stage_gradients(network).values(), *(float(p.grad.norm()) for p in rest)]
        assert np.linalg.norm(parts) == pytest.approx(float(whole), rel=1e-4)

    @pytest.mark.parametrize("name", ACTIVATIONS)
    def test_the_slope_is_that_of_the_curve(self, name):
        x = np.array([-3.1, -0.7, 0.4, 2.2])
        _, slope = curve(name, x)
        above, below = curve(name, x + 1e-5)[0], curve(name, x - 1e-5)[0]
        np.testing.assert_allclose(slope, (above - below) / 2e-5, atol=1e-6)


class TestRun:
    def test_each_activation_begins_with_the_same_draws(self, faces):
        networks = [fresh_network(Run(name, 1e-3, 3, 1), SETTINGS, faces[0]) for name in ("relu", "tanh")]
        first, second = (network.backbone.dw4_1.conv_sep.weight for network in networks)
        ratio = nn.init.calculate_gain("tanh") / nn.init.calculate_gain("relu")
        torch.testing.assert_close(second, first * ratio)

    def test_a_run_cut_off_ends_as_if_it_never_had_been(self, faces, model, tmp_path, monkeypatch):
        # rrelu draws its slopes at random, so it tells whether the draws go on too.
        run = Run("rrelu", 1e-3, 0, 5)
        whole, cut = tmp_path / "whole", tmp_path / "cut"
        train(run, SETTINGS, *faces, whole, model=model)

        plain = ActivationTrainer._log

        def log(self, entry):
            if self.step == 4 and "loss" in entry:
                raise KeyboardInterrupt
            plain(self, entry)

        monkeypatch.setattr(ActivationTrainer, "_log", log)
        with pytest.raises(KeyboardInterrupt):
            train(run, SETTINGS, *faces, cut, model=model, checkpoint_minutes=0)
        monkeypatch.undo()
        assert not (cut / "result.json").exists()
        assert len(lines_of(cut)) < len(lines_of(whole))
        train(run, SETTINGS, *faces, cut, model=model)
        assert lines_of(cut) == lines_of(whole)
        ours, theirs = (M4Net.load(folder / "weights.safetensors").state_dict() for folder in (cut, whole))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    def test_a_run_that_diverges_is_recorded_as_such(self, faces, model, tmp_path):
        result = train(Run("relu", 1e30, 0, 6), SETTINGS, *faces, tmp_path, model=model)
        assert result["status"] == "diverged"
        assert result["steps"] < 6
        assert "gradient" in result["why"] or "loss" in result["why"]
        assert train(Run("relu", 1e30, 0, 6), SETTINGS, *faces, tmp_path, model=model) == result

    def test_each_step_and_each_validation_is_recorded(self, faces, model, tmp_path):
        result = train(Run("gelu", 1e-3, 0, 4), SETTINGS, *faces, tmp_path, model=model)
        entries = lines_of(tmp_path)
        steps = [entry["step"] for entry in entries if "loss" in entry]
        terms = {"landmarks", "vertices", "parameters", "rotation", "points", "gradient"}
        assert steps == [1, 2, 3, 4]
        assert all(terms <= entry.keys() for entry in entries if "loss" in entry)
        assert [entry["step"] for entry in entries if "validation" in entry] == [0, 2, 4]
        assert [entry["step"] for entry in entries if "units" in entry] == [0, 2, 4]
        assert result["faces"] == [16, 6]

    def test_unknown_sources_are_named(self, data):
        with pytest.raises(TrainingError, match="got none of painted; the file has drawn"):
            study_labels(data / "labels.npz", ("painted",))


class TestPlan:
    def test_all_activations_have_a_seed_before_any_has_the_next(self):
        plan = Plan(activations=("relu", "elu"), seeds=(0, 1))
        runs = plan.trainings({"relu": 1e-3, "elu": 3e-3})
        assert [(run.seed, run.activation) for run in runs] == [
            *((0, "relu"), (0, "elu")),
            *((1, "relu"), (1, "elu")),
        ]

    def test_it_survives_json(self):
        plan = Plan(activations=("selu",), rates=(1e-4, 2e-4), settings=replace(SETTINGS, batch=7))
        assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"activations": ("mish",)}, "expected activations out of sigmoid, .* got mish"),
            ({"seeds": ()}, "at least one activation, one seed"),
            ({"seeds": (1, 1)}, "seeds: expected each once"),
            ({"rates": (0.0,)}, "above 0"),
            ({"seeds": (1, 2), "search_seeds": 3}, "from 1 to the number of seeds, 2, got 3"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, wrong, words):
        with pytest.raises(StudyError, match=words):
            Plan(**wrong)


def ended(study, run, *, nme, status="finished"):
    """Write what a training would have left."""
    folder = study.folder(run)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"status": status}))
    entries = [{"step": 0, "validation": {"nme": 99.0}}, {"step": 9, "validation": {"nme": nme}}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


class TestStudy:
    def test_the_best_rate_is_each_ones_own(self, tmp_path):
        study = Study(Plan(activations=("relu", "elu"), rates=(1e-3, 1e-2)), tmp_path)
        errors = {("relu", 1e-3): 9, ("relu", 1e-2): 8, ("elu", 1e-3): 7, ("elu", 1e-2): 20}
        assert study.best_rates() == {}
        assert study.trainings() == []
        for run in study.plan.searches():
            ended(study, run, nme=errors[run.activation, run.learning_rate])
        assert study.best_rates() == {"relu": 1e-2, "elu": 1e-3}
        assert len(study.trainings()) == 6

    def test_several_seeds_can_search_and_their_mean_decides(self, tmp_path):
        plan = Plan(activations=("relu", "elu"), rates=(1e-3, 1e-2), seeds=(4, 5, 6), search_seeds=2)
        study = Study(plan, tmp_path)
        assert {run.seed for run in plan.searches()} == {4, 5}
        errors = {
            ("relu", 1e-3): (5, 9),
            ("relu", 1e-2): (6, 6),
            ("elu", 1e-3): (7, 7),
            ("elu", 1e-2): (1, 2),
        }
        *most, last = plan.searches()
        for run in most:
            name, rate = run.activation, run.learning_rate
            ended(study, run, nme=errors[name, rate][run.seed - 4])
        assert study.best_rates() == {"relu": 1e-2}
        ended(study, last, nme=2, status="diverged")
        assert study.best_rates() == {"relu": 1e-2, "elu": 1e-3}

    def test_a_search_that_diverged_is_never_the_best(self, tmp_path):
        study = Study(Plan(activations=("relu", "elu"), rates=(1e-3, 1e-2)), tmp_path)
        for run in study.plan.searches():
            broken = run.activation == "elu" and run.learning_rate == 1e-2
            ended(study, run, nme=1 / run.learning_rate, status="diverged" if broken else "finished")
        assert study.best_rates() == {"relu": 1e-2, "elu": 1e-3}

    def test_a_folder_of_other_settings_is_not_continued(self, tmp_path):
        Study(Plan(settings=SETTINGS), tmp_path)
        Study(Plan(settings=SETTINGS, seeds=(0, 1, 2, 3)), tmp_path)
        with pytest.raises(StudyError, match="got another batch, crop_size"):
            Study(Plan(settings=replace(SETTINGS, batch=5, crop_size=64)), tmp_path)

    def test_a_folder_without_a_study_or_of_another_version_is_an_error(self, tmp_path, monkeypatch):
        with pytest.raises(StudyError, match="expected the folder of a study"):
            Study.open(tmp_path)
        Study(Plan(), tmp_path)
        assert Study.open(tmp_path).plan == Plan()
        monkeypatch.setattr(activation_study, "VERSION", 3)
        with pytest.raises(StudyError, match="a study of version 3, got version 2"):
            Study.open(tmp_path)
        (tmp_path / "study.json").write_text("{")
        with pytest.raises(StudyError, match="got a file that cannot be read"):
            Study.open(tmp_path)

    def test_a_study_on_other_labels_is_not_continued(self, data, tmp_path, monkeypatch):
        trained = []
        monkeypatch.setattr(Study, "_run_all", lambda self, *_: trained.append(self.plan))
        Study(Plan(settings=SETTINGS, seeds=(0,)), tmp_path).run(
            data / "labels.npz", data, cache=data, progress=False
        )
        labels = study_labels(data / "labels.npz", ("drawn",))
        replace(labels, parameters=labels.parameters + 0.1).save(tmp_path / "other.npz")
        grown = Study(Plan(settings=SETTINGS, seeds=(0, 1)), tmp_path)
        with pytest.raises(StudyError, match=r"expected the labels of the trainings .*other.npz; give the"):
            grown.run(tmp_path / "other.npz", data, cache=data, progress=False)
        assert {plan.seeds for plan in trained} == {(0,)}
        grown.run(data / "labels.npz", data, cache=data, progress=False)
        assert Study.open(tmp_path).plan.labels == labels.digest() == trained[-1].labels

    def test_a_study_that_could_not_begin_takes_other_labels(self, data, tmp_path, monkeypatch):
        monkeypatch.setattr(Study, "_run_all", lambda *_: None)
        labels = study_labels(data / "labels.npz", ("drawn",))
        replace(labels, parameters=labels.parameters + 0.1).save(tmp_path / "other.npz")
        study = Study(Plan(settings=SETTINGS), tmp_path / "study")
        with pytest.raises(TrainingError, match="no such archive"):
            study.run(data / "labels.npz", tmp_path, progress=False)
        study.run(tmp_path / "other.npz", data, cache=data, progress=False)
        assert Study.open(tmp_path / "study").plan.labels not in ("", labels.digest())

    def test_a_study_keeps_a_plan_that_grew_once_it_runs(self, data, tmp_path, monkeypatch):
        monkeypatch.setattr(Study, "_run_all", lambda *_: None)
        Study(Plan(settings=SETTINGS, seeds=(0,)), tmp_path, command="first")
        grown = Study(Plan(settings=SETTINGS, seeds=(0, 1)), tmp_path, command="second")
        assert (Study.open(tmp_path).plan.seeds, Study.open(tmp_path).command) == ((0,), "first")
        grown.run(data / "labels.npz", data, cache=data, progress=False)
        assert (Study.open(tmp_path).plan.seeds, Study.open(tmp_path).command) == ((0, 1), "second")

    def test_a_study_of_an_older_m4kit_without_labels_is_continued(self, data, tmp_path, monkeypatch):
        monkeypatch.setattr(Study, "_run_all", lambda *_: None)
        Study(Plan(settings=SETTINGS), tmp_path)
        about = json.loads((tmp_path / "study.json").read_text())
        del about["plan"]["labels"]
        (tmp_path / "study.json").write_text(json.dumps(about))
        Study(Plan(settings=SETTINGS), tmp_path).run(data / "labels.npz", data, cache=data, progress=False)
        assert Study.open(tmp_path).plan.labels


class TestWorkers:
    def test_a_run_that_fails_is_reported_once_and_the_others_end(self, tmp_path, monkeypatch):
        def broken(*, run, folder, **_):
            (folder / "log.txt").write_text("step 1\nOSError: no space left\n")
            if run.activation == "elu":
                time.sleep(0.3)
                os._exit(1)

        # Forked, so that the processes have this function, and start at once.
        fork = multiprocessing.get_context("fork")
        monkeypatch.setattr(workers.multiprocessing, "get_context", lambda _: fork)
        monkeypatch.setattr(workers, "_train", broken)
        monkeypatch.setattr(workers, "_POLL_SECONDS", 0.01)
        runs = [Run(name, 1e-3, 0, 4) for name in ("relu", "elu", "gelu")]
        folders, steps = [tmp_path / run.name for run in runs], []
        given = {"labels": tmp_path, "crops": tmp_path, "checkpoint_minutes": 1.0, "jobs": 2}
        given["bar"] = SimpleNamespace(update=steps.append)
        (failure,) = workers.train_all(runs, folders, SETTINGS, **given)
        assert failure.startswith("elu_lr0.001_seed0_steps4: OSError: no space left (see ")
        assert sum(steps) == 12


def options_of(data, out):
    return [
        *(
            "ablate",
            "activations",
            "--data",
            str(data),
            "--labels",
            str(data / "labels.npz"),
            "--out",
            str(out),
        ),
        *("--sources", "drawn", "--activations", "relu", "elu", "--seeds", "0", "--rates", "1e-3"),
        *("--steps", "4", "--batch", "4", "--crop-size", str(SIDE), "--validate-every", "2"),
        *("--validation-faces", "4", "--jobs", "2", "--checkpoint-minutes", "0", "--quiet"),
    ]


class TestCommand:
    def test_a_study_killed_and_started_again_ends_whole(self, data, tmp_path):
        words = [*options_of(data, tmp_path / "study"), "--activations", "relu"]
        # Forked, so that it need not import torch again.
        study = multiprocessing.get_context("fork").Process(target=main, args=(words,))
        study.start()
        runs = tmp_path / "study" / "runs"
        deadline = time.monotonic() + 120
        while not list(runs.glob("*/checkpoint.pt")) and time.monotonic() < deadline and study.is_alive():
            time.sleep(0.02)
        study.kill()
        study.join()
        assert main(words) == 0
        folder = runs / "relu_lr0.001_seed0_steps4"
        assert json.loads((folder / "result.json").read_text())["status"] == "finished"
        assert [entry["step"] for entry in lines_of(folder) if "loss" in entry] == [1, 2, 3, 4]

    def test_missing_options_are_named(self, data, tmp_path, capsys):
        words = options_of(data, tmp_path)
        assert main([word for word in words if not word.endswith("labels.npz") and word != "--labels"]) == 2
        assert "expected --labels, a labels file, and --data" in capsys.readouterr().err

    def test_a_command_that_cannot_run_leaves_the_kept_plan(self, data, tmp_path, capsys):
        plan = Plan(("relu", "elu"), (0,), 4, rates=(1e-3,), settings=replace(SETTINGS, validation_faces=4))
        Study(plan, tmp_path)
        words = [*options_of(data, tmp_path), "--seeds", "7"]
        assert main([word for word in words if not word.endswith("labels.npz") and word != "--labels"]) == 2
        assert main([*words, "--data", str(tmp_path)]) == 2
        assert "no such archive" in capsys.readouterr().err
        assert Study.open(tmp_path).plan == plan

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (("--batch", "64"), "at least one batch of 64 faces to train on, got 16"),
            (("--batch", "0"), "above 0"),
            (("--sources", "painted"), "got none of painted"),
            (("--device", "gpu"), "device: expected one that torch finds"),
        ],
    )
    def test_settings_that_no_training_can_begin_with_are_not_kept(
        self, data, tmp_path, capsys, wrong, message
    ):
        assert main([*options_of(data, tmp_path), *wrong]) == 2
        assert message in capsys.readouterr().err
        assert not list(tmp_path.iterdir())

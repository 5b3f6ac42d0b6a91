import json
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from m4kit.ablation.activations.collect import collect
from m4kit.ablation.activations.numbers import RELU_SERIES
from m4kit.ablation.activations.record import ActivationRecord, RunRecord
from m4kit.ablation.activations.study import Plan, Study
from m4kit.ablation.record import RecordError
from m4kit.cli import main
from m4kit.network import ACTIVATIONS

from helpers.activation_records import record_of, run_record

UNITS = {"dead": 0.125, "saturated": 0.5, "mean": 0.1, "std": 1.0, "histogram": [1 / 64] * 64}


@pytest.fixture
def record():
    return record_of(
        run_record("relu", 0),
        run_record("relu", 1),
        run_record("elu", 0, rate=3e-3),
        run_record("elu", 0, purposes=("search",)),
    )


def same(one, other):
    """Whether two trainings hold the same, but for what half precision rounds."""
    for name in (column.name for column in fields(RunRecord)):
        ours, theirs = getattr(one, name), getattr(other, name)
        if isinstance(ours, np.ndarray):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6, err_msg=name)
        else:
            assert ours == theirs, name


class TestFile:
    def test_what_is_saved_is_loaded(self, record, tmp_path):
        again = ActivationRecord.load(record.save(tmp_path / "record.parquet"))
        assert (again.command, again.plan, again.missing) == (record.command, record.plan, record.missing)
        for one, other in zip(record.runs, again.runs, strict=True):
            same(one, other)

    def test_the_losses_keep_their_precision(self, tmp_path):
        loss = np.random.default_rng(0).uniform(0, 100, 500).astype(np.float32)
        path = record_of(run_record(loss=loss)).save(tmp_path / "record.parquet")
        np.testing.assert_array_equal(ActivationRecord.load(path).runs[0].loss, loss)

    def test_a_whole_study_fits_into_two_megabytes(self, tmp_path):
        random = np.random.default_rng(0)
        runs = [run_record(seed=seed, loss=random.normal(20, 3, 1000)) for seed in range(24)]
        assert record_of(*runs).save(tmp_path / "record.parquet").stat().st_size < 2e6

    def test_a_diverged_training_is_still_one_when_it_is_loaded(self, tmp_path):
        runs = [run_record(status="diverged"), run_record("elu", loss=[9.0, np.nan])]
        again = ActivationRecord.load(record_of(*runs).save(tmp_path / "record.parquet"))
        assert [run.diverged for run in again.runs] == [True, True]
        assert again.table()["status"].tolist() == ["diverged", "diverged"]
        assert again.table()["nme"].isna().all()

    def test_columns_of_different_lengths_are_refused(self, record, tmp_path):
        path = record.save(tmp_path / "record.parquet")
        table = pd.read_parquet(path)
        table["loss"] = [[1.0]] * len(table)
        table.to_parquet(path)
        with pytest.raises(RecordError, match=r"loss of shape \(40,\), got 1 numbers"):
            ActivationRecord.load(path)


class TestPackaged:
    def test_eight_compares_all_activations(self):
        assert sorted(ActivationRecord.load().activations) == sorted(ACTIVATIONS)

    def test_relu_series_has_three_seeds_at_each_of_three_rates_and_is_trained_on_at_the_best(self):
        record = ActivationRecord.load("relu-series")
        assert record.activations == ("sigmoid", *RELU_SERIES)
        searched = record.table().query("purposes == 'search'")
        assert searched.groupby(["activation", "learning_rate"])["seed"].nunique().tolist() == [3] * 12
        for run in record.select():
            errors = searched[searched.activation == run.activation].groupby("learning_rate")["nme"].mean()
            assert run.learning_rate == errors.idxmin()
            assert run.planned == 4 * searched["steps"].max()

    def test_a_name_that_is_not_packaged_is_taken_as_a_file(self):
        with pytest.raises(RecordError, match="relu: no such record"):
            ActivationRecord.load("relu")


class TestSelection:
    def test_by_purpose_activation_and_seed(self, record):
        assert [(run.activation, run.seed) for run in record.select()] == [
            *(("relu", 0), ("relu", 1)),
            ("elu", 0),
        ]
        assert [run.seed for run in record.select(activations=["relu"], seeds=[1])] == [1]
        assert len(record.select(purpose="search")) == 1

    def test_what_the_record_does_not_have_is_named(self, record):
        with pytest.raises(ValueError, match="activations out of relu, elu, got gelu"):
            record.select(activations=["gelu"])
        with pytest.raises(ValueError, match="a purpose out of search, best, got last"):
            record.select(purpose="last")

    def test_the_table_holds_the_end_of_each_training(self, record):
        table = record.table()
        # The last tenth of a line from 20 to 10 in 40 steps: the mean of its last four.
        assert table["loss"][0] == pytest.approx(np.linspace(20, 10, 40)[-4:].mean(), rel=1e-5)
        assert table["nme"][0] == 5
        assert table["milliseconds"][0] == 250


def write_run(study, run, *, steps):
    """What a training of that many steps leaves in its folder."""
    folder = study.folder(run)
    folder.mkdir(parents=True)
    result = {"status": "finished", "why": "", "machine": "one", "versions": {}, "config": {}}
    (folder / "result.json").write_text(json.dumps(result))
    errors = {"nme": 9.0, "balanced": 9.5, "yaw": 3.0, "pitch": 3.0, "roll": 2.0}
    terms = dict.fromkeys(("landmarks", "vertices", "parameters", "rotation", "points"), 1.0)
    terms |= {"gradient": 4.0, "seconds": 0.5, "cpu_seconds": 0.25}
    observed = {"units": {"conv1": UNITS}, "gradients": {"conv1": 2.0}}
    entries = [
        {"step": 0, "validation": errors},
        {"step": 0} | observed,
        *({"step": step, "loss": 100.0 - step} | terms for step in range(1, steps + 1)),
        {"step": steps, "validation": errors | {"nme": 5.0 + run.seed}},
        {"step": steps} | observed,
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


class TestCollecting:
    @pytest.fixture
    def study(self, tmp_path):
        plan = Plan(activations=("relu", "elu"), seeds=(0,), rates=(1e-3,), steps=6)
        return Study(plan, tmp_path / "study", command="m4kit ablate activations --data /home/someone/faces")

    def test_what_the_trainings_wrote_is_what_the_record_holds(self, study):
        for run in study.trainings():
            write_run(study, run, steps=6)
        record = collect(study)
        assert [run.activation for run in record.runs] == ["relu", "elu"]
        assert record.runs[0].loss.tolist() == [99, 98, 97, 96, 95, 94]
        assert record.runs[0].nme.tolist() == [9, 5]
        assert record.runs[0].dead.tolist() == [[0.125], [0.125]]
        assert record.runs[0].purposes == ("best",)
        assert record.missing == ()

    def test_it_names_no_folder_of_this_machine(self, study):
        for run in study.trainings():
            write_run(study, run, steps=6)
        assert collect(study).command.endswith("--data faces")

    def test_the_command_prints_errors_with_intervals_dead_units_and_paired_tests(self, tmp_path, capsys):
        plan = Plan(("sigmoid", "relu"), (0, 1), 6, search_steps=3, rates=(1e-3, 1e-2), search_seeds=2)
        study = Study(plan, tmp_path)
        for run in plan.searches():
            write_run(study, run, steps=3)
        for run in study.trainings():
            write_run(study, run, steps=6)
        assert main(["ablate", "activations", "--out", str(tmp_path), "--collect"]) == 0
        printed = capsys.readouterr().out
        search, best = printed.split("best, 6 steps")
        assert search.startswith("search, 3 steps")
        # Errors of 5 and 6: t(0.975, 1) = 12.7062 and a standard error of 0.5.
        assert search.count("5.50 (-0.85 to 11.85)") == 4
        assert best.count("5.50 (-0.85 to 11.85)") == 2
        assert all(line.endswith("12.5") for line in best.splitlines()[2:4])
        assert "minus sigmoid, paired by seed" not in printed

        path = tmp_path / "runs" / "relu_lr0.001_seed1_steps6" / "metrics.jsonl"
        path.write_text(path.read_text().replace('"nme": 6.0', '"nme": 6.5'))
        assert main(["ablate", "activations", "--out", str(tmp_path), "--collect"]) == 0
        (row,) = [
            line
            for line in capsys.readouterr().out.splitlines()
            if line.startswith("relu") and " nme " in line
        ]
        assert row.split()[2:6] == ["2", "0.25", "-2.927", "3.427"]

    def test_missing_trainings_are_an_error_unless_asked_for(self, study):
        with pytest.raises(RecordError, match="got 2 missing trainings"):
            collect(study)
        with pytest.raises(RecordError, match="at least one training that has ended"):
            collect(study, partial=True)
        write_run(study, study.trainings()[0], steps=6)
        record = collect(study, partial=True)
        assert record.missing == ("elu_lr0.001_seed0_steps6",)

    def test_a_long_training_is_thinned(self, tmp_path):
        study = Study(Plan(activations=("relu",), seeds=(0,), rates=(1e-3,), steps=9001), tmp_path)
        write_run(study, study.trainings()[0], steps=9001)
        assert collect(study).runs[0].step[:3].tolist() == [1, 4, 7]

    def test_a_damaged_training_is_an_error_with_its_folder(self, study):
        folder = [write_run(study, run, steps=6) for run in study.trainings()][1]
        (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 3.0}\n')
        with pytest.raises(RecordError, match=r"elu_lr0\.001_seed0_steps6.*missing or damaged"):
            collect(study)

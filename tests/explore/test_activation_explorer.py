import json
import math
import time

import numpy as np
import pytest
import torch

from m4kit.ablation.activations.live import LiveTraining
from m4kit.ablation.record import RecordError
from m4kit.explore import ActivationExplorer, LiveTrainer

from helpers.activation_records import record_of, run_record


@pytest.fixture
def explorer():
    runs = [
        run_record(name, seed, loss=np.linspace(20 + place, 10 + place, 60), nme=9 - place)
        for place, name in enumerate(("sigmoid", "relu", "elu"))
        for seed in range(2)
    ]
    return ActivationExplorer(record_of(*runs))


def lines(explorer):
    return [trace for trace in explorer.curves.data if trace.type == "scatter" and trace.mode == "lines"]


def violins(explorer):
    return [trace for trace in explorer.curves.data if trace.type == "violin"]


class TestCurves:
    def test_each_activation_has_a_line_and_a_violin_of_one_legend_entry(self, explorer):
        assert [trace.name for trace in lines(explorer)] == ["Sigmoid", "ReLU", "ELU"]
        assert [trace.legendgroup for trace in violins(explorer)] == ["Sigmoid", "ReLU", "ELU"]
        assert explorer.errors == []

    def test_the_range_of_steps_holds_for_both(self, explorer):
        explorer.steps.value = (11, 30)
        assert (lines(explorer)[0].x[0], lines(explorer)[0].x[-1]) == (11, 30)
        # Twenty steps of two seeds.
        assert len(violins(explorer)[0].y) == 40

    def test_without_smoothing_the_line_is_the_loss(self, explorer):
        explorer.smoothing.value = 1
        np.testing.assert_allclose(lines(explorer)[1].y, np.linspace(21, 11, 60), rtol=1e-6)

    def test_activations_and_seeds_can_be_left_out(self, explorer):
        explorer.activations["relu"].value = False
        explorer.seeds[1].value = False
        assert [trace.name for trace in lines(explorer)] == ["Sigmoid", "ELU"]
        assert len(violins(explorer)[0].y) == 60

    def test_the_highlighted_one_is_strong_in_both_and_its_function_is_drawn(self, explorer):
        explorer.highlight.value = "elu"
        assert [trace.opacity for trace in lines(explorer)] == [0.2, 0.2, 1]
        assert [trace.opacity for trace in violins(explorer)] == [0.2, 0.2, 1]
        function = next(trace for trace in explorer.function.data if trace.name == "ELU")
        # ELU(-6) = exp(-6) - 1.
        assert function.y[0] == pytest.approx(np.exp(-6) - 1)

    def test_a_click_puts_forward_and_another_takes_it_back(self, explorer):
        explorer.curves_view.clicked = [4, 0, 1]
        assert explorer.highlight.value == "relu"
        explorer.curves_view.clicked = [5, 0, 2]
        assert explorer.highlight.value == "none"

    def test_the_browser_gets_what_the_figure_holds(self, explorer):
        explorer.scale.value = "log"
        sent = json.loads(explorer.curves_view.figure)
        assert len(sent["data"]) == 9
        assert sent["layout"]["yaxis"]["type"] == "log"

    def test_the_scale_is_linear_or_logarithmic(self, explorer):
        explorer.scale.value = "log"
        assert explorer.curves.layout.yaxis.type == explorer.curves.layout.yaxis2.type == "log"

    def test_nothing_chosen_is_said_and_the_explorer_goes_on(self, explorer):
        for button in explorer.activations.values():
            button.value = False
        assert "choose at least one activation" in explorer.error_line.value
        assert len(explorer.errors) == 1
        explorer.activations["relu"].value = True
        assert explorer.error_line.value == ""
        assert [trace.name for trace in lines(explorer)] == ["ReLU"]

    @pytest.mark.parametrize(
        ("control", "value"),
        [
            *(("smoothing", 1), ("steps", (11, 30)), ("scale", "log")),
            *(("highlight", "elu"), ("stage", "conv1"), ("sort", "NME, %"), ("descending", True)),
        ],
    )
    def test_that_nothing_is_chosen_stays_said_whatever_is_moved(self, explorer, control, value):
        for button in explorer.seeds.values():
            button.value = False
        getattr(explorer, control).value = value
        assert "nothing to show: choose at least one" in explorer.error_line.value
        assert explorer.table.value == ""
        explorer.seeds[0].value = True
        assert explorer.error_line.value == ""

    def test_with_nothing_chosen_no_title_tells_of_trainings(self, explorer):
        for button in explorer.seeds.values():
            button.value = False
        for figure, view in (
            (explorer.curves, explorer.curves_view),
            (explorer.function, explorer.function_view),
        ):
            assert not figure.layout.title.text
            assert len(json.loads(view.figure)["data"]) == 0
        explorer.seeds[0].value = True
        assert "1 seed" in explorer.curves.layout.title.text
        assert "units dead" in explorer.function.layout.title.text

    def test_diverged_trainings_are_named_and_have_no_violin(self):
        record = record_of(run_record("relu", 0), run_record("elu", 0, loss=[9, 30, 99], status="diverged"))
        explorer = ActivationExplorer(record)
        assert "1 of 1 diverged" in lines(explorer)[1].hovertemplate
        assert not violins(explorer)[1].y
        assert explorer.errors == []


class TestFunction:
    def test_inputs_of_the_stage_lie_behind_the_curve(self, explorer):
        bars = [trace for trace in explorer.function.data if trace.type == "bar"]
        assert [trace.name for trace in bars] == ["inputs before training", "inputs at the end"]
        assert sum(bars[0].y) == pytest.approx(100)
        assert "25.0 % of the units dead, 50 % of the values saturated" in explorer.function.layout.title.text
        explorer.stage.value = "conv1"
        assert "conv1" in explorer.function.layout.title.text

    def test_one_that_is_not_shown_has_a_curve_and_no_numbers(self, explorer):
        explorer.activations["elu"].value = False
        explorer.highlight.value = "elu"
        assert explorer.function.layout.title.text == "ELU is not among the trainings shown"
        assert [trace.name for trace in explorer.function.data] == ["ELU", "its slope"]
        assert explorer.errors == []


class TestTable:
    def order(self, explorer):
        return sorted(("Sigmoid", "ReLU", "ELU"), key=lambda name: explorer.table.value.index(f">{name}<"))

    def test_it_can_be_sorted_by_a_column_both_ways(self, explorer):
        assert self.order(explorer) == ["Sigmoid", "ReLU", "ELU"]
        explorer.sort.value = "NME, %"
        assert self.order(explorer) == ["ELU", "ReLU", "Sigmoid"]
        explorer.descending.value = True
        assert self.order(explorer) == ["Sigmoid", "ReLU", "ELU"]

    def test_it_tells_what_the_tests_found(self, explorer):
        assert "ReLU against Sigmoid (2 and 2 seeds)" in explorer.table.value


def test_a_record_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(RecordError, match="no such record"):
        ActivationExplorer(tmp_path / "none.parquet")


def test_a_reader_without_a_kernel_sees_a_still(explorer):
    assert explorer.still().startswith(b"\xff\xd8")


SMALL = {"faces": 6, "batch": 3, "seconds": 0.3}


def steps_of(training, name, count, between=lambda: time.sleep(0.02)):
    """Wait until a training has done that many steps of an activation, and do something in between."""
    deadline = time.monotonic() + 120
    while len(training.losses[name]) < count:
        assert training.state != "failed", training.error
        assert time.monotonic() < deadline, f"{training.state}, {training.drawn} faces drawn"
        between()


class TestLive:
    def test_all_see_the_same_number_of_steps_and_it_ends_on_time(self):
        training = LiveTraining(("relu", "rrelu"), **SMALL)
        training.start()
        assert training.running
        training.wait()
        assert training.state == "done"
        assert training.error is None
        assert len(training.losses["relu"]) == len(training.losses["rrelu"]) > 0
        assert training.progress == 1

    def test_stopped_and_gone_on_with_it_gives_the_same_losses(self):
        whole, cut = (LiveTraining(("rrelu",), faces=6, batch=3, seconds=60) for _ in range(2))
        whole.start()
        steps_of(whole, "rrelu", 3)
        whole.stop()

        def start_and_stop():
            cut.start()
            time.sleep(0.1)
            cut.stop()

        steps_of(cut, "rrelu", 3, start_and_stop)
        assert cut.state == "stopped"
        assert cut.losses["rrelu"][:3] == whole.losses["rrelu"][:3]

    def test_the_notebook_draws_its_own_numbers_meanwhile(self):
        torch.manual_seed(7)
        training = LiveTraining(("relu", "gelu"), faces=6, batch=3)
        training.start()
        drawn = []

        def draw():
            drawn.append(float(torch.rand(1)))
            time.sleep(0.001)

        steps_of(training, "gelu", 5, draw)
        training.stop()
        torch.manual_seed(7)
        assert drawn == [float(torch.rand(1)) for _ in drawn]

    def test_rrelu_seeds_for_its_step_alone_and_puts_the_generator_back(self):
        torch.manual_seed(7)
        training = LiveTraining(("relu", "rrelu"), faces=6, batch=3, seconds=0.3)
        loss, seeds = training._loss, []

        def seen(*arguments):
            seeds.append(torch.initial_seed())
            return loss(*arguments)

        training._loss = seen
        training.start()
        training.wait()
        assert training.error is None
        assert set(seeds[::2]) == {7}
        assert seeds[1::2] == list(range(len(training.losses["rrelu"])))
        drawn = float(torch.rand(1))
        torch.manual_seed(7)
        assert drawn == float(torch.rand(1))

    def test_a_training_that_diverges_ends_alone(self):
        training = LiveTraining(("relu", "tanh"), **SMALL)
        training.losses["relu"].append(float("nan"))
        training.start()
        training.wait()
        assert len(training.losses["relu"]) == 1
        assert len(training.losses["tanh"]) >= 1

    def test_it_ends_once_all_have_diverged(self, monkeypatch):
        def worse(_training, name, step):
            return math.inf if (name, step) in (("relu", 1), ("tanh", 3)) else 9.0

        monkeypatch.setattr(LiveTraining, "_step", worse)
        training = LiveTraining(("relu", "tanh"), faces=6, batch=3, seconds=5)
        training.start()
        training.wait()
        assert (training.state, training.diverged) == ("diverged", ("relu", "tanh"))
        assert [len(losses) for losses in training.losses.values()] == [2, 4]
        assert training.elapsed < 5

    @pytest.mark.parametrize(
        "wrong", [{"activations": ()}, {"activations": ("mish",)}, {"batch": 1}, {"seconds": 0}]
    )
    def test_what_makes_no_sense_is_refused(self, wrong):
        with pytest.raises(ValueError, match="expected"):
            LiveTraining(**wrong)


class TestTrainer:
    def test_buttons_start_and_stop_it_and_curves_grow(self):
        trainer = LiveTrainer(("relu", "elu"), faces=6, batch=3)
        trainer.buttons["Start"].click()
        assert trainer.buttons["Start"].disabled
        assert trainer.choices["relu"].disabled
        steps_of(trainer.training, "elu", 1)
        trainer.buttons["Stop"].click()
        assert trainer.status.value.startswith("Stopped")
        assert not trainer.buttons["Start"].disabled
        assert [trace.name for trace in trainer.figure.data] == ["ReLU", "ELU"]
        assert len(trainer.figure.data[1].y) == len(trainer.training.losses["elu"])
        assert trainer.errors == []

    def test_it_tells_which_diverged_and_when_instead_of_steps_each(self):
        trainer = LiveTrainer(("relu", "elu"), **SMALL)
        trainer.start()
        trainer.stop()
        training = trainer.training
        training.state, training.losses = "training", {"relu": [9.0, 8.0], "elu": [9.0, 8.0]}
        trainer.stop()
        assert trainer.status.value == "Training, 2 steps each"
        training.losses = {"relu": [9.0, math.nan], "elu": [9.0, 8.0, 7.0]}
        trainer.stop()
        assert trainer.status.value == "Training, 3 steps; ReLU diverged at step 2"

    def test_when_all_have_diverged_it_says_so_and_another_rate_starts_over(self, monkeypatch):
        monkeypatch.setattr(LiveTraining, "_step", lambda *_: math.nan)
        trainer = LiveTrainer(("relu", "elu"), faces=6, batch=3, seconds=5)
        trainer.start()
        trainer.training.wait()
        assert trainer.status.value == "All have diverged: choose a lower learning rate."
        assert trainer.buttons["Start"].disabled
        assert trainer.buttons["Stop"].disabled
        trainer.rate.value = 1e-4
        assert trainer.training is None
        assert not trainer.buttons["Start"].disabled
        assert trainer.errors == []

    def test_another_choice_starts_over(self):
        trainer = LiveTrainer(("relu",), **SMALL)
        trainer.start()
        trainer.training.wait()
        trainer.choices["gelu"].value = True
        assert trainer.training is None
        assert len(trainer.figure.data) == 0
        assert trainer.bar.value == 0

    def test_what_goes_wrong_is_recorded_and_shown(self):
        trainer = LiveTrainer((), faces=6, batch=3)
        trainer.buttons["Start"].click()
        assert "expected activations out of" in trainer.error_line.value
        assert len(trainer.errors) == 1

    def test_what_the_thread_raises_is_shown_too(self, monkeypatch):
        def broken(*_arguments):
            raise RuntimeError("no faces today")

        monkeypatch.setattr("m4kit.ablation.activations.live.random_face", broken)
        trainer = LiveTrainer(("relu",), **SMALL)
        trainer.start()
        trainer.training.wait()
        assert trainer.training.state == "failed"
        assert "no faces today" in trainer.error_line.value
        assert not trainer.buttons["Start"].disabled

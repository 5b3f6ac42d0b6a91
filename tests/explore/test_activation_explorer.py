"""The activation explorer and live training, used by setting the widgets' values."""

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


def points(explorer):
    return [trace for trace in explorer.curves.data if trace.type == "scatter" and trace.mode == "markers"]


def titles(explorer):
    return [note.text.replace("<br>", ", ") for note in explorer.curves.layout.annotations]


def shown(view):
    return view.layout.display != "none"


class TestCurves:
    def test_each_activation_has_a_line_and_a_violin_of_one_legend_entry(self, explorer):
        assert [trace.name for trace in lines(explorer)] == ["Sigmoid", "ReLU", "ELU"]
        assert [trace.legendgroup for trace in violins(explorer)] == ["sigmoid", "relu", "elu"]

    def test_lines_show_the_range_of_steps_and_violins_its_last_fifth(self, explorer):
        # The last twelve of sixty steps, of two seeds, as in the still picture.
        assert len(violins(explorer)[0].y) == 24
        assert titles(explorer)[1] == "Single batches of the last 20 %, steps 49 to 60"
        explorer.steps.value = (1, 50)
        assert (lines(explorer)[0].x[0], lines(explorer)[0].x[-1]) == (1, 50)
        assert len(violins(explorer)[0].y) == 20
        assert titles(explorer)[1] == "Single batches of the last 20 %, steps 41 to 50"

    def test_too_few_batches_for_a_violin_are_points(self, explorer):
        explorer.steps.value = (11, 30)
        assert [len(violin.y) for violin in violins(explorer)] == [0, 0, 0]
        assert [len(some.y) for some in points(explorer)] == [8, 8, 8]

    def test_without_smoothing_the_line_is_the_loss(self, explorer):
        explorer.smoothing.value = 1
        np.testing.assert_allclose(lines(explorer)[1].y, np.linspace(21, 11, 60), rtol=1e-6)

    def test_activations_and_seeds_can_be_left_out(self, explorer):
        explorer.activations["relu"].value = False
        explorer.seeds[1].value = False
        assert [trace.name for trace in lines(explorer)] == ["Sigmoid", "ELU"]
        assert titles(explorer)[0] == "One seed, moving mean over 25 steps"
        assert "1 seed" in explorer.curves.layout.title.text

    def test_the_highlighted_one_is_strong_in_both_and_its_function_is_drawn(self, explorer):
        explorer.highlight.value = "elu"
        assert [trace.opacity for trace in lines(explorer)] == [0.2, 0.2, 1]
        assert [trace.opacity for trace in violins(explorer)] == [0.2, 0.2, 1]
        function = next(trace for trace in explorer.function.data if trace.name == "ELU")
        # ELU(-6) = exp(-6) - 1.
        assert function.y[0] == pytest.approx(np.exp(-6) - 1)

    def test_a_click_puts_forward_and_another_takes_it_back(self, explorer):
        explorer.curves_view.clicked = [5, 0, 1]
        assert explorer.highlight.value == "relu"
        explorer.curves_view.clicked = [7, 0, 2]
        assert explorer.highlight.value == "none"

    def test_the_browser_gets_what_the_figure_holds(self, explorer):
        explorer.scale.value = "log"
        sent = json.loads(explorer.curves_view.figure)
        assert len(sent["data"]) == 12
        assert sent["layout"]["yaxis"]["type"] == sent["layout"]["yaxis2"]["type"] == "log"

    @pytest.mark.parametrize("buttons", ["activations", "seeds"])
    def test_nothing_chosen_is_a_sentence_in_place_of_the_charts_and_no_error(self, explorer, buttons):
        for button in getattr(explorer, buttons).values():
            button.value = False
        assert shown(explorer.nothing)
        assert "choose at least one activation and one seed" in explorer.nothing.value
        explorer.steps.value, explorer.highlight.value, explorer.descending.value = (11, 30), "elu", True
        views = (explorer.curves_view, explorer.function_view, explorer.table)
        assert not any(map(shown, views))
        assert not explorer.curves.layout.title.text
        assert explorer.error_line.value == ""
        next(iter(getattr(explorer, buttons).values())).value = True
        assert all(map(shown, views))
        assert not shown(explorer.nothing)
        assert len(lines(explorer)) in (1, 3)

    def test_colours_of_a_legend_stand_beside_the_axes(self, explorer):
        for figure in (explorer.curves, explorer.function):
            assert figure.layout.legend.x > 1
            assert figure.layout.legend.orientation == "v"

    def test_diverged_trainings_are_named_and_have_no_violin(self):
        record = record_of(run_record("relu", 0), run_record("elu", 0, loss=[9, 30, 99], status="diverged"))
        explorer = ActivationExplorer(record)
        assert "1 of 1 diverged" in lines(explorer)[1].hovertemplate
        assert len(violins(explorer)[1].y) == len(points(explorer)[1].y) == 0


class TestSearch:
    @pytest.fixture
    def searched(self):
        runs = [
            run_record(name, rate=rate, loss=np.full(30, 1000 * rate), nme=nme, purposes=("search",))
            for name in ("relu", "elu")
            for rate, nme in (
                (0.001, 9),
                (0.01, 5 if name == "relu" else 4),
                (0.1, 3 if name == "elu" else 8),
            )
        ]
        runs += [run_record(name, seed, rate=0.01) for name in ("relu", "elu") for seed in range(3)]
        explorer = ActivationExplorer(record_of(*runs))
        explorer.purpose.value = "search"
        return explorer

    def test_each_activation_is_shown_at_its_best_rate_and_the_title_says_so(self, searched):
        assert [line.y[-1] for line in lines(searched)] == pytest.approx([10, 100])
        assert "30 steps, each at its best learning rate, 1 seed" in searched.curves.layout.title.text
        assert titles(searched)[0].startswith("One seed")

    def test_one_rate_can_be_chosen_for_all(self, searched):
        searched.rate.value = 0.001
        assert [line.y[-1] for line in lines(searched)] == pytest.approx([1, 1])
        assert "learning rate 0.001, 1 seed" in searched.curves.layout.title.text

    def test_the_table_has_a_row_for_each_rate(self, searched):
        assert searched.table.value.count("<tr>") == 1 + 6

    def test_the_steps_end_with_the_trainings_shown(self, searched):
        assert (searched.steps.max, searched.steps.value) == (30, (1, 30))
        assert shown(searched.rate)
        searched.purpose.value = "best"
        assert (searched.steps.max, searched.steps.value) == (40, (1, 40))
        assert not shown(searched.rate)
        assert "learning rate 0.01, 3 seeds" in searched.curves.layout.title.text


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
        assert "ReLU against Sigmoid (2 pairs): final loss " in explorer.table.value
        assert "ELU against Sigmoid" in explorer.table.value.replace("ReLU", "")
        explorer.activations["relu"].value = False
        assert "ReLU against" not in explorer.table.value
        assert "ELU against Sigmoid" in explorer.table.value


def test_a_record_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(RecordError, match="no such record"):
        ActivationExplorer(tmp_path / "none.parquet")


def test_a_reader_without_a_kernel_sees_a_still(explorer):
    assert explorer.still().startswith(b"\x89PNG")


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

    def test_rrelu_seeds_for_its_step_alone(self):
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

    def test_another_choice_starts_over(self):
        trainer = LiveTrainer(("relu",), **SMALL)
        trainer.start()
        trainer.training.wait()
        trainer.choices["gelu"].value = True
        assert trainer.training is None
        assert len(trainer.figure.data) == 0
        assert trainer.bar.value == 0

    def test_without_an_activation_there_is_no_start_and_a_sentence_says_why(self):
        trainer = LiveTrainer((), faces=6, batch=3)
        assert trainer.buttons["Start"].disabled
        assert trainer.status.value == "Choose at least one activation."
        assert not shown(trainer.view)
        trainer.choices["elu"].value = True
        assert not trainer.buttons["Start"].disabled
        assert trainer.status.value.startswith("Choose two or more and press Start")

    def test_what_the_thread_raises_is_shown_too(self, monkeypatch):
        def broken(*_arguments):
            raise RuntimeError("no faces today")

        monkeypatch.setattr("m4kit.ablation.activations.live.random_face", broken)
        trainer = LiveTrainer(("relu",), **SMALL)
        trainer.start()
        trainer.training.wait()
        assert trainer.training.state == "failed"
        assert "no faces today" in trainer.error_line.value
        trainer.errors.clear()
        assert not trainer.buttons["Start"].disabled

"""Numbers and the figure of the activation study, on made-up trainings with known answers."""

import numpy as np
import pytest
from scipy import stats

from m4kit.ablation.activations.figures import activation_figure
from m4kit.ablation.activations.numbers import (
    activation_table,
    against,
    final_loss,
    interval,
    smoothed,
    steps_to,
    volatility,
)

from helpers.activation_records import record_of, run_record


def noisy(level, *, seed, n=400, noise=1.0):
    return level + np.random.default_rng(seed).normal(0, noise, n)


class TestCurves:
    def test_smoothing_keeps_constants_lines_and_lengths(self):
        np.testing.assert_allclose(smoothed(np.full(30, 7.0), 9), 7)
        line = np.arange(50.0)
        np.testing.assert_allclose(smoothed(line, 5)[2:-2], line[2:-2])
        np.testing.assert_allclose(smoothed(line, 1), line)
        assert smoothed(line, 4).shape == (50,)
        with pytest.raises(ValueError, match="at least one step, got 0"):
            smoothed(line, 0)

    def test_a_level_is_reached_when_the_last_25_losses_are_that_low_on_average(self):
        # 100, 99, ... 1: the mean of steps 1 to 25 is 88, and each further step lowers it by 1.
        run = run_record(loss=np.arange(100, 0, -1))
        assert steps_to(run, 88) == 25
        assert steps_to(run, 78) == 35
        assert steps_to(run, 12.5) == np.inf

    def test_volatility_is_the_spread_in_percent_whatever_the_trend(self):
        loss = np.linspace(200, 100, 4000) + np.random.default_rng(0).normal(0, 3, 4000)
        # The last fifth runs from 120 to 100. A mean over 25 steps takes a 25th of the variance with it.
        expected = 100 * 3 * (1 - 1 / 25) ** 0.5 / 110
        assert volatility(run_record(loss=loss)) == pytest.approx(expected, rel=0.06)

    def test_a_diverged_training_has_no_final_loss(self):
        run = run_record(status="diverged")
        assert np.isnan(final_loss(run))
        assert np.isnan(volatility(run))

    def test_the_interval_is_students(self):
        # t(0.975, 2) = 4.302653 (tables); the standard error of 1, 2, 3 is 1 / sqrt(3).
        assert interval([1, 2, 3]) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), rel=1e-6)
        assert np.isnan(interval([1])).all()


class TestTable:
    def test_numbers_are_means_over_the_seeds_that_did_not_diverge(self):
        runs = [run_record("elu", seed, loss=[4 + seed] * 50, nme=5 + seed) for seed in range(2)]
        runs.append(run_record("elu", 2, loss=[99] * 9, status="diverged"))
        table = activation_table(record_of(*runs), levels=[4.2])
        assert table.loc[0, ["seeds", "diverged"]].tolist() == [3, 1]
        assert table.loc[0, "loss"] == pytest.approx(4.5)
        assert table.loc[0, "nme"] == pytest.approx(5.5)
        # One of three seeds reaches it.
        assert table.loc[0, "to 4.2"] == np.inf

    def test_each_rate_of_a_search_has_its_own_row(self):
        runs = [run_record("elu", rate=rate, nme=100 * rate, purposes=("search",)) for rate in (0.1, 0.03)]
        table = activation_table(record_of(*runs), purpose="search")
        assert table[["learning_rate", "seeds"]].values.tolist() == [[0.03, 1], [0.1, 1]]
        assert table["nme"].tolist() == pytest.approx([3, 10])

    def test_what_was_not_trained_is_an_error(self):
        with pytest.raises(ValueError, match=r"purpose search, got none .* the record has best"):
            activation_table(record_of(run_record()), purpose="search")


class TestAgainst:
    def test_a_large_difference_is_significant_and_a_small_one_is_not(self):
        runs = [
            run_record("sigmoid", seed, loss=noisy(20, seed=seed), nme=9 + 0.1 * seed) for seed in range(4)
        ]
        runs += [
            run_record("relu", seed, loss=noisy(10, seed=9 + seed), nme=nme)
            for seed, nme in enumerate((9.1, 9.0, 9.4, 9.2))
        ]
        table = against(record_of(*runs), others=["relu"]).set_index("measure")
        assert table.loc["loss", "verdict"] == "lower"
        assert table.loc["nme", "verdict"] == "not told apart"
        assert table.loc["nme", "low"] < 0 < table.loc["nme", "high"]
        # Of the 16 ways to choose four signs, two make a mean as large: all minus and all plus.
        assert table.loc["loss", "permutation_p"] == pytest.approx(2 / 16)
        assert table.loc["nme", "permutation_p"] > 0.3
        assert table.loc["loss", "permutation_least"] == pytest.approx(2 / 16)

    def test_seeds_are_paired_so_what_they_share_is_no_noise(self):
        shared, own = (0.0, 3.0, 6.0), (0.1, 0.0, 0.2)
        runs = [run_record("sigmoid", seed, nme=9 + drift) for seed, drift in enumerate(shared)]
        runs += [
            run_record("relu", seed, nme=8 + drift + extra)
            for seed, (drift, extra) in enumerate(zip(shared, own, strict=True))
        ]
        nme = against(record_of(*runs[::-1]), others=["relu"]).set_index("measure").loc["nme"]
        # Differences -0.9, -1 and -0.8; t(0.975, 2) = 4.302653 and a standard error of 0.1 / sqrt(3).
        assert nme["difference"] == pytest.approx(-0.9, abs=1e-6)
        assert (nme["low"], nme["high"]) == pytest.approx((-1.148414, -0.651586), abs=1e-5)

    def test_p_is_of_the_paired_test_multiplied_by_the_number_of_tests_still_standing(self):
        nme = {"sigmoid": (9.0, 9.3, 9.1), "relu": (8.0, 8.4, 8.05)}
        runs = [
            run_record(name, seed, loss=np.full(30, 9.0), nme=value)
            for name, values in nme.items()
            for seed, value in enumerate(values)
        ]
        table = against(record_of(*runs), others=["relu"]).set_index("measure")
        plain = stats.ttest_rel(nme["relu"], nme["sigmoid"]).pvalue
        # Loss and volatility do not vary here; NME, balanced NME and pose are tested, with the same p.
        assert table.loc["nme", "p"] == pytest.approx(3 * plain, rel=1e-3)
        assert table.loc["nme", "permutation_least"] == pytest.approx(0.25)

    def test_one_seed_is_too_few_to_tell(self):
        runs = [run_record("sigmoid", 0, nme=9), run_record("relu", 0, nme=5), run_record("relu", 1, nme=6)]
        table = against(record_of(*runs), others=["relu"])
        assert set(table["verdict"]) == {"too few seeds to tell"}
        assert table.set_index("measure").loc["nme", "difference"] == pytest.approx(-4)

    def test_the_rates_of_a_search_are_no_seeds(self):
        rates = (0.1, 0.03, 0.01)
        runs = [
            run_record(name, rate=rate, nme=rate, purposes=("search",))
            for name in ("sigmoid", "relu")
            for rate in rates
        ]
        table = against(record_of(*runs), others=["relu"], purpose="search")
        assert set(table["seeds"]) == {1}
        assert set(table["verdict"]) == {"too few seeds to tell"}

    def test_diverged_seeds_do_not_count(self):
        runs = [run_record("sigmoid", seed, nme=9 + seed) for seed in range(3)]
        runs += [run_record("relu", seed, status="diverged") for seed in range(3)]
        assert set(against(record_of(*runs), others=["relu"])["seeds"]) == {0}


class TestFigure:
    def test_a_line_and_a_violin_for_each_activation(self):
        runs = [run_record(name, seed) for name in ("sigmoid", "relu", "elu") for seed in range(2)]
        figure = activation_figure(record_of(*runs), window=5)
        left, right = figure.axes
        names = ["Sigmoid, 25 % dead", "ReLU, 25 % dead", "ELU, 25 % dead"]
        assert [text.get_text() for text in left.get_legend().get_texts()] == names
        assert [text.get_text() for text in right.get_xticklabels()] == ["Sigmoid", "ReLU", "ELU"]
        assert "small, 64 px, batch 64, 40 steps, learning rate 0.001, 2 seeds" in figure.get_suptitle()
        assert left.get_yscale() == "linear"
        assert activation_figure(record_of(*runs), log=True).axes[0].get_yscale() == "log"

    def test_of_a_search_each_activation_has_its_best_rate_and_a_title_that_says_so(self):
        runs = [
            run_record(name, rate=rate, nme=nme, loss=[loss] * 100, purposes=("search",))
            for name, rate, nme, loss in (
                *(("relu", 0.1, 9, 40), ("relu", 0.01, 5, 20)),
                *(("elu", 0.1, 4, 10), ("elu", 0.01, np.nan, 30)),
            )
        ]
        figure = activation_figure(record_of(*runs), purpose="search")
        left, right = figure.axes
        assert [line.get_ydata()[-1] for line in left.lines] == pytest.approx([20, 10])
        assert "100 steps, each at its best learning rate, 1 seed" in figure.get_suptitle()
        assert left.get_title() == "One seed, moving mean over 25 steps"
        assert right.get_title() == "Single batches of the last 20 %, steps 81 to 100"

    def test_few_batches_are_points_and_many_a_violin(self):
        few, many = (np.random.default_rng(0).normal(10, 1, count) for count in (95, 500))
        figure = activation_figure(record_of(run_record("relu", loss=few), run_record("elu", loss=many)))
        # 19 and 100 batches; a point for each of the few, and a median each.
        assert len(figure.axes[1].collections) == 1
        assert len(figure.axes[1].lines[0].get_ydata()) == 19

    def test_a_diverged_training_is_named_and_marked(self):
        runs = [run_record("relu", 0), run_record("relu", 1, loss=[20, 900, np.nan], status="diverged")]
        left, right = activation_figure(record_of(*runs, run_record("elu", 0, status="diverged"))).axes
        labels = [text.get_text() for text in left.get_legend().get_texts()]
        assert labels == ["ReLU, 1 of 2 diverged, 25 % dead", "ELU, 1 of 1 diverged"]
        assert sum(line.get_marker() == "x" for line in left.lines) == 2
        assert [text.get_text() for text in right.texts] == ["diverged"]

    def test_activations_that_were_not_trained_are_an_error(self):
        with pytest.raises(ValueError, match="activations out of relu, got elu"):
            activation_figure(record_of(run_record()), activations=["elu"])

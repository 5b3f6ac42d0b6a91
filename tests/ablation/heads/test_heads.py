"""Head weights evaluated by fusing again, their study, its record, its figures and its command."""

import zipfile
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from m4kit import metrics
from m4kit.ablation import (
    HeadStudy,
    RecordError,
    checked_weights,
    command,
    head_weights_figure,
    judge,
    judge_own,
    simplex,
    simplex_figure,
    study,
    validation_samples,
)
from m4kit.ablation.heads.judge import GROUPS, head_poses
from m4kit.ablation.heads.study import _halves, paired_intervals, people_of
from m4kit.camera import CROP_SIZE, head_pose, rotation_from_euler
from m4kit.cli import main
from m4kit.datasets import DatasetError, PublishedBox
from m4kit.evaluate import HeadAnswers
from m4kit.evaluate.crops import true_crops
from m4kit.parameters import landmarks_in_crop
from m4kit.training import TrainingError
from m4kit.training.data import Labels

from helpers.aflw_like import write_set
from helpers.face_sets import picture
from helpers.head_answers import YAWS, parameters_of, samples_of

LEARNED = np.array([0.1, 0.2, 0.3, 0.4])


def answers_of(model, truth, heads, *, weights=LEARNED):
    return HeadAnswers(
        samples=samples_of(model, truth),
        heads=heads.astype(np.float32),
        weights=np.broadcast_to(weights, (len(YAWS), 4)).astype(np.float32),
        model=model,
        published_crops=False,
    )


@pytest.fixture(scope="module")
def truth():
    return parameters_of(0)


@pytest.fixture(scope="module")
def noisy(model, truth):
    """Heads that all err by chance, in all 62 parameters."""
    random = np.random.default_rng(5)
    spread = np.concatenate([np.tile([0.03, 0.03, 0.03, 2], 3), np.ones(50)])
    return answers_of(model, truth, truth[:, None] + spread * random.normal(size=(len(YAWS), 4, 62)))


@pytest.fixture(scope="module")
def shifted(model, truth):
    """Heads off by +3 and -1 crop pixels in x, and the two between by 5 and 7 in y: (1/4, 0, 0, 3/4) is right."""
    heads = np.repeat(truth[:, None], 4, axis=1)
    for head, (x, y) in enumerate([(3, 0), (0, 5), (0, 7), (-1, 0)]):
        heads[:, head, 3] += x
        heads[:, head, 7] += y
    return answers_of(model, truth, heads)


@pytest.fixture(scope="module")
def shifted_by_face(shifted):
    """With dynamic weights, which are wrong for the first face."""
    each = np.tile([0.25, 0, 0, 0.75], (len(YAWS), 1))
    each[0] = [1, 0, 0, 0]
    return replace(shifted, weights=each)


def studied(answers, *, dataset="nine faces", resamples=50, **options):
    return study(answers, dataset=dataset, resamples=resamples, progress=False, **options)


@pytest.fixture(scope="module")
def record(shifted, truth):
    return studied(shifted, weights_file="mine", truth=truth, resamples=200)


@pytest.fixture(scope="module")
def elsewhere(noisy, record):
    """The study of other faces, under the weights that the nine chose."""
    return studied(noisy, dataset="others", weights_file="mine", chosen=record)


class TestWeights:
    def test_the_simplex_holds_all_weights_in_steps(self):
        weights = simplex(0.1)
        assert weights.shape == (286, 4)
        np.testing.assert_allclose(weights.sum(axis=1), 1)
        assert (weights >= 0).all()
        assert len({tuple(row) for row in (10 * weights).round().astype(int).tolist()}) == 286
        assert len(simplex(0.05)) == 1771

    @pytest.mark.parametrize("step", [0, 0.3, -0.1, 2])
    def test_a_step_that_does_not_divide_1_is_an_error(self, step):
        with pytest.raises(ValueError, match=r"a step that divides 1, such as 0\.1"):
            simplex(step)

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ([0.5, 0.6, -0.1, 0], r"at least 0, got \[0\.5, 0\.6, -0\.1, 0\.0\]; leave a head out with 0"),
            ([0.5, 0.4, 0, 0], r"sum to 1, got \[0\.5, 0\.4, 0\.0, 0\.0\]; divide them"),
            ([0.5, 0.5, 0], r"of the 4 heads, got shape \(3,\)"),
            (np.full((2, 2, 4), 0.25), r"\(n, 4\) of the 4 heads, got shape \(2, 2, 4\)"),
            ([[1, 0, 0, 0], [0, np.nan, 1, 0]], "expected finite weights, got .*nan"),
            ([[1, 0, 0, 0], [1, 0]], "of the 4 heads, got something else"),
            (np.zeros((0, 4)), r"got shape \(0, 4\)"),
        ],
    )
    def test_bad_weights_are_errors_that_name_the_remedy(self, weights, message):
        with pytest.raises(ValueError, match=message):
            checked_weights(weights)


class TestJudge:
    def test_it_equals_the_plain_path(self, noisy):
        weights = np.random.default_rng(1).dirichlet(np.ones(4), 7)
        judged = judge(noisy, weights)
        for row, one in enumerate(weights):
            plain = noisy.evaluate(one)
            np.testing.assert_allclose(judged.faces[row], plain.nme, rtol=1e-4)
            np.testing.assert_allclose(judged.bins[row], plain.balanced.bins, rtol=1e-4)
            assert judged.headline[row] == pytest.approx(plain.balanced.mean, rel=1e-4)
            assert judged.nme[row] == pytest.approx(plain.nme.mean(), rel=1e-4)
            np.testing.assert_allclose(judged.pose[row], plain.pose_mae, rtol=1e-4)

    def test_groups_average_their_points_of_every_bin_alike(self, noisy):
        judged, plain = judge(noisy, LEARNED), noisy.evaluate(LEARNED)
        predicted, true = plain.predicted[..., :2], plain.true[..., :2]
        distance = np.linalg.norm(predicted - true, axis=-1)
        distance /= np.sqrt(np.ptp(true, axis=1).prod(axis=1))[:, None]
        lips = metrics.balanced_mean(100 * distance[:, 48:].mean(axis=1), plain.true_poses[:, 0]).mean
        assert judged.groups[0, list(GROUPS).index("lips")] == pytest.approx(lips, rel=1e-4)
        assert sum(map(len, GROUPS.values())) == 68

    def test_published_crops_that_are_not_square_are_mapped_back_as_the_set_does(self, noisy):
        box = PublishedBox(5, 10, 245, 270)
        published = replace(
            noisy,
            samples=tuple(replace(sample, published_box=box) for sample in noisy.samples),
            published_crops=True,
        )
        judged = judge(published, LEARNED)
        np.testing.assert_allclose(judged.faces[0], published.evaluate(LEARNED).nme, rtol=1e-4)

    def test_the_error_of_the_vertices_is_over_the_whole_mesh_and_knows_no_depth(self, noisy, truth, model):
        deeper = truth.copy()
        deeper[:, 11] += 50
        fused = (noisy.heads * LEARNED[:, None]).sum(axis=1)
        errors = []
        for predicted, true in zip(fused, truth, strict=True):
            placed = []
            for parameters in (predicted, true):
                camera = parameters[:12].reshape(3, 4)
                mesh = model.vertices(parameters[12:52], parameters[52:]) @ camera[:, :3].T
                placed.append(mesh + np.array([camera[0, 3], camera[1, 3], 0]))
            size = np.ptp(landmarks_in_crop(model, true[None])[0, :, :2], axis=0).prod() ** 0.5
            errors.append(100 * np.sqrt(np.square(placed[0] - placed[1]).sum(axis=1).mean()) / size)
        # Three faces in each bin, so all weigh alike.
        for given in (truth, deeper):
            assert judge(noisy, LEARNED, truth=given).vertices[0] == pytest.approx(np.mean(errors), rel=1e-4)
        assert np.isnan(judge(noisy, LEARNED).vertices[0])

    def test_the_networks_own_weights_may_differ_from_face_to_face(self, noisy):
        each = np.random.default_rng(3).dirichlet(np.ones(4), len(YAWS))
        own = judge_own(replace(noisy, weights=each))
        np.testing.assert_allclose(own.faces[0], noisy.evaluate(each).nme, rtol=1e-4)
        np.testing.assert_allclose(own.weights[0], each.mean(axis=0))

    def test_chunks_change_nothing(self, noisy, monkeypatch):
        whole = judge(noisy, simplex(0.5))
        monkeypatch.setattr("m4kit.ablation.heads.judge._MOST_FACES", 2)
        chunked = judge(noisy, simplex(0.5))
        for name in ("faces", "groups", "pose"):
            np.testing.assert_allclose(getattr(chunked, name), getattr(whole, name), rtol=1e-5)

    def test_faces_of_unknown_pose_are_judged_by_the_landmarks_alone(self, noisy):
        blind = replace(noisy, samples=tuple(replace(sample, pose=None) for sample in noisy.samples))
        judged = judge(blind, LEARNED)
        assert np.isnan(judged.pose).all()
        assert np.isnan(judged.bins).all()
        assert judged.headline[0] == pytest.approx(noisy.evaluate(LEARNED).nme.mean(), rel=1e-4)

    def test_a_truth_of_other_faces_is_an_error(self, noisy, truth):
        with pytest.raises(
            ValueError, match=r"raw parameters \(9, 62\), one row for each of 9 faces, got \(8, 62\)"
        ):
            judge(noisy, LEARNED, truth=truth[:8])


def test_many_poses_at_once_are_those_of_each_camera():
    random = np.random.default_rng(0)
    cameras = random.normal(size=(40, 3, 4))
    cameras[0, :, :3] = 2 * rotation_from_euler(90, 20, 0)
    cameras[1, :, :3] = 0.5 * rotation_from_euler(-90, 20, 0)
    cameras[2, :, :3] = rotation_from_euler(10, -170, 175)
    np.testing.assert_allclose(head_poses(cameras), [head_pose(camera) for camera in cameras], atol=1e-5)


class TestStudy:
    def test_it_finds_the_best_static_weights_between_the_steps_of_a_tenth(self, record):
        np.testing.assert_allclose(record.weights("best static"), [0.25, 0, 0, 0.75])
        row = record.row("best static")
        assert record.table.headline[row] == pytest.approx(0, abs=1e-4)
        assert record.table.vertices[row] == pytest.approx(0, abs=1e-3)
        assert len(record.grid) > 286

    def test_every_setting_is_there_and_worse_than_the_best(self, record):
        assert record.settings == (
            *("head 1", "head 2", "head 3", "head 4", "uniform", "learned static", "best static"),
            "best of other half",
        )
        assert {record.verdict(name) for name in record.settings[:6]} == {"worse"}
        assert record.verdict("best static", "head 1") == "better"
        assert record.verdict("best static") == "chosen on these faces"
        assert record.counts == (3, 3, 3)

    def test_each_half_is_judged_under_the_weights_that_the_other_half_chose(self, model, truth):
        """Heads 1 and 4 are each right on the faces of one half and wrong by 5 pixels on those of the other."""
        people = people_of(samples_of(model, truth))
        first, second = _halves(people, 0)
        assert abs(int(first.sum()) - int(second.sum())) == 1
        heads = np.repeat(truth[:, None], 4, axis=1)
        heads[:, 1:3, 7] += 40
        heads[second, 0, 3] += 5
        heads[first, 3, 3] += 5
        found = studied(answers_of(model, truth, heads))
        other = found.row("best of other half")
        # Each face has the head that is wrong on it.
        np.testing.assert_allclose(
            found.weights("best of other half"), [second.mean(), 0, 0, first.mean()], atol=1e-6
        )
        alone = answers_of(model, truth, heads).evaluate(np.where(first[:, None], np.eye(4)[3], np.eye(4)[0]))
        assert found.table.headline[other] == pytest.approx(alone.balanced.mean, rel=1e-4)
        assert found.table.headline[other] > 1.5 * found.table.headline[found.row("best static")]
        np.testing.assert_allclose(
            found.grid_differences[:, 0], found.grid.headline - found.table.headline[other], atol=1e-4
        )

    def test_the_photos_of_a_person_stay_in_one_half_and_are_drawn_together(self, model, truth):
        samples = samples_of(model, truth)
        twins = tuple(replace(one, person=f"person {number % 4}") for number, one in enumerate(samples))
        assert people_of(twins).tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0]
        assert people_of((*twins[:2], samples[2], twins[4])).tolist() == [0, 1, 2, 0]
        for seed in range(5):
            first, second = _halves(people_of(twins), seed)
            assert not {*people_of(twins)[first]} & {*people_of(twins)[second]}
            assert (first | second).all()
        assert _halves(np.zeros(3, int), 0) == []
        # Two people, three photos each that are alike: as uncertain as two faces, not as six.
        faces, bins = np.array([[0.0] * 3 + [1.0] * 3]), np.full(6, -1)
        together, _ = paired_intervals(faces, bins, [0], people=np.array([0, 0, 0, 1, 1, 1]))
        apart, _ = paired_intervals(faces, bins, [0], people=np.arange(6))
        assert together[0].tolist() == [0, 1]
        assert np.ptp(apart[0]) < 1

    def test_intervals_are_those_of_the_evaluation(self, noisy):
        found = studied(noisy, resamples=1000)
        plain = noisy.evaluate(noisy.weights[0])
        np.testing.assert_allclose(
            found.intervals[found.row("learned static")], plain.balanced_interval(), rtol=1e-4
        )

    def test_two_settings_differ_if_the_paired_interval_leaves_0_out(self, noisy):
        found = studied(noisy, resamples=150)
        yaw = noisy.evaluate().true_poses[:, 0]
        verdicts = set()
        for one in range(4):
            for other in range(4):
                gap = noisy.evaluate(np.eye(4)[one]).nme - noisy.evaluate(np.eye(4)[other]).nme
                low, high = metrics.bootstrap(
                    np.column_stack([gap, yaw]),
                    statistic=lambda rows: metrics.balanced_mean(*rows.T).mean,
                    resamples=150,
                )
                np.testing.assert_allclose(found.differences[one, other, 1:], [low, high], atol=1e-4)
                expected = "better" if high < 0 else "worse" if low > 0 else "does not differ"
                assert found.verdict(f"head {one + 1}", f"head {other + 1}") == expected
                verdicts.add(expected)
        assert verdicts == {"better", "worse", "does not differ"}

    def test_weights_of_the_users_own_are_judged_too(self, shifted):
        found = studied(shifted, others={"mine": [0.25, 0, 0, 0.75]})
        assert found.verdict("mine") == "does not differ"
        with pytest.raises(ValueError, match="names of your own, got 'uniform'"):
            studied(shifted, others={"uniform": LEARNED})

    def test_dynamic_weights_take_the_place_of_learned_ones(self, shifted_by_face):
        found = studied(shifted_by_face)
        assert "learned static" not in found.settings
        assert found.settings[-1] == "dynamic"
        assert found.table.nme[-1] == pytest.approx(found.table.nme[0] / len(YAWS), rel=0.2)

    def test_a_second_network_of_dynamic_weights_is_compared_on_the_same_faces(self, shifted):
        second = replace(shifted, heads=shifted.heads[:, ::-1], weights=np.tile([0.75, 0, 0, 0.25], (9, 1)))
        found = studied(shifted, dynamic=second)
        assert {"learned static", "dynamic"} < set(found.settings)
        assert found.table.headline[found.row("dynamic")] == pytest.approx(0, abs=1e-4)
        other = replace(second, samples=second.samples[::-1])
        with pytest.raises(ValueError, match="dynamic: expected answers on the same 9 faces"):
            studied(shifted, dynamic=other)

    def test_what_was_chosen_elsewhere_is_judged_and_nothing_searched(self, noisy, record, elsewhere):
        np.testing.assert_allclose(elsewhere.weights("best static"), record.weights("best static"))
        assert elsewhere.chosen_on == "nine faces"
        assert len(elsewhere.grid) == 0
        assert "chosen on nine faces; nothing was searched" in elsewhere.report()
        with pytest.raises(ValueError, match="a study of the same network, 'another', got one of 'mine'"):
            studied(noisy, weights_file="another", chosen=record)

    def test_a_set_that_knows_no_yaw_is_compared_over_all_faces(self, noisy):
        blind = replace(noisy, samples=tuple(replace(sample, pose=None) for sample in noisy.samples))
        found = studied(blind)
        assert found.criterion == "NME over all faces"
        assert "0-30" not in found.report()
        assert "pose" not in found.report()
        assert len(head_weights_figure(found).axes) == 3

    def test_the_report_has_one_line_per_setting(self, record):
        lines = record.report().splitlines()
        assert lines[0].startswith("9 faces of nine faces, ground-truth boxes")
        assert any(line.startswith("best static") and "0.25 0 0 0.75" in line for line in lines)
        assert any(line.startswith("head 1") and line.endswith("worse") for line in lines)
        assert lines[-1].startswith(f"{record.not_worse.sum()} of {len(record.grid)} static weights")


class TestRecord:
    def test_it_is_read_back_as_it_was_written(self, record, tmp_path):
        again = HeadStudy.load(record.save(tmp_path / "deep" / "record.parquet"))
        assert again.report() == record.report()
        assert (again.dataset, again.faces, again.counts) == ("nine faces", 9, (3, 3, 3))
        np.testing.assert_array_equal(again.grid.weights, record.grid.weights)
        np.testing.assert_array_equal(again.grid_differences, record.grid_differences)

    def test_columns_of_another_length_are_named(self, record, tmp_path):
        path = record.save(tmp_path / "record.parquet")
        table = pd.read_parquet(path)
        table["interval"] = [np.zeros(3)] * len(table)
        table.to_parquet(path)
        with pytest.raises(RecordError, match=r"interval of shape \(8, 2\), got 24 numbers"):
            HeadStudy.load(path)

    def test_the_table_has_one_row_per_setting_and_per_weights_tried(self, record):
        table = record.to_dataframe()
        assert table["setting"].tolist() == [*record.settings, *["grid"] * len(record.grid)]
        best = table.iloc[record.row("best static")]
        assert best[[f"weight_{head}" for head in range(1, 5)]].tolist() == [0.25, 0, 0, 0.75]
        assert table["verdict"][0] == "worse"
        assert table["verdict"].iloc[-1] in ("better", "worse", "does not differ")
        assert table["low"].iloc[-1] <= table["nme_balanced"].iloc[-1] <= table["high"].iloc[-1]

    def test_an_unknown_setting_is_an_error_that_names_the_known(self, record):
        with pytest.raises(
            ValueError, match=r"out of head 1, .*best static, best of other half, got 'worst'"
        ):
            record.weights("worst")


class TestFigures:
    def test_accuracy_stands_against_the_settings_with_their_intervals(self, record):
        figure = head_weights_figure(record)
        settings, grid, details = figure.axes
        assert [label.get_text().split("\n")[0] for label in settings.get_xticklabels()] == list(
            record.settings
        )
        assert len(settings.containers) == len(record.settings)
        middle = [bar.lines[0].get_ydata()[0] for bar in settings.containers]
        np.testing.assert_allclose(middle, record.table.headline)
        assert f"All {len(record.grid)} static weights" in grid.get_title()
        # Five groups, three angles, vertices.
        assert len(details.texts) == 9 * len(record.settings)

    def test_what_is_not_known_takes_no_room(self, record):
        unknown = np.full_like(record.table.pose, np.nan), np.full_like(record.table.vertices, np.nan)
        table = replace(record.table, pose=unknown[0], vertices=unknown[1])
        details = head_weights_figure(replace(record, table=table)).axes[-1]
        assert details.get_xlim() == (-0.5, 4.5)

    def test_dynamic_weights_are_among_the_settings_and_nothing_searched_is_no_panel(
        self, shifted_by_face, record
    ):
        figure = head_weights_figure(studied(shifted_by_face, weights_file="mine", chosen=record))
        assert len(figure.axes) == 2
        labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
        assert any(label.startswith("dynamic\nmean\n") for label in labels)

    def test_the_tetrahedron_has_a_point_for_all_weights_tried(self, record):
        figure = simplex_figure(record)
        points = figure.data[2]
        assert len(points.x) == len(record.grid)
        best = record.grid.headline.argmin()
        marked = next(trace for trace in figure.data if trace.name and trace.name.startswith("best static"))
        np.testing.assert_allclose(
            [marked.x[0], marked.y[0], marked.z[0]], [points.x[best], points.y[best], points.z[best]]
        )
        # A head alone stands in a corner, as far from the middle as any other.
        corners = [np.flatnonzero(record.grid.weights[:, head] == 1)[0] for head in range(4)]
        distance = np.linalg.norm([[points.x[i], points.y[i], points.z[i]] for i in corners], axis=1)
        np.testing.assert_allclose(distance, distance[0])

    def test_a_study_that_searched_nothing_has_no_tetrahedron(self, elsewhere):
        with pytest.raises(
            ValueError, match="whose best were chosen on nine faces; give that study's record"
        ):
            simplex_figure(elsewhere)


class TestValidationPeople:
    @pytest.fixture
    def labels(self, model, tmp_path, truth):
        with zipfile.ZipFile(tmp_path / "drawn.zip", "w") as archive:
            for number in range(4):
                path = picture(tmp_path / f"{number}.png", grey=40 * number, size=(CROP_SIZE, CROP_SIZE))
                archive.write(path, path.name)
        return Labels(
            names=np.array([f"{number}.png" for number in range(4)]),
            source=np.array(["drawn"] * 4),
            parameters=truth[:4],
            points21=np.full((4, 21, 2), np.nan, np.float32),
            points68=np.full((4, 68, 2), np.nan, np.float32),
            validation=np.array([False, True, False, True]),
            face_model=model.fingerprint,
        )

    @pytest.fixture
    def held_out(self, model, tmp_path):
        """The validation people of labels, and their parameters."""
        return partial(validation_samples, model=model, data=tmp_path, progress=False)

    def test_they_are_samples_whose_truth_is_that_of_the_labels(self, labels, held_out, model):
        samples, parameters = held_out(labels)
        assert [sample.name for sample in samples] == ["drawn/1.png", "drawn/3.png"]
        np.testing.assert_array_equal(parameters, labels.parameters[[1, 3]])
        assert samples[1].pose.yaw == pytest.approx(YAWS[3], abs=1e-3)
        (_, crops), *_ = true_crops(samples, published_crops=False)
        assert [crop.tolist() for crop in crops[:, 5, 7]] == [[40] * 3, [120] * 3]
        perfect = HeadAnswers(
            samples, parameters[:, None].repeat(4, axis=1), np.full((2, 4), 0.25), model, False
        )
        np.testing.assert_allclose(judge(perfect, LEARNED).faces, 0, atol=1e-4)

    def test_faces_of_youtube_faces_have_their_person(self, labels, held_out, tmp_path):
        names = np.array([f"training_Ann_Lee_{video}1.jpg" for video in range(4)])
        with zipfile.ZipFile(tmp_path / "youtube_faces.zip", "w") as archive:
            for name in names:
                archive.write(picture(tmp_path / name, size=(CROP_SIZE, CROP_SIZE)), name)
        youtube = replace(labels, names=names, source=np.array(["youtube_faces"] * 4))
        for given, expected in ((youtube, ["Ann_Lee"] * 2), (labels, [None] * 2)):
            samples, _ = held_out(given)
            assert [sample.person for sample in samples] == expected

    def test_labels_of_another_face_model_are_no_truth(self, labels, held_out):
        with pytest.raises(TrainingError, match=r"labels: .* of the face model another, got"):
            held_out(replace(labels, face_model="another"))

    def test_a_training_that_decoded_the_crops_already_spares_the_archive(self, labels, held_out, tmp_path):
        first, _ = held_out(labels, cache=tmp_path / "run")
        (tmp_path / "drawn.zip").unlink()
        ((again,), _) = held_out(labels, cache=tmp_path / "run", faces=1, seed=3)
        same = next(sample for sample in first if sample.name == again.name)
        np.testing.assert_array_equal(again.image(), same.image())

    def test_labels_that_hold_nobody_out_are_an_error(self, labels, held_out):
        with pytest.raises(DatasetError, match="expected validation faces, got none among 2"):
            held_out(labels.subset(np.array([0, 2])))


class TestCommand:
    def _run(self, *arguments):
        return main(["ablate", "heads", *map(str, arguments)])

    @pytest.fixture
    def network(self, monkeypatch, model):
        """A network whose heads differ a little, with the same output for every face."""
        heads = parameters_of(0)[:1] + np.zeros((4, 1))
        heads[:, 3] += [3, 2, 1, 0]

        def answers(network, model, samples, *, published_crops, progress, views):
            asked.append(views)
            n = len(samples)
            return HeadAnswers(
                tuple(samples), np.tile(heads, (n, 1, 1)), np.tile(LEARNED, (n, 1)), model, False
            )

        asked = []
        monkeypatch.setattr(command.M4Net, "load", lambda source: None)
        monkeypatch.setattr(command.FaceModel, "load", lambda: model)
        monkeypatch.setattr(command, "predict_heads", answers)
        return asked

    def test_it_prints_the_table_and_writes_record_table_and_figures(self, tmp_path, capsys, network):
        place = write_set(tmp_path / "set")
        out = tmp_path / "out"
        given = ("--dataset", "aflw2000-3d", place, "--quiet")
        assert self._run(*given, "--also", "0.7,0.1,0.1,0.1", "--out", out) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        assert printed.out.startswith("3 faces of aflw2000-3d (set), ")
        assert "\nown 1 " in printed.out
        written = sorted(path.name for path in out.iterdir())
        assert written == [
            ".m4kit.json",
            "head_weights.png",
            "record.parquet",
            "settings.csv",
            "simplex.html",
        ]
        assert HeadStudy.load(out / "record.parquet").report() + "\n" == printed.out
        with Image.open(out / "head_weights.png") as figure:
            assert figure.width > 1000
        assert self._run(*given, "--chosen", out / "record.parquet", "--faces", 2) == 0
        assert capsys.readouterr().out.startswith("2 faces of ")
        assert self._run(*given, "--chosen", out / "record.parquet", "--views", 6) == 0
        assert capsys.readouterr().out.startswith("3 faces of aflw2000-3d (set), 6 views of each crop, ")
        assert network == [1, 1, 6]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--dataset", "aflw2000-3d", "nowhere"), "nowhere: expected"),
            (("nowhere",), "nowhere: expected its layout; give --dataset"),
            ((), "expected either PATH with --dataset, or --labels with --data"),
            (("--labels", "labels.npz"), "--labels: expected also --data"),
            (("--labels", "labels.npz", "--data", "."), "labels.npz: expected a labels file"),
            (("nowhere", "--also", "0.5,0.6,0,0"), "--also 0.5,0.6,0,0: expected weights that sum to 1"),
            (("nowhere", "--also", "half"), "--also half: could not convert"),
            (("nowhere", "--chosen", "none.parquet"), "none.parquet: no such record"),
            (("nowhere", "--faces", "0"), "--faces: expected at least 1, got 0"),
        ],
    )
    def test_errors_are_printed_on_stderr_with_status_2(self, capsys, network, arguments, message):
        assert self._run(*arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"m4kit ablate: {message}")

    def test_a_folder_without_background_truth_is_an_error(self, tmp_path, capsys, network):
        picture(tmp_path / "photos" / "one.jpg")
        assert self._run("--dataset", "aflw2000-3d", tmp_path / "photos") == 2
        assert "expected AFLW2000-3D, a folder with NAME.jpg and NAME.mat" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            self._run("--dataset", "folder", tmp_path / "photos")
        assert "invalid choice: 'folder'" in capsys.readouterr().err

    def test_a_network_without_dynamic_fusion_is_refused_as_dynamic(self, tmp_path, capsys):
        assert self._run("--dataset", "aflw2000-3d", tmp_path, "--dynamic", "m4net-base") == 2
        assert "--dynamic m4net-base: expected a network with dynamic fusion" in capsys.readouterr().err

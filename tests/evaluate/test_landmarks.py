"""Evaluation of landmarks on a tiny set with known figures, and of a peer with published figures."""

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from m4kit.camera import HeadPose, crop_from_landmarks, head_pose
from m4kit.cli import main
from m4kit.datasets import DatasetError, PublishedBox, read_aflw2000_3d
from m4kit.evaluate import HeadAnswers, LandmarkEvaluation, command, crop_predictor, evaluate_landmarks
from m4kit.evaluate.landmarks import DEPTH_GROUPS
from m4kit.face_model import FaceModel
from m4kit.landmarks import face_size
from m4kit.parameters import split
from m4kit.peers import TddfaV2

from helpers.aflw_like import BOXES, POSES, knowing_network, true_landmarks, write_set
from helpers.head_answers import parameters_of, samples_of
from helpers.paths import shared_file


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return read_aflw2000_3d(write_set(tmp_path_factory.mktemp("tiny") / "set", crops=True))


class TestTinySet:
    @pytest.mark.parametrize("published", [False, True])
    def test_a_perfect_network_has_no_error(self, samples, published):
        result = evaluate_landmarks(
            knowing_network(published=published), samples, published_crops=published, progress=False
        )
        np.testing.assert_allclose(result.nme, 0, atol=1e-4)
        assert result.balanced.mean == pytest.approx(0, abs=1e-4)
        np.testing.assert_allclose(result.pose_errors[:2], 0, atol=1e-4)
        assert result.names == tuple(POSES)

    @pytest.mark.parametrize("published", [False, True])
    def test_a_shift_in_the_photo_is_its_length_over_the_size_of_the_box(self, samples, published):
        network = knowing_network(published=published, shift=(3, 4))
        result = evaluate_landmarks(network, samples, published_crops=published, progress=False)
        np.testing.assert_allclose(result.nme, 100 * 5 / 60, rtol=1e-4)
        np.testing.assert_allclose(result.mean_error, [100 * 3 / 60, 100 * 4 / 60], rtol=1e-4)
        assert result.without_offset < 1e-2
        assert result.balanced.counts.tolist() == [1, 1, 1]
        assert result.balanced_interval() == pytest.approx((8.3333, 8.3333), rel=1e-4)

    def test_the_pose_counts_only_faces_with_every_true_angle_within_99_degrees(self, samples):
        result = evaluate_landmarks(knowing_network(turn=(1, -2, 4)), samples, progress=False)
        assert result.pose_counted.tolist() == [True, True, False]
        np.testing.assert_allclose(result.pose_mae, [1, 2, 4], atol=1e-4)

    @pytest.mark.parametrize("turn", [(0, -4, 0), (0, 0, 4)])
    def test_one_turn_of_4_degrees_is_an_angle_of_4_in_every_face_whose_angles_are_known(self, samples, turn):
        """Pitch turns after the other angles and roll before them, so each adds its own size wherever one looks."""
        unknown = replace(samples[1], pose=HeadPose(-45, np.nan, np.nan))
        faces = [samples[0], unknown, samples[2]]
        result = evaluate_landmarks(knowing_network(turn=turn), faces, progress=False)
        np.testing.assert_allclose(result.rotation_errors, [4, np.nan, 4], rtol=1e-4)
        assert "rotation: mean 4.00 degrees (95 % interval 4.00 to 4.00; 2 faces with" in result.report()

    def test_the_batch_size_changes_nothing(self, samples):
        network = knowing_network(shift=(1, 1))
        results = [evaluate_landmarks(network, samples, batch_size=n, progress=False) for n in (1, 2, 50)]
        for other in results[1:]:
            np.testing.assert_array_equal(results[0].nme, other.nme)
            assert results[0].names == other.names

    def test_the_report_has_the_line_that_papers_quote(self, samples):
        result = evaluate_landmarks(knowing_network(shift=(3, 4)), samples, progress=False)
        lines = result.report().splitlines()
        assert lines.count("NME balanced: 8.33 %") == 1
        assert [line for line in lines if re.fullmatch(r"NME balanced: \d+\.\d\d %", line)]
        assert lines[0].startswith("3 faces, ground-truth boxes, crops cut from the photos")
        assert any("x +5.00 %, y +6.67 %" in line for line in lines)

    def test_a_set_without_turned_faces_has_no_balanced_mean_and_says_so(self, samples):
        result = evaluate_landmarks(knowing_network(), samples[:2], progress=False)
        assert "NME balanced: nan %" in result.report()
        assert "60 to 90: nan % (0 faces)" in result.report()

    def test_faces_that_cannot_be_read_are_left_out_with_one_warning(self, tmp_path):
        place = write_set(tmp_path / "set")
        (place / "AFLW2000" / "image00004.jpg").write_bytes(b"\xff\xd8\xff")
        broken = read_aflw2000_3d(place)
        with pytest.warns(UserWarning, match=r"1 face left out: image00004 \(") as caught:
            result = evaluate_landmarks(knowing_network(), broken, progress=False)
        assert len(caught) == 1
        assert len(result) == 2
        assert "left out, unreadable: 1" in result.report()

    def test_a_set_of_unreadable_faces_is_an_error(self, tmp_path):
        place = write_set(tmp_path / "set")
        for photo in place.glob("AFLW2000/*.jpg"):
            photo.write_bytes(b"")
        with (
            pytest.warns(UserWarning, match="3 faces"),
            pytest.raises(DatasetError, match=r"none of \d could be read"),
        ):
            evaluate_landmarks(knowing_network(), read_aflw2000_3d(place), progress=False)

    def test_published_crops_that_are_not_there_are_an_error(self, samples):
        lacking = [samples[0], replace(samples[1], published_crop=None, published_box=None)]
        with pytest.raises(DatasetError, match="each of 2 faces, 1 have none; put"):
            evaluate_landmarks(knowing_network(), lacking, published_crops=True, progress=False)

    def test_a_network_that_answers_in_another_shape_is_an_error(self, samples):
        def of_wrong_shape(crops):
            return np.zeros((len(crops), 21, 2)), np.zeros((len(crops), 3, 4))

        with pytest.raises(ValueError, match=r"expected landmarks \(3, 68, 2 or 3\).* got \(3, 21, 2\)"):
            evaluate_landmarks(of_wrong_shape, samples, progress=False)


class TestDepth:
    @pytest.mark.parametrize("published", [False, True])
    def test_a_nose_tip_too_near_the_camera_is_a_positive_bias_of_its_length_in_the_photo(
        self, samples, published
    ):
        """The tip 3 photo pixels too near, 5 % of a face of 60, with all points 100 pixels nearer."""
        flat = knowing_network(published=published)

        def too_near(crops):
            points, cameras = flat(crops)
            shapes = []
            for place, name in zip(points, POSES, strict=True):
                depth = true_landmarks(name)[:, 2] + 100
                depth[30] += 3
                left, _, right, _ = BOXES[name]
                size = right - left if published else crop_from_landmarks(true_landmarks(name)).size
                shapes.append(np.column_stack([place, depth * 120 / size]))
            return np.stack(shapes), cameras

        result = evaluate_landmarks(too_near, samples, published_crops=published, progress=False)
        # Of the three faces one looks ahead; the mean depth error, a 68th of the tip's, is removed.
        ((jaw, *_, tip, nostrils, _, _),) = result.depth_bias
        assert [jaw, tip, nostrils] == pytest.approx([-5 / 68, 5 * 67 / 68, -5 / 68], abs=1e-4)
        np.testing.assert_allclose(result.nme_3d, 5 * (67 + 67) / 68 / 68, atol=1e-4)
        np.testing.assert_allclose(result.nme, 0, atol=1e-4)
        assert "\n  nose tip +4.93 % (+4.93 to +4.93)\n" in result.report()

    def test_a_face_with_too_much_relief_has_its_nose_too_near_and_its_jaw_too_far(self):
        model, truth = FaceModel.load(), parameters_of(0)
        deep = truth.copy()
        split(deep).camera[:, 2] *= 1.2
        answers = HeadAnswers(
            samples_of(model, truth), deep[:, None], np.ones((9, 1)), model, published_crops=False
        )
        result = answers.evaluate()
        bias = dict(zip(DEPTH_GROUPS, result.depth_bias.mean(axis=0), strict=True))
        assert bias["nose tip"] > bias["nose bridge"] > 1
        assert bias["lips"] > 0 > -1 > bias["jaw"]
        # A fifth of each face's true relief.
        true = result.true[np.abs(result.true_poses[:, 0]) <= 15]
        tip = 20 * (true[:, 30, 2] - true[..., 2].mean(axis=1)) / face_size(true)
        assert bias["nose tip"] == pytest.approx(tip.mean(), rel=1e-3)

    def test_every_landmark_belongs_to_one_group(self):
        assert sorted(point for members in DEPTH_GROUPS.values() for point in members) == list(range(68))

    def test_a_network_without_depth_has_no_figures_in_3d(self, samples):
        assert "3D" not in evaluate_landmarks(knowing_network(), samples, progress=False).report()


class TestDistances:
    YAWS = (0.0, -30.0, 20.0, 30.5, np.nan)

    def _evaluated(self, true_gaps, predicted_gaps, *, larger=1.0) -> LandmarkEvaluation:
        """Faces of size 60 with these lip gaps in pixels; the answers are `larger` about the middle of the lips."""
        points, random = true_landmarks("image00002")[:, :2], np.random.default_rng(0)
        # The lips are inside the box, so that the gap does not change the size of the face.
        points[[62, 66]] = [100, 90]
        others = np.delete(np.arange(68), [62, 66])
        true = np.stack([points] * len(self.YAWS))
        for face in true:
            face[others] = random.permutation(points[others])
        predicted = 100 + larger * (true - 100)
        true[:, 66, 1] += true_gaps
        predicted[:, 66, 1] += predicted_gaps
        poses = np.column_stack([self.YAWS, np.zeros((len(self.YAWS), 2))])
        names = tuple(map(str, range(len(poses))))
        return LandmarkEvaluation(names, predicted, true, poses, poses, inputs="made up")

    def test_they_are_in_percent_of_the_true_size_over_faces_with_a_yaw_of_at_most_30(self):
        result = self._evaluated([0.6, 1.2, 3, 99, 99], [0.6, 1.8, 6, 0, 0], larger=1.1)
        assert result.distances.shape == (3, 2, 4)
        np.testing.assert_allclose(result.distances[..., 0], [[1, 1], [3, 2], [10, 5]])
        predicted, true = result.distances[..., 1:].swapaxes(0, 1)
        np.testing.assert_allclose(predicted / true, [[1, 1.1, 1.1]] * 3)

    def test_the_report_compares_them_with_the_truth(self):
        report = self._evaluated([0, 3, 6, 0, 0], [0.6, 3, 6.6, 99, 99], larger=1.1).report()
        # The gaps are 1, 5 and 11 % of the face where 0, 5 and 10 are true.
        assert "distances of 3 faces with |yaw| up to 30" in report
        lines = re.findall(r"^  (?:lip gap|eye .*|nose w.*|face w.*): correlation.*$", report, re.MULTILINE)
        figures = [[float(number) for number in re.findall(r"[+-]?\d+\.\d+", line)] for line in lines]
        correlation, mean, absolute = np.reshape(figures, (4, 3, 3)).swapaxes(0, 1)
        assert correlation[:, 0] == pytest.approx(
            [np.corrcoef([1, 5, 11], [0, 5, 10])[0, 1], 1, 1, 1], abs=0.005
        )
        assert mean[:2, 0] == pytest.approx([2 / 3, 0], abs=0.005)
        assert (mean[2:] > 0).all()
        np.testing.assert_allclose(absolute, mean)
        for value, low, high in np.concatenate([correlation, mean, absolute]):
            assert low <= value <= high

    def test_closed_lips_count_as_shown_open_above_3_percent_on_frontal_faces_only(self):
        # In percent: 1 shown as 4, 1 as 2, and 2, which is not closed, as 4; the last two are no frontal faces.
        result = self._evaluated([0.6, 0.6, 1.2, 0, 0], [2.4, 1.2, 2.4, 9, 9])
        assert result.closed_shown_open.tolist() == [True, False]
        assert "closed lips shown open: 50 % (1 of 2 faces with" in result.report()

    def test_without_closed_lips_or_frontal_faces_there_is_no_line(self, samples):
        assert "closed lips" not in self._evaluated([3] * 5, [3] * 5).report()
        report = evaluate_landmarks(knowing_network(), samples[1:], progress=False).report()
        assert "distances" not in report
        assert "closed lips" not in report


class _Constant:
    """Stands for M4Net's engine and for a face model: the same parameters for every crop, a line of points."""

    notes: ClassVar = {"crop_size": "120"}
    batch = 24

    def __call__(self, crops):
        parameters = np.arange(62, dtype=np.float32) / 62
        return np.tile(parameters, (len(crops), 4, 1)), np.full((len(crops), 4), 0.25, np.float32)

    def landmarks(self, identity, expression):
        return identity[:, :1, None] + expression[:, :1, None] * np.arange(204.0).reshape(68, 3)


def test_crop_predictor_puts_the_models_landmarks_before_the_networks_camera():
    stand_in = _Constant()
    points, cameras = crop_predictor(stand_in, stand_in)(np.zeros((2, 120, 120, 3), np.uint8))
    camera = np.arange(12).reshape(3, 4) / 62
    shape = 12 / 62 + 52 / 62 * np.arange(204).reshape(68, 3)
    np.testing.assert_allclose(cameras, [camera, camera], rtol=1e-6)
    np.testing.assert_allclose(points[1], shape @ camera[:, :3].T + camera[:, 3], rtol=1e-5)


class TestCommand:
    def _run(self, *arguments):
        return main(["evaluate", "landmarks", "--dataset", "aflw2000-3d", *map(str, arguments)])

    @pytest.fixture
    def network(self, monkeypatch):
        loaded = []

        def answers(engine, model, samples, *, published_crops, **_):
            result = evaluate_landmarks(
                knowing_network(shift=(3, 4)), samples, published_crops=published_crops, progress=False
            )
            return SimpleNamespace(evaluate=lambda: result, report=lambda: "heads", interrupted=None)

        monkeypatch.setattr(command, "exact_engine", lambda weights, load: loaded.append(weights))
        monkeypatch.setattr(command.FaceModel, "load", lambda: None)
        monkeypatch.setattr(command, "crop_predictor", lambda engine, model, *, views: None)
        monkeypatch.setattr(command, "predict_heads", answers)
        return loaded

    def test_it_prints_the_report(self, tmp_path, capsys, network):
        assert self._run(write_set(tmp_path / "set"), "--quiet", "--weights", "mine.safetensors") == 0
        out, err = capsys.readouterr()
        assert "\nNME balanced: 8.33 %\n" in out
        assert err == ""
        assert network == ["mine.safetensors"]

    def test_what_cannot_be_read_is_reported_on_stderr_with_status_2(self, tmp_path, capsys, network):
        assert self._run(tmp_path / "nowhere") == 2
        assert self._run(write_set(tmp_path / "set"), "--published-crops") == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert re.search(r"^m4kit evaluate: .*nowhere: expected", err)
        assert "published crops: expected one for each of 3 faces" in err

    def test_results_are_written_if_a_folder_is_given(self, tmp_path, capsys, network):
        place = write_set(tmp_path / "set")
        assert self._run(place, "--quiet", "--out", tmp_path / "out") == 0
        written = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert written == [".m4kit.json", "error_curve.png", "faces.csv", "index.html", "predictions.npz"]
        assert "heads" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
        network.clear()
        assert self._run(place, "--predictions", tmp_path / "out" / "predictions.npz") == 0
        assert "NME balanced: 8.33 %" in capsys.readouterr().out
        assert network == []

    def test_a_file_in_the_results_place_is_named_before_the_network_runs(self, tmp_path, capsys, network):
        (tmp_path / "out").write_text("mine")
        for place in (tmp_path / "out", tmp_path / "out" / "deep"):
            assert self._run(write_set(tmp_path / "set"), "--quiet", "--out", place) == 2
            assert f"{place}: expected a folder to write into" in capsys.readouterr().err
        assert network == []

    @pytest.mark.parametrize(
        "options",
        [["--weights", "mine"], ["--published-crops"], ["--views", "2"], ["--whole-chain"], ["--peers", "a"]],
    )
    def test_options_of_the_network_do_not_go_with_predictions(self, tmp_path, capsys, options):
        assert self._run(tmp_path, "--predictions", tmp_path / "a.npz", *options) == 2
        assert f"{options[0]} needs M4Net to run, but --predictions" in capsys.readouterr().err

    def test_a_second_annotation_is_only_of_one_set(self, tmp_path, capsys):
        assert main(["evaluate", "landmarks", "--dataset", "pts", str(tmp_path), "--reannotated"]) == 2
        assert "only aflw2000-3d has a second set" in capsys.readouterr().err

    def test_missing_weights_are_named(self, tmp_path, capsys):
        assert self._run(write_set(tmp_path / "set"), "--weights", tmp_path / "no.safetensors") == 2
        assert "no.safetensors" in capsys.readouterr().err


@pytest.fixture(scope="module")
def mb1():
    pytest.importorskip("onnx", reason="needs onnx to read 3DDFA-V2's mb1")
    return TddfaV2(shared_file("peers/3ddfa_v2/mb1_120x120.onnx").parent).predict_crops


@pytest.fixture(scope="module")
def faces():
    return read_aflw2000_3d(shared_file("data/aflw2000_3d_dev.zip"))


@pytest.fixture(scope="module")
def on_published_crops(mb1, faces):
    return evaluate_landmarks(mb1, faces, published_crops=True, progress=False)


class TestPeer:
    """3DDFA-V2 on the 500 development faces, against figures measured elsewhere by the same protocol."""

    def test_its_nme_on_the_published_crops_is_reproduced(self, on_published_crops):
        assert len(on_published_crops) == 500
        assert on_published_crops.balanced.mean == pytest.approx(3.610, abs=0.0015)

    def test_its_pose_error_is_reproduced(self, on_published_crops):
        assert on_published_crops.pose_counted.sum() == 493
        # Measured with the rotation from the camera's normalised rows; the nearest rotation gives 3.72.
        assert np.mean(on_published_crops.pose_mae) == pytest.approx(3.74, abs=0.03)

    def test_the_figure_lies_in_its_interval(self, on_published_crops):
        low, high = on_published_crops.balanced_interval()
        assert low < on_published_crops.balanced.mean < high < low + 0.5

    def test_crops_of_the_photos_give_nearly_the_same(self, mb1, faces, on_published_crops):
        result = evaluate_landmarks(mb1, faces, progress=False)
        assert result.balanced.mean == pytest.approx(on_published_crops.balanced.mean, abs=0.03)
        # A pixel's confusion between counting from 0 and from 1 would show here as 0.27 %.
        np.testing.assert_allclose(result.mean_error, on_published_crops.mean_error, atol=0.08)

    def test_its_depth_agrees_with_what_was_measured_elsewhere_on_other_faces(self, on_published_crops):
        """5.15 % on the other 1,500 photos of the set, nose tip -0.15 and bridge -0.05 % on 500 of them."""
        result = on_published_crops
        low, high = result.balanced_interval(result.nme_3d)
        assert low < 5.15 < high
        bias = dict(zip(DEPTH_GROUPS, result.depth_bias.mean(axis=0), strict=True))
        assert bias["nose tip"] == pytest.approx(-0.15, abs=0.25)
        assert bias["nose bridge"] == pytest.approx(-0.05, abs=0.25)

    def test_its_poses_have_the_signs_of_the_true_ones(self, mb1, faces):
        turned = [face for face in faces if abs(face.pose.yaw) > 30 and abs(face.pose.roll) < 90]
        crops = np.stack([face.published_crop() for face in turned])
        _, cameras = mb1(crops)
        for angle in ("yaw", "pitch", "roll"):
            predicted = [getattr(head_pose(camera), angle) for camera in cameras]
            true = [getattr(face.pose, angle) for face in turned]
            assert np.corrcoef(predicted, true)[0, 1] > 0.8


def test_a_published_box_maps_the_crop_frame_as_a_crop_does():
    crop = crop_from_landmarks(true_landmarks("image00002"))
    box = PublishedBox(crop.left, crop.top, crop.left + crop.size, crop.top + crop.size)
    frame = np.random.default_rng(0).normal(size=(68, 3)) * 30
    np.testing.assert_allclose(box.to_photo(frame), crop.to_photo(frame))


class TestByArtist:
    def test_each_artist_has_a_mean_an_interval_and_a_row(self, samples):
        artists = ["dix", None, "dix"]
        works = [replace(sample, artist=artist) for sample, artist in zip(samples, artists, strict=True)]
        crops = knowing_network(published=False, shift=(3, 4))
        result = evaluate_landmarks(crops, works, progress=False)
        table = result.by_artist.set_index("artist")
        assert table["faces"].to_dict() == {"dix": 2, "unknown": 1}
        np.testing.assert_allclose(
            table.loc["dix", ["NME", "low", "high"]].astype(float), 100 * 5 / 60, rtol=1e-3
        )
        assert table.loc["unknown", "NME"] == pytest.approx(100 * 5 / 60, rel=1e-3)
        # One face has no interval.
        assert table.loc["unknown", ["low", "high"]].isna().all()
        assert re.search(r"NME by artist.*\nartist .*\n(.*\n)?dix +2 +8\.33", result.report())

    def test_photos_have_no_table(self, samples):
        result = evaluate_landmarks(knowing_network(published=False), samples, progress=False)
        assert result.by_artist.empty and "artist" not in result.report()

"""The table of several networks on the same faces."""

import re
from dataclasses import replace

import numpy as np
import pytest

from m4kit.cli import main
from m4kit.datasets import DatasetError, read_aflw2000_3d
from m4kit.evaluate import command, evaluate_landmarks
from m4kit.evaluate.peers import Competitor, annotated, comparison, comparison_report

from helpers.aflw_like import knowing_network, true_landmarks, write_set
from helpers.peer_files import write_tddfa_v2


@pytest.fixture
def samples(tmp_path):
    return read_aflw2000_3d(write_set(tmp_path / "set"))


def blind_to(number, predict_crops):
    """The same network, which does not find the face of that number."""

    def predict(crops):
        points, cameras = predict_crops(crops)
        if len(crops) > 1:
            points[number] = cameras[number] = np.nan
        return points, cameras

    return predict


class TestMissedFaces:
    def test_they_are_named_and_do_not_count(self, samples):
        network = blind_to(1, knowing_network(shift=(3, 0)))
        result = evaluate_landmarks(network, samples, progress=False)
        assert result.missed == ("image00004",)
        np.testing.assert_allclose(result.nme, 5, atol=1e-4)
        assert "not found by the network, not in the errors: 1" in result.report()

    def test_a_network_that_finds_none_is_told(self, samples):
        def nothing(crops):
            return np.full((len(crops), 68, 2), np.nan), np.full((len(crops), 3, 4), np.nan)

        with pytest.raises(DatasetError, match="it found none of 3"):
            evaluate_landmarks(nothing, samples, progress=False)

    def test_a_network_without_a_camera_has_no_pose(self, samples):
        def without(crops):
            return knowing_network()(crops)[0], np.full((len(crops), 3, 4), np.nan)

        result = evaluate_landmarks(without, samples, progress=False)
        assert np.isnan(result.predicted_poses).all()
        np.testing.assert_allclose(result.nme, 0, atol=1e-4)
        assert "pose" not in result.report()


class TestComparison:
    def test_a_row_has_the_errors_of_each_annotation(self, samples):
        networks = {
            "good": knowing_network(),
            "shifted": blind_to(2, knowing_network(shift=(3, 0), turn=(6, 3, 0))),
        }
        rows = [
            Competitor(name, network, evaluate_landmarks(network, samples, progress=False), weights)
            for (name, network), weights in zip(networks.items(), (2_500_000, None), strict=True)
        ]
        second = [replace(sample, landmarks=np.add(sample.landmarks, [0, 1.5, 0])) for sample in samples]
        table = comparison(rows, samples, {"original": samples, "reannotated": second})
        assert table.loc["good", ("NME, original", "mean")] == pytest.approx(0, abs=1e-4)
        np.testing.assert_allclose(table.loc["good", "NME, reannotated"].to_numpy(float), 2.5, atol=1e-4)
        np.testing.assert_allclose(table.loc["shifted", "NME, original"].to_numpy(float)[:2], 5, atol=1e-4)
        assert table.loc["good", ("", "weights (M)")] == 2.5
        assert table[("", "missed")].tolist() == [0, 1]
        assert (table[("", "ms")] > 0).all()
        text = comparison_report(table, published=())
        assert "published" not in text
        assert text.splitlines()[-1].startswith("shifted")

    def test_published_figures_stand_apart_with_their_source(self, samples):
        result = evaluate_landmarks(knowing_network(), samples, progress=False)
        table = comparison([Competitor("mine", knowing_network(), result, 1)], samples, {"original": samples})
        measured, published = comparison_report(table).split("as published, on all 2,000 faces")
        assert "SynergyNet" not in measured
        assert "mine" not in published
        assert re.search(r"SynergyNet +2\.656 +3\.316 +4\.268 +3\.413 +3\.35", published)
        assert re.search(r"DSFNet +- +- +- +- +3\.25", published)
        for network, year in (("SynergyNet", "3DV 2021"), ("DSFNet", "CVPR 2023")):
            assert re.search(f"  {network}: .*{year}", published)

    def test_another_annotation_of_some_faces_is_enough(self, samples):
        result = evaluate_landmarks(knowing_network(), samples, progress=False)
        assert annotated(result, samples[1:]).names == ("image00004", "image00006")


class TestCommand:
    def _run(self, data, *options):
        arguments = ["--dataset", "aflw2000-3d", data, "--weights", "m4net-small", "--quiet", *options]
        return main(["evaluate", "landmarks", *map(str, arguments)])

    @pytest.fixture
    def data(self, tmp_path):
        return write_set(tmp_path / "set", crops=True)

    def test_a_peer_gets_its_report_and_all_one_table(self, data, tmp_path, capsys):
        boxes = dict(np.load(data.with_suffix(".npz")))
        second = np.stack([true_landmarks(name.removesuffix(".jpg"))[:, :2].T + 1 for name in boxes["names"]])
        np.savez(data.with_suffix(".npz"), **boxes, pts68_reannotated=second)
        write_tddfa_v2(tmp_path)
        options = "--peers", "3ddfa-v2-mb05", "--peer-files", tmp_path
        assert self._run(data, "--published-crops", *options) == 0
        out = capsys.readouterr().out
        assert "\n3ddfa-v2-mb05\n3 faces, ground-truth boxes, the published 120x120 crops\n" in out
        table = out[out.index("NME in % by |yaw|") :]
        rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()[3:5]}
        assert list(rows) == ["m4net-small", "3ddfa-v2-mb05"]
        ours, peers = rows.values()
        # The second annotation is the first one here.
        assert ours[:4] == ours[4:8]
        assert float(peers[-2]) == pytest.approx(0.85, abs=0.4)
        assert peers[-1] == "0"

    @pytest.mark.parametrize("with_arrays", [True, False])
    def test_a_set_without_the_second_annotation_says_so(self, data, tmp_path, capsys, with_arrays):
        write_tddfa_v2(tmp_path)
        if not with_arrays:
            data.with_suffix(".npz").unlink()
        assert self._run(data, "--peers", "3ddfa-v2-mb05", "--peer-files", tmp_path) == 0
        out = capsys.readouterr().out
        assert "no column for the reannotated landmarks" in out
        assert "NME, reannotated" not in out

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["--peers", "other"], "peers: expected 3ddfa-v2-mb1, "),
            (["--peers", "3ddfa-v2-mb1"], "peers' files (--peer-files DIR, or M4KIT_PEER_FILES)"),
            (["--peer-files", "somewhere"], "--peer-files: needs --peers"),
            (["--peers", "3ddfa-v2-mb05", "--peer-files", "gone"], "mb05_120x120.pth: no such file"),
        ],
    )
    def test_wrong_options_are_told_before_a_network_runs(self, data, capsys, monkeypatch, options, expected):
        monkeypatch.setattr(command, "predict_heads", None)
        assert self._run(data, *options) == 2
        assert expected in capsys.readouterr().err

"""Whether identity numbers tell people apart, on made-up numbers with known answers and on a peer's."""

import re

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import mannwhitneyu

from m4kit.cli import main
from m4kit.datasets import DatasetError, held_out
from m4kit.evaluate.identity import IdentityEvaluation, held_out_people, peer_identity, person_of, video_of

from helpers.face_sets import picture, zipped
from helpers.faces import points68
from helpers.paths import shared_file


def photos(*, between, within, people=60, each=4, seed=0):
    """Numbers of photos of people with these standard deviations between people and within a person."""
    random = np.random.default_rng(seed)
    names = np.repeat([f"person {number}" for number in range(people)], each)
    own = random.normal(size=(people, 40)).repeat(each, axis=0)
    videos = np.arange(len(names))
    return IdentityEvaluation(between * own + within * random.normal(size=own.shape), names, videos)


class TestFigures:
    def test_numbers_that_are_constant_for_a_person_separate_people_completely(self):
        figures = photos(between=1, within=1e-6).figures
        assert figures.auc == 1
        assert figures.same == pytest.approx(1)
        assert figures.within == pytest.approx(0, abs=1e-9)
        assert figures.between == pytest.approx(1, abs=0.03)

    def test_the_auc_and_the_similarities_are_those_of_all_pairs_of_photos(self):
        result = photos(between=0.4, within=1, people=7, each=5)
        cosine = 1 - pdist(
            (result.numbers - result.numbers.mean(axis=0)) / result.numbers.std(axis=0), "cosine"
        )
        first, second = np.triu_indices(35, 1)
        same = result.people[first] == result.people[second]
        u = mannwhitneyu(cosine[same], cosine[~same]).statistic
        assert result.figures.auc == pytest.approx(u / (same.sum() * (~same).sum()))
        assert result.figures.same == pytest.approx(cosine[same].mean())
        assert result.figures.other == pytest.approx(cosine[~same].mean())

    @pytest.mark.parametrize("each", [2, 8])
    def test_variances_are_those_of_the_drawn_numbers_however_few_the_photos(self, each):
        # 1 of 1 + 0.5 * 0.5 lies between people; 60 people with 40 numbers give it to some per cent.
        figures = photos(between=1, within=0.5, each=each).figures
        assert figures.between == pytest.approx(0.8, abs=0.04)
        assert figures.within == pytest.approx(0.2, abs=0.02)
        assert figures.ratio == pytest.approx(figures.between / figures.within)

    def test_neither_the_mean_nor_the_scale_of_a_number_counts(self):
        result = photos(between=0.5, within=1, people=9)
        moved = IdentityEvaluation(result.numbers * np.arange(1, 41) + 100, result.people, result.videos)
        np.testing.assert_allclose(moved.figures, result.figures)

    def test_numbers_that_know_only_the_video_do_not_tell_people_apart_in_others(self):
        """Every person in two videos of two photos: a third of a person's pairs are of one video, all surest."""
        videos = photos(between=1, within=1e-6, people=120, each=2)
        people = np.repeat([f"person {number}" for number in range(60)], 4)
        figures = IdentityEvaluation(videos.numbers, people, videos.people).figures
        assert figures.auc_apart == pytest.approx(0.5, abs=0.07)
        assert figures.auc == pytest.approx(1 / 3 + 2 / 3 * figures.auc_apart, abs=1e-6)


class TestIntervals:
    def test_two_draws_of_a_person_are_no_pair(self):
        """Else numbers without any identity would seem to tell people apart in the resamples."""
        low, high = photos(between=0, within=1, people=30).intervals()
        assert low[0] < 0.5 < high[0]
        assert low[2] < 0 < high[2]

    def test_they_hold_the_figures(self):
        result = photos(between=0.5, within=1, people=30)
        low, high = result.intervals()
        assert (low < result.figures).all()
        assert (result.figures < high).all()

    def test_differences_are_paired(self):
        result, better = photos(between=0.5, within=1, people=20), photos(between=1, within=1, people=20)
        np.testing.assert_array_equal(result.intervals(other=result), np.zeros((2, 7)))
        assert better.intervals(other=result)[0, 0] > 0


@pytest.mark.parametrize(
    ("people", "videos"),
    [("aaa", "123"), ("abc", "123"), ("aab", "112")],
    ids=["one", "no pair", "one video"],
)
def test_a_set_without_both_kinds_of_pairs_is_an_error(people, videos):
    with pytest.raises(
        DatasetError, match=f"got 3 photos of {len(set(people))} people in {len(set(videos))} vid"
    ):
        IdentityEvaluation(np.zeros((3, 40)), np.array(list(people)), np.array(list(videos)))


class TestCommand:
    @pytest.fixture
    def data(self, tmp_path):
        """A set of six people with two photos each; two of the people are held out."""
        names = [f"person {number}" for number in range(200)]
        held = held_out(names, 0.1)
        people = [*np.array(names)[held][:2], *np.array(names)[~held][:4]]
        files = [f"training_{person}_{video}0.jpg" for person in people for video in range(2)]
        for grey, file in enumerate(files):
            picture(tmp_path / "youtube_faces" / file, grey=20 * grey, size=(128, 128))
        np.savez(
            tmp_path / "youtube_faces.npz",
            names=np.array(files),
            pts68=np.stack([points68()] * 12).astype(np.float32),
            identity=np.repeat(people, 2),
        )
        zipped(tmp_path / "youtube_faces")
        return tmp_path

    def test_it_evaluates_the_people_whom_no_training_sees(self, data, capsys):
        assert main(["evaluate", "identity", "--data", str(data), "--weights", "m4net-small", "--quiet"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("4 photos of 2 people of YouTube Faces")
        assert re.search(r"^AUC of same against other: [01]\.\d{3} \(", out, re.MULTILINE)

    def test_a_folder_without_the_peer_is_named(self, data, capsys):
        arguments = ["--data", data, "--weights", "m4net-small", "--peer-files", data, "--quiet"]
        assert main(["evaluate", "identity", *map(str, arguments)]) == 2
        assert "mb1_120x120.onnx: no such file; fetch it from" in capsys.readouterr().err


def test_a_peer_has_the_auc_that_was_measured_elsewhere():
    """3DDFA-V2's mb1 on the people of YouTube Faces who are held out."""
    folder = shared_file("peers/3ddfa_v2/mb1_120x120.onnx").parent
    samples = held_out_people(shared_file("data/youtube_faces.zip").parent)
    videos = np.array([video_of(sample.name) for sample in samples])
    people = np.array([sample.person for sample in samples])
    assert (len(people), len(set(people))) == (339, 29)
    assert people.tolist() == [person_of(sample.name) for sample in samples]
    figures = IdentityEvaluation(peer_identity(folder, samples), people, videos).figures
    assert figures.auc == pytest.approx(0.758, abs=0.003)
    assert figures.auc_apart < figures.auc

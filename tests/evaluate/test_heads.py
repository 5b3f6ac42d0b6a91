"""Evaluation of each head alone and of fused heads, from one run of the network."""

from dataclasses import replace

import numpy as np
import pytest

from m4kit.evaluate import HeadAnswers, heads, predict_heads
from m4kit.evaluate.crops import CropBatch
from m4kit.face_model import FaceModel
from m4kit.network import M4Net
from m4kit.weights import WeightsError

from helpers.faces import ellipsoid_model
from helpers.head_answers import YAWS, parameters_of, samples_of


@pytest.fixture(scope="module")
def model():
    return FaceModel.load()


@pytest.fixture(scope="module")
def answers(model):
    """Four heads: the third is right, the others lie 1, 2 and 4 crop pixels too far right, more for turned faces."""
    truth = parameters_of(0)
    heads = np.repeat(truth[:, None], 4, axis=1)
    further = 1 + np.abs(np.array(YAWS)) / 90
    for head, pixels in ((0, 4), (1, 2), (3, 1)):
        heads[:, head, 3] += pixels * further
    return HeadAnswers(
        samples=samples_of(model, truth),
        heads=heads,
        weights=np.tile([0.1, 0.2, 0.4, 0.3], (len(YAWS), 1)),
        model=model,
        published_crops=False,
    )


def test_a_head_alone_has_the_errors_of_its_own_answer(answers):
    assert answers.evaluate(np.eye(4)[2]).nme.max() < 1e-3
    errors = [answers.evaluate(np.eye(4)[k]).balanced.mean for k in range(4)]
    assert errors[0] == pytest.approx(2 * errors[1], rel=1e-3)
    assert errors[1] == pytest.approx(2 * errors[3], rel=1e-3)


def test_by_default_the_networks_own_weights_fuse_the_heads(answers):
    fused, last = answers.evaluate(), answers.evaluate([0, 0, 0, 1])
    # 0.1 * 4 + 0.2 * 2 + 0.3 * 1 of the last head's distance.
    np.testing.assert_allclose(fused.nme, 1.1 * last.nme, rtol=1e-3)


def test_weights_can_differ_between_faces(answers):
    each = np.tile([0, 0, 1.0, 0], (len(YAWS), 1))
    each[0] = [1, 0, 0, 0]
    nme = answers.evaluate(each).nme
    assert nme[0] > 1
    assert nme[1:].max() < 1e-3


def test_the_spread_needs_no_truth_and_grows_with_disagreement(answers):
    spread = answers.spread()
    assert spread[YAWS.index(-80.0)] > spread[0] > 0
    agreeing = replace(answers, heads=answers.heads[:, [2, 2, 2, 2]])
    np.testing.assert_allclose(agreeing.spread(), 0, atol=1e-5)


def test_the_report_names_heads_uniform_weights_and_the_spread(answers):
    lines = answers.report().splitlines()
    assert lines[0] == "mean head weights: 0.100, 0.200, 0.400, 0.300"
    assert lines[1].startswith("NME balanced of each head alone: ")
    assert ", 0.00, " in lines[1]
    assert lines[2].startswith("NME balanced with uniform weights: ")
    # Here the spread is what the error is, up to the size of the face.
    correlation = float(lines[3].split(": ")[1].split(" ")[0])
    assert correlation > 0.6
    assert lines[3].count(",") == 2


def test_a_turn_beyond_90_degrees_counts_in_the_spreads_last_bin(answers):
    turned = tuple(
        replace(sample, pose=sample.pose._replace(yaw=95.0)) if abs(yaw) > 60 else sample
        for sample, yaw in zip(answers.samples, YAWS, strict=True)
    )
    assert replace(answers, samples=turned).report() == answers.report()


def test_the_network_is_run_once_on_every_face(model):
    samples = samples_of(model, parameters_of(1))
    network = M4Net.load("m4net-base")
    answers = predict_heads(network, model, samples, batch_size=4, progress=False)
    assert answers.heads.shape == (len(YAWS), 4, 62)
    # All photos are the same grey.
    np.testing.assert_allclose(answers.heads[0], answers.heads[8], atol=1e-3)
    np.testing.assert_allclose(answers.weights.sum(axis=1), 1, atol=1e-5)
    assert [sample.name for sample in answers.samples] == [sample.name for sample in samples]


def test_a_network_for_another_face_model_is_not_run():
    with pytest.raises(WeightsError, match=f"got the face model {ellipsoid_model().fingerprint}"):
        predict_heads(M4Net.load("m4net-small"), ellipsoid_model(), ())


def test_ctrl_c_is_raised_unless_the_answers_so_far_are_asked_for(model, monkeypatch):
    def stopping(run, samples, **_):
        yield CropBatch(0, samples[:2], run(np.zeros((2, 120, 120, 3), np.uint8)))
        raise KeyboardInterrupt

    monkeypatch.setattr(heads, "over_crops", stopping)
    network, samples = M4Net("small").eval(), samples_of(model, parameters_of(0))
    with pytest.raises(KeyboardInterrupt):
        predict_heads(network, model, samples, progress=False)
    answers = predict_heads(network, model, samples, partial=True, progress=False)
    assert len(answers) == 2
    assert isinstance(answers.interrupted, KeyboardInterrupt)


def test_a_set_that_knows_no_yaw_has_no_report_of_heads(answers):
    blind = replace(answers, samples=tuple(replace(sample, pose=None) for sample in answers.samples))
    assert blind.report() == ""
    report = blind.evaluate().report()
    assert "balanced" not in report
    assert "pose" not in report
    assert "NME over all faces: " in report

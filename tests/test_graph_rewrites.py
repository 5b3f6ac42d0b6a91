"""The rewrites of a network for integers compute the same."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from m4kit.faceboxes import load_network
from m4kit.network import M4Net

from helpers.paths import script_fixture

exporter = script_fixture("export_engines")
rewrites = script_fixture("graph_rewrites")
quantisation = script_fixture("quantisation")


def answers(model, pictures):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"pictures": pictures})


def pictures_of(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


class TwoHeads(nn.Module):
    """Two convolutions that see the same, as the detector's for moves and scores."""

    def __init__(self, shift):
        super().__init__()
        self.first, *heads = nn.Conv2d(3, 16, 3, 4, 1), nn.Conv2d(16, 8, 3, 1, 1), nn.Conv2d(16, 3, 3, 1, 1)
        self.heads = nn.ModuleList(heads)
        for head in heads:
            nn.init.zeros_(head.bias)
            head.weight.data /= 20
        heads[1].bias.data += shift

    def forward(self, pictures):
        seen = self.first(pictures.permute(0, 3, 1, 2).float() - 128).relu()
        return tuple(head(seen).permute(0, 2, 3, 1).flatten(1) for head in self.heads)


class BothSigns(nn.Module):
    """A convolution whose both signs are pooled, as the detector's second, and two that follow."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = (
            nn.Conv2d(3, 16, 7, 4, 3),
            nn.Conv2d(32, 16, 3, 1, 1),
            nn.Conv2d(16, 16, 1),
        )

    def forward(self, pictures):
        seen = self.first((pictures.permute(0, 3, 1, 2).float() - 128) / 128)
        pooled = nn.functional.max_pool2d(torch.cat([seen, -seen], 1).relu(), 3, 2, 1)
        answer = self.third(self.second(pooled).relu()).relu()
        return answer, answer.flatten(1)


class TestTheSame:
    @pytest.mark.parametrize("fusion", ["static", "dynamic"])
    def test_m4net_answers_as_the_network_does(self, fusion, exporter, rewrites):
        torch.manual_seed(0)
        network = M4Net("small", fusion=fusion, crop_size=32).eval()
        network.parameter_mean += 1
        network.parameter_std *= 2
        if fusion == "static":
            network.fix_head_weights([0, 0.2, 0.3, 0.5])
        plain, pictures = exporter._PlainM4Net(network), pictures_of(3, 32, 32)
        model = exporter.traced(network, plain)
        expected = [one.detach() for one in network.answers(torch.tensor(pictures))]
        for one in (model, rewrites.rewritten(model)):
            for found, true in zip(answers(one, pictures), expected, strict=True):
                np.testing.assert_allclose(found, true, rtol=1e-4, atol=1e-4)

    def test_the_detectors_rewritten_layers_give_the_same(self, exporter, rewrites):
        network, pictures = load_network(), pictures_of(2, 70, 100)
        model = exporter.traced(network, exporter._PlainFaceBoxes(network))
        after = rewrites.rewritten(model)
        for found, true in zip(answers(after, pictures), answers(model, pictures), strict=True):
            np.testing.assert_allclose(found, true, rtol=1e-3, atol=1e-3)
        assert "AveragePool" not in {node.op_type for node in after.graph.node}

    @pytest.mark.parametrize("shift", [0, -9])
    def test_heads_that_see_the_same_run_together_and_give_the_same(
        self, shift, exporter, rewrites, quantisation, monkeypatch
    ):
        """Heads whose outputs have another sign stay apart."""
        torch.manual_seed(0)
        network, pictures = TwoHeads(shift), pictures_of(8, 32, 32)
        monkeypatch.setattr(quantisation, "heads_together", lambda model: model)
        before = quantisation.quantised(
            exporter.traced(network, network), [pictures], quantisation.Steps(1, 128)
        )
        after = rewrites.heads_together(before)
        assert [len(rewrites.layers(model)) for model in (before, after)] == [3, 3 if shift else 2]
        (moves, logits), (expected, scores) = (answers(model, pictures) for model in (after, before))
        np.testing.assert_array_equal(moves, expected)
        # The shared steps may end earlier.
        assert (logits == scores).mean() > 0.95 and np.ptp(scores) > 1

    def test_rows_as_channels_change_no_bit(self, exporter, rewrites, quantisation, monkeypatch):
        torch.manual_seed(0)
        network, pictures = M4Net("small", crop_size=16).eval(), pictures_of(4, 16, 16)
        for name, bias in network.named_parameters():
            # The same biases would be one tensor.
            if ".bn" in name:
                nn.init.normal_(bias, 1)
        plain = exporter._PlainM4Net(network)
        monkeypatch.setattr(rewrites, "FEW", 0)
        before = quantisation.quantised(exporter.traced(network, plain), [pictures], plain.pixels)
        monkeypatch.undo()
        made = before, rewrites.rows_as_channels(before)
        groups, wide = (
            [rewrites.attributes(one).get("group") for one in rewrites.layers(model)] for model in made
        )
        assert 16 in groups and wide == [8 * 16 if group == 16 else group for group in groups]
        for found, true in zip(*(answers(model, pictures) for model in made), strict=True):
            np.testing.assert_array_equal(found, true)
        assert np.ptp(answers(before, pictures)[0], axis=0).max() > 0

    def test_a_layer_whose_both_signs_are_pooled_runs_once(self, exporter, rewrites, quantisation):
        torch.manual_seed(0)
        network, pictures = BothSigns(), pictures_of(8, 32, 32)
        fp32 = exporter.traced(network, network)
        model = quantisation.quantised(fp32, [pictures], quantisation.Steps(1 / 128, 128))
        kinds = [node.op_type for node in model.graph.node]
        assert kinds.count("Conv") == 3 and kinds.count("BitwiseNot") == 1 and "Neg" not in kinds
        (found, *_), (expected, *_) = (answers(one, pictures) for one in (model, fp32))
        assert np.ptp(expected) > 0.3
        assert np.sqrt(np.mean((found - expected) ** 2)) < 0.02 * np.ptp(expected)

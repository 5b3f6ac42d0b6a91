"""A folded network gives the same outputs and leaves the original as it is."""

import pytest
import torch
from torch import nn

from m4kit.faceboxes import FaceBoxes
from m4kit.folding import folded
from m4kit.network import ACTIVATIONS, M4Net

from helpers.peer_files import random_numbers


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_m4net_gives_the_same_outputs_without_batch_norms(activation):
    network = random_numbers(M4Net("small", activation))
    fast = folded(network)
    crops = torch.rand(3, 3, 120, 120) * 2 - 1
    with torch.inference_mode():
        expected, outputs = network.outputs(crops), fast.outputs(crops)
    torch.testing.assert_close(outputs.heads, expected.heads, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(outputs.parameters, expected.parameters, rtol=1e-3, atol=1e-3)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())


def test_the_detector_gives_the_same_outputs():
    network = random_numbers(FaceBoxes())
    fast = folded(network)
    picture = torch.rand(1, 3, 120, 160) * 2 - 1
    with torch.inference_mode():
        for output, expected in zip(fast(picture), network(picture), strict=True):
            torch.testing.assert_close(output, expected, rtol=1e-3, atol=1e-3)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())


def test_the_network_itself_does_not_change():
    network = M4Net("small").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    copied = folded(network)
    assert network.training and not copied.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not network.backbone.activation.inplace
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_copy_does_not_follow_later_changes():
    network = M4Net("small").eval()
    crops = torch.zeros(1, 3, 120, 120)
    copied = folded(network)
    network.fix_head_weights([0, 0, 0, 1])
    assert copied.outputs(crops).weights[0].tolist() == [0.25] * 4
    assert folded(network).outputs(crops).weights[0].tolist() == [0, 0, 0, 1]

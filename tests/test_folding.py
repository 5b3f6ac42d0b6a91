"""The network made fast: the same function, as the network is at that moment."""

import gc
import weakref

import pytest
import torch
from torch import nn

from m4kit.detector import FaceBoxes
from m4kit.folding import fast
from m4kit.network import ACTIVATIONS, M4Net


def randomised(network):
    """Every tensor counts: batch-norm statistics away from 0 and 1 too."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if ("running" in name or "bn" in name or "norm" in name) and tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return network.eval()


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_m4net_answers_alike_without_batch_norms(activation):
    network = randomised(M4Net("small", activation))
    crops = torch.rand(3, 3, 120, 120) * 2 - 1
    with torch.inference_mode():
        expected, answers = network.outputs(crops), fast(network).outputs(crops)
    torch.testing.assert_close(answers.heads, expected.heads, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(answers.parameters, expected.parameters, rtol=1e-3, atol=1e-3)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast(network).modules())


def test_the_detector_answers_alike():
    network = randomised(FaceBoxes())
    picture = torch.rand(1, 3, 120, 160) * 2 - 1
    with torch.inference_mode():
        for answer, expected in zip(fast(network)(picture), network(picture), strict=True):
            torch.testing.assert_close(answer, expected, rtol=1e-3, atol=1e-3)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast(network).modules())


def test_the_network_itself_is_left_as_it_is():
    network = M4Net("small").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    copied = fast(network)
    assert network.training and not copied.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not network.backbone.activation.inplace
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_it_is_made_once_and_anew_when_the_network_was_changed():
    network = M4Net("small").eval()
    crops = torch.zeros(1, 3, 120, 120)
    first = fast(network)
    assert fast(network) is first
    network.fix_head_weights([0, 0, 0, 1])
    assert fast(network) is not first
    assert fast(network).outputs(crops).weights[0].tolist() == [0, 0, 0, 1]


def test_it_follows_a_fused_optimizer():
    """Which does not raise the version of what it writes."""
    network = M4Net("small").eval()
    crops = torch.zeros(1, 3, 120, 120)
    before = fast(network).outputs(crops).parameters
    network.outputs(crops).parameters.sum().backward()
    torch.optim.AdamW(network.parameters(), lr=1e-2, fused=True).step()
    after = fast(network).outputs(crops).parameters
    assert not torch.allclose(after, before)
    torch.testing.assert_close(after, network.outputs(crops).parameters.detach(), rtol=1e-4, atol=1e-3)


def test_a_network_made_in_inference_mode():
    crops = torch.zeros(1, 3, 120, 120)
    with torch.inference_mode():
        network = M4Net("small").eval()
        first = fast(network)
        assert fast(network) is first
        network.head_logits[0] += 5
        assert fast(network) is not first
    assert fast(network).outputs(crops).weights[0, 0] > 0.9


def test_it_goes_with_the_network():
    network = M4Net("small")
    copied = weakref.ref(fast(network))
    del network
    gc.collect()
    assert copied() is None

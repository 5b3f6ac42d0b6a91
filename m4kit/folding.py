"""A network made fast for prediction: the same function, to the rounding of its numbers."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from m4kit.weights import tensor_state

Network = TypeVar("Network", bound=nn.Module)

_fast: WeakKeyDictionary[nn.Module, tuple[tuple, nn.Module]] = WeakKeyDictionary()


def fast(network: Network) -> Network:
    """A copy of a network that predicts faster, in `eval` mode and without gradients.

    Each batch norm is folded into the convolution before it, activations overwrite their input, and the channels of
    a pixel lie side by side in memory. The copy is kept until a tensor of the network is written to. A layer and its
    batch norm must follow each other in their module, as in `M4Net` and `FaceBoxes`.
    """
    state = tensor_state(network)
    if network not in _fast or _fast[network][0] != state:
        _fast[network] = state, _folded(network)
    return _fast[network][1]


def _folded(network: Network) -> Network:
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(network.modules()):
        for (name, layer), (next_name, norm) in pairwise(list(module.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(layer, norm))
                setattr(module, next_name, nn.Identity())
        if hasattr(module, "inplace"):
            module.inplace = True
    return network.to(memory_format=torch.channels_last)

"""Folds batch norms into convolutions."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from m4kit.inference import one_thread

Network = TypeVar("Network", bound=nn.Module)


@one_thread()
def folded(network: Network) -> Network:
    """Copy a network into one that predicts faster, in `eval` mode and without gradients.

    Each batch norm is folded into the convolution before it, activations work in place, and the memory format is
    channels last. The copy is in float32 on the CPU. The outputs are the same up to rounding. The copy does not
    follow later changes of the network. A convolution and its batch norm must follow each other in their module, as
    in `M4Net` and `FaceBoxes`.

    Raises `ValueError` for weights that are not finite.
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(network.modules()):
        for (name, layer), (next_name, norm) in pairwise(list(module.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(layer, norm))
                setattr(module, next_name, nn.Identity())
        if hasattr(module, "inplace"):
            module.inplace = True
    for name, tensor in network.state_dict().items():
        # -inf is the logit of a head that has no weight.
        if (tensor.isnan() | tensor.isposinf()).any():
            raise ValueError(
                f"network: expected finite weights, but {name} holds NaN or infinity; load the network again, or "
                "train it with a lower learning rate"
            )
    return network.to("cpu", torch.float32, memory_format=torch.channels_last)

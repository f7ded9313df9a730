"""Checks in float64 of how batch normalization after a first convolution acts on the normalization of its input.

invariance.md derives the claims; the figures here have their names.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from stages.common.determinism import fix
from stages.common.normalization import Normalization
from stages.vision import folding
from stages.vision.folding import Padded
from stages.vision.model import first_convolution, replace

FACTOR = 3.0  # of the first weights, in the check of scale invariance; any number
STEPS = 3  # of SGD, after which weights are compared
EARLY = 3  # batches seen by running averages that still hold some of their initial 0 and 1


def figures(
    network: nn.Module, images: torch.Tensor, labels: torch.Tensor, one: Normalization, other: Normalization
) -> dict[str, float]:
    """Differences between a network under two normalizations, in training mode and with the same weights.

    border_share: the share of the first convolution's outputs that see its padding, in [0, 1]

    All others are relative differences, the length of the difference over that of the value under `one`; 1e-12 is
    rounding. `_same_border`: the padding under `other` has the value of the padding under `one`. `_exact`: besides,
    epsilon is (all but) 0 in the first batch normalization.

    logits, gradient (of all weights): also with _same_border and _exact
    training_exact:              the change of all weights in 3 steps of SGD with momentum and weight decay
    factor_logits_exact:         logits under `one` where the first weights are multiplied by 3
    factor_gradient_exact:       their gradient then, times 3
    evaluation_exact:            logits in evaluation mode, each with statistics of its own batch
    evaluation_early_exact:      the same with running averages after 3 batches, which start from 0 and 1
    evaluation_other_statistics: logits under `other` with the statistics under `one`

    network: its first convolution is followed by batch normalization; left as it was
    images:  uint8 (N, 3, H, W), one batch; labels: int64 (N,)
    """
    fix(1)
    x, y = (norm(images, torch.float64).contiguous() for norm in (one, other))
    differences = {"border_share": _border_share(network, images)}
    for suffix, border, exact in (
        ("", None, False),
        ("_same_border", (one, other), False),
        ("_exact", (one, other), True),
    ):
        mine, theirs = _variant(network, exact), _variant(network, exact, border)
        differences[f"logits{suffix}"] = _difference(mine(x), theirs(y))
        differences[f"gradient{suffix}"] = _difference(_gradient(mine, x, labels), _gradient(theirs, y, labels))
    mine, theirs = _variant(network, exact=True), _variant(network, exact=True, border=(one, other))
    return (
        differences
        | _factor_differences(mine, x, labels)
        | _evaluation_differences(mine, theirs, x, y)
        | {"training_exact": _difference(_trained(mine, x, labels), _trained(theirs, y, labels))}
    )


def _border_share(network: nn.Module, images: torch.Tensor) -> float:
    _, conv = first_convolution(network)
    window = torch.ones(1, 1, *conv.kernel_size)
    reached = F.conv2d(torch.ones(1, 1, *images.shape[2:]), window, None, conv.stride, conv.padding, conv.dilation)
    return (reached < window.sum()).double().mean().item()


def _factor_differences(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    scaled = copy.deepcopy(network)
    _, conv = first_convolution(scaled)
    with torch.no_grad():
        conv.weight.mul_(FACTOR)
    first = slice(conv.weight.numel())  # the first convolution's weights are the first of all
    gradient, smaller = (_gradient(each, inputs, labels)[first] for each in (network, scaled))
    return {
        "factor_logits_exact": _difference(network(inputs), scaled(inputs)),
        "factor_gradient_exact": _difference(gradient, FACTOR * smaller),
    }


def _evaluation_differences(mine: nn.Module, theirs: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    average, early = (None, 1), (0.1, EARLY)
    expected = _evaluated(mine, x, x, average)
    return {
        "evaluation_early_exact": _difference(_evaluated(mine, x, x, early), _evaluated(theirs, y, y, early)),
        "evaluation_exact": _difference(expected, _evaluated(theirs, y, y, average)),
        "evaluation_other_statistics": _difference(expected, _evaluated(mine, x, y, average)),
    }


def _variant(network: nn.Module, exact: bool, border: tuple[Normalization, Normalization] | None = None) -> nn.Module:
    """A copy in float64 and training mode, which pads under border[1] with what zero is under border[0]."""
    network = copy.deepcopy(network).double().to(memory_format=torch.contiguous_format).train()
    if exact:
        next(part for part in network.modules() if isinstance(part, _BatchNorm)).eps = 1e-30  # 0 is not allowed
    if border:
        name, conv = first_convolution(network)
        replace(network, name, Padded(conv, folding.border(conv, *border)))
    return network


def _gradient(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    gradients = torch.autograd.grad(F.cross_entropy(network(inputs), labels), list(network.parameters()))
    return torch.cat([part.flatten() for part in gradients])


def _trained(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    before = torch.cat([part.flatten() for part in network.parameters()]).detach()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for _ in range(STEPS):
        optimizer.zero_grad()
        F.cross_entropy(network.train()(inputs), labels).backward()
        optimizer.step()
    return torch.cat([part.flatten() for part in network.parameters()]).detach() - before


@torch.no_grad()
def _evaluated(
    network: nn.Module, known: torch.Tensor, inputs: torch.Tensor, averaging: tuple[float | None, int]
) -> torch.Tensor:
    """Logits in evaluation mode, after `known` has been seen so many times with that momentum."""
    momentum, times = averaging
    for layer in network.train().modules():
        if isinstance(layer, _BatchNorm):
            layer.reset_running_stats()
            layer.momentum = momentum
    for _ in range(times):
        network(known)
    return network.eval()(inputs)


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((other - one).norm() / one.norm()).item()

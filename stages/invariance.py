"""What batch normalization after a first convolution makes of the normalization of its input, checked in float64.

invariance.md derives the claims; the figures here have their names.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from stages import network
from stages.folding import Padded
from stages.training import fix
from stages.treatments import Normalization

FACTOR = 3.0  # of the first weights, in the check of scale invariance; any number
STEPS = 3  # of SGD, after which weights are compared
EARLY = 3  # batches seen by running averages that still hold some of their initial 0 and 1


def figures(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, one: Normalization, other: Normalization
) -> dict[str, float]:
    """How much a network in training mode, its weights the same, differs under two normalizations.

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

    model:  a network whose first convolution is followed by batch normalization; left as it was
    images: uint8 (N, 3, H, W), one batch; labels: int64 (N,)
    """
    fix(1)
    x, y = (norm(images, torch.device("cpu"), torch.float64).contiguous() for norm in (one, other))
    _, conv = network.first_convolution(model)
    window = torch.ones(1, 1, *conv.kernel_size)
    reached = F.conv2d(torch.ones(1, 1, *images.shape[2:]), window, None, conv.stride, conv.padding, conv.dilation)
    found = {"border_share": (reached < window.sum()).double().mean().item()}
    for suffix, border, exact in (("", False, False), ("_same_border", True, False), ("_exact", True, True)):
        mine, theirs = _variant(model, exact), _variant(model, exact, (one, other) if border else None)
        found[f"logits{suffix}"] = _difference(mine(x), theirs(y))
        found[f"gradient{suffix}"] = _difference(_gradient(mine, x, labels), _gradient(theirs, y, labels))

    scaled = _variant(model, exact=True)
    with torch.no_grad():
        network.first_convolution(scaled)[1].weight.mul_(FACTOR)
    first = slice(conv.weight.numel())  # the first convolution's weights are the first of all
    found["factor_logits_exact"] = _difference(mine(x), scaled(x))
    found["factor_gradient_exact"] = _difference(
        _gradient(mine, x, labels)[first], FACTOR * _gradient(scaled, x, labels)[first]
    )

    average, early = (None, 1), (0.1, EARLY)
    found["evaluation_early_exact"] = _difference(_evaluated(mine, x, x, early), _evaluated(theirs, y, y, early))
    expected = _evaluated(mine, x, x, average)
    found["evaluation_exact"] = _difference(expected, _evaluated(theirs, y, y, average))
    found["evaluation_other_statistics"] = _difference(expected, _evaluated(mine, x, y, average))

    found["training_exact"] = _difference(_trained(mine, x, labels), _trained(theirs, y, labels))
    return found


def _variant(model: nn.Module, exact: bool, border: tuple[Normalization, Normalization] | None = None) -> nn.Module:
    """A copy in float64 and training mode, which pads under border[1] with what zero is under border[0]."""
    model = copy.deepcopy(model).double().to(memory_format=torch.contiguous_format).train()
    if exact:
        next(part for part in model.modules() if isinstance(part, _BatchNorm)).eps = 1e-30  # 0 is not allowed
    if border:
        (mean, _), (new_mean, new_std) = (torch.tensor(norm, dtype=torch.float64) for norm in border)
        name, conv = network.first_convolution(model)
        width, conv.padding = conv.padding, (0, 0)
        network.replace(model, name, Padded(conv, (mean - new_mean) / new_std, width))  # type: ignore[arg-type]
    return model


def _gradient(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    gradients = torch.autograd.grad(F.cross_entropy(model(inputs), labels), list(model.parameters()))
    return torch.cat([part.flatten() for part in gradients])


def _trained(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    before = torch.cat([part.flatten() for part in model.parameters()]).detach()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for _ in range(STEPS):
        optimizer.zero_grad()
        F.cross_entropy(model.train()(inputs), labels).backward()
        optimizer.step()
    return torch.cat([part.flatten() for part in model.parameters()]).detach() - before


@torch.no_grad()
def _evaluated(
    model: nn.Module, known: torch.Tensor, inputs: torch.Tensor, averaging: tuple[float | None, int]
) -> torch.Tensor:
    """Logits in evaluation mode, after `known` has been seen so many times with that momentum."""
    momentum, times = averaging
    for layer in model.train().modules():
        if isinstance(layer, _BatchNorm):
            layer.reset_running_stats()
            layer.momentum = momentum
    for _ in range(times):
        model(known)
    return model.eval()(inputs)


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((other - one).norm() / one.norm()).item()

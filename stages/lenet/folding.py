"""A change of normalization absorbed into a trained LeNet, exactly: the same function of the pixels."""

import copy
from pathlib import Path

import torch

from stages.common.errors import InputError
from stages.common.normalization import Normalization, fold
from stages.lenet.model import LeNet
from stages.lenet.training import TEST_BATCH


def load(path: Path) -> LeNet:
    """A LeNet with the weights at `path`.

    raises: InputError if there are none, or not those of a LeNet
    """
    accepted = "accepted: the weights of a LeNet, as in data/models"
    try:
        weights = torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; {accepted}") from None
    except Exception:  # torch has many, and long, for a file that is not its own
        raise InputError(f"{path}: cannot be read as weights; {accepted}") from None
    model = LeNet()
    try:
        model.load_state_dict(weights)
    except (AttributeError, RuntimeError, TypeError):
        raise InputError(f"{path}: holds the weights of another network; {accepted}") from None
    return model


@torch.no_grad()
def folded(model: LeNet, own: Normalization, new: Normalization) -> LeNet:
    """The network that gives for pixels under `new` what `model` gives for them under `own`."""
    other = copy.deepcopy(model)
    weight, bias = fold(model.conv1.weight, model.conv1.bias, own, new)
    other.conv1.weight.copy_(weight)
    other.conv1.bias.copy_(bias)  # type: ignore[union-attr]
    return other


@torch.no_grad()
def log_probabilities(model: LeNet, images: torch.Tensor, norm: Normalization) -> torch.Tensor:
    """float32 (N, 10), of uint8 images (N, 1, 28, 28)"""
    torch.set_num_threads(1)
    return torch.cat([model(norm(part)) for part in images.split(TEST_BATCH)])

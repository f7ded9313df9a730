"""`python -m stages.fold`: folds the normalization of a trained LeNet into it, so that it takes raw pixels."""

import argparse
import copy
import io
import math
from pathlib import Path

import torch

from stages import folding, outputs
from stages.lenet import LeNet
from stages.params import InputError
from stages.training import TEST_BATCH, Normalization


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.fold", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="its weights, a state dict: data/models/baseline.pt")
    parser.add_argument("--mean", type=float, required=True, help="of the normalization that it was trained under")
    parser.add_argument("--std", type=float, required=True, help="of the same, above 0")
    parser.add_argument("--out", type=Path, help="where to write; default: beside the model, as NAME-folded.pt")
    given = parser.parse_args()
    if not (math.isfinite(given.mean) and math.isfinite(given.std) and given.std > 0):
        raise InputError(f"--mean {given.mean:g} --std {given.std:g}: must be finite, and std above 0")
    model = load(given.model)
    out = given.out or given.model.with_stem(f"{given.model.stem}-folded")
    weights = io.BytesIO()
    torch.save(folded(model, Normalization(given.mean, given.std), Normalization(0.0, 1.0)).state_dict(), weights)
    outputs.write_bytes(out, weights.getvalue())
    print(f"{out}: takes pixels / 255, in [0, 1], and needs no normalization")


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


def folded(model: LeNet, own: Normalization, new: Normalization) -> LeNet:
    """The network that is for pixels under `new` what `model` is for them under `own`."""
    other = copy.deepcopy(model)
    other.conv1.load_state_dict(folding.fold(model.conv1, own, new).state_dict())
    return other


@torch.no_grad()
def log_probabilities(model: LeNet, images: torch.Tensor, norm: Normalization) -> torch.Tensor:
    """float32 (N, 10), of uint8 images (N, 1, 28, 28)"""
    torch.set_num_threads(1)
    return torch.cat([model(norm(part)) for part in images.split(TEST_BATCH)])


if __name__ == "__main__":
    main()

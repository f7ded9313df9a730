"""Stage `fold`: the baseline under other normalizations, the same function of the pixels.

With options it is a tool: `python -m stages.fold --model data/models/baseline.pt --mean 0.1307 --std 0.3081` folds the
normalization of a trained LeNet into it, so that it takes raw pixels.
"""

import argparse
import math
from pathlib import Path

import torch

from stages.common import files, mnist
from stages.common.errors import InputError, run_main
from stages.common.folding import folded
from stages.common.normalization import Normalization
from stages.lenet.model import LeNet
from stages.lenet.training import TEST_BATCH
from stages.settings.params import Params

MODEL = Path("data/models/baseline.pt")
RAW = Normalization.of(0.0, 1.0)


def main(settings: Params) -> None:
    """Folds the baseline's normalization into others and back into raw pixels; compares on the test images."""
    own = settings.norm
    images = mnist.load(1, settings.data.test_images).test_images
    files.check_model(MODEL)
    model = load(MODEL)
    original = log_probabilities(model, images, own)
    diverged = not original.isfinite().all()
    if diverged:
        print("fold: the baseline diverged, its outputs are not finite: nothing to compare")
    metrics: dict[str, dict] = {}
    for name in [] if diverged else settings.fold.normalizations:
        norm = settings.normalizations[name]
        moved = folded(model, own, norm)
        back = log_probabilities(folded(moved, norm, RAW), images, RAW)
        outputs = torch.stack([original, log_probabilities(moved, images, norm), back])
        difference = (outputs.amax(0) - outputs.amin(0)).max().item()
        other = int((outputs.argmax(2) != original.argmax(1)).any(0).sum())
        metrics[name] = {"normalization": norm.parameters(), "difference": difference, "changed_predictions": other}
        print(f"fold: {name}: differs by at most {difference:.1e}, {other} predictions change")
    largest = max((each["difference"] for each in metrics.values()), default=None)
    values = {"diverged": diverged, "normalizations": metrics, "largest": largest, "images": len(images)}
    files.write_json(Path("metrics/fold.json"), values)


def load(path: Path) -> LeNet:
    """A LeNet with the weights at `path`; raises: InputError if there are none, or not those of a LeNet"""
    model = LeNet()
    try:
        model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception as error:  # torch has many, and long, for a file that is not its own
        wrong = error.strerror if isinstance(error, OSError) else "cannot be read as weights of a LeNet"
        raise InputError(f"{path}: {wrong}; accepted: a state dict, as in data/models") from None
    return model


@torch.no_grad()
def log_probabilities(model: LeNet, images: torch.Tensor, norm: Normalization) -> torch.Tensor:
    """float32 (N, 10), of uint8 images (N, 1, 28, 28)"""
    torch.set_num_threads(1)
    return torch.cat([model(norm(part)) for part in images.split(TEST_BATCH)])


def tool() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.fold", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--model", type=Path, required=True, help="its weights, a state dict: data/models/baseline.pt")
    parser.add_argument("--mean", type=float, required=True, help="of the normalization that it was trained under")
    parser.add_argument("--std", type=float, required=True, help="of the same, above 0")
    parser.add_argument("--out", type=Path, help="where to write; default: alongside the model, as NAME-folded.pt")
    given = parser.parse_args()
    if not (math.isfinite(given.mean) and math.isfinite(given.std) and given.std > 0):
        raise InputError(f"--mean {given.mean:g} --std {given.std:g}: must be finite, and std above 0")
    model = load(given.model)
    out = given.out or given.model.with_stem(f"{given.model.stem}-folded")
    if out.resolve() in (given.model.resolve(), MODEL.resolve()):
        raise InputError(f"--out {out}: would replace the model; accepted: another file")
    files.write_model(out, folded(model, Normalization.of(given.mean, given.std), RAW))
    print(f"{out}: takes pixels / 255, in [0, 1], and needs no normalization")


if __name__ == "__main__":
    run_main(tool)

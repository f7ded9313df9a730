"""Stage `fold`: moves the baseline to other normalizations without changing its function of the pixels."""

from pathlib import Path

import torch

from stages.common import files, mnist
from stages.common.errors import InputError
from stages.common.folding import folded
from stages.common.normalization import Normalization
from stages.lenet.model import LeNet
from stages.lenet.training import log_probabilities
from stages.settings.params import Params

MODEL = Path("data/models/baseline.pt")
RAW = Normalization.of(0.0, 1.0)


def main(settings: Params) -> None:
    """Folds the baseline to each normalization, and from there to raw pixels; compares outputs on the test images."""
    own = settings.norm
    images = mnist.load(1, settings.data.test_images).test_images
    model = load(MODEL)
    torch.set_num_threads(1)
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
    values = {"diverged": diverged, "normalizations": metrics, "images": len(images)}
    files.write_json(Path("metrics/fold.json"), values)


def load(path: Path) -> LeNet:
    """A LeNet with the weights in a file; raises: InputError if it has none, or not those of a LeNet"""
    model = LeNet()
    try:
        model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception:  # torch raises many, with long messages
        accepted = f"accepted: a state dict, such as {MODEL}, which `dvc repro -f -s baseline` makes"
        raise InputError(f"{path}: cannot be read as weights of a LeNet; {accepted}") from None
    return model

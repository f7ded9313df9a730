"""Stage `folded`: one trained network under several normalizations, exactly the same function of the pixels."""

from pathlib import Path

import torch

from stages import fold, mnist, outputs, params
from stages.training import Normalization

MODEL = Path("data/models/baseline.pt")


def main() -> None:
    """Folds the baseline's normalization into others and back into raw pixels; compares on the test images."""
    settings = params.load()
    own = Normalization(settings.norm.mean, settings.norm.std)
    images = mnist.load(1, settings.data.test_images).test_images
    model = fold.load(MODEL)
    original = fold.log_probabilities(model, images, own)
    figures, rows = {}, []
    for mean, std in settings.folded.pairs:
        norm, raw = Normalization(mean, std), Normalization(0.0, 1.0)
        moved = fold.folded(model, own, norm)
        under = fold.log_probabilities(moved, images, norm)
        back = fold.log_probabilities(fold.folded(moved, norm, raw), images, raw)
        rows.append((mean, std, difference(under, original), difference(back, under), difference(back, original)))
        largest = max(rows[-1][2:])
        other = int(((under.argmax(1) != original.argmax(1)) | (back.argmax(1) != original.argmax(1))).sum())
        figures[f"mean {mean:g}, std {std:g}"] = {"difference": largest, "other_predictions": other}
        print(f"folded: mean {mean:g}, std {std:g}: differs by at most {largest:.1e}, {other} other predictions")
    outputs.write_csv(
        Path("plots/folded.csv"), ("mean", "std", "moved", "folded to raw pixels", "from the original"), rows
    )
    largest = max(each["difference"] for each in figures.values())
    outputs.write_json(Path("metrics/folded.json"), {"pairs": figures, "largest": largest, "images": len(images)})


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest, of all log-probabilities."""
    return (one - other).abs().max().item()


if __name__ == "__main__":
    main()

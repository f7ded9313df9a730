"""`make rates`: images a second of ResNet-18 on one core (or on the GPU), and what ImageNet costs at that rate."""

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from stages.common import device
from stages.common.determinism import fix
from stages.common.normalization import Normalization
from stages.settings import params
from stages.vision import model, treatments
from stages.vision.images import Part

REPETITIONS = 3
SIZES = {28: 512, 224: 64}  # pixels: images that are timed
IMAGENET, IMAGENETTE = 50_000, 9_469  # images: ImageNet's validation set, Imagenette's training set


def main() -> None:
    settings = params.load()
    timed_on = device.prepare(settings.run.device)
    fix(settings.resnet.threads)
    norm = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    tune = settings.resnet.fine_tune.model_copy(update={"epochs": 1})
    print(
        f"# Speed of ResNet-18\n\n`make rates` on {device.describe(timed_on)}, {settings.resnet.threads} thread:",
        end=" ",
    )
    print(f"images a second, median of {REPETITIONS} (range).\n")
    print("| images | evaluation | recalibration | training |\n|---|---|---|---|")
    rates: dict[tuple[int, str], float] = {}
    for size, count in SIZES.items():
        part = Part(torch.randint(256, (count, 3, size, size), dtype=torch.uint8), torch.randint(1000, (count,)))
        network = model.build("resnet18", None, [str(number) for number in range(1000)], 0).to(timed_on)
        ways: dict[str, Callable[[], object]] = {
            "evaluation": partial(treatments.logits, network, part.images, norm),
            "recalibration": partial(treatments.recalibrated, network, part.images, norm, 64),
            "training": partial(treatments.train, network, part, norm, tune, 32, 0),
        }
        cells = []
        for way, run in ways.items():
            run()
            repeated = [count / seconds(run) for _ in range(REPETITIONS)]
            rates[size, way] = statistics.median(repeated)
            cells.append(f"{rates[size, way]:.0f} ({min(repeated):.0f} to {max(repeated):.0f})")
        print(f"| {size} x {size} | {' | '.join(cells)} |", flush=True)
    minutes = {
        "evaluation of ImageNet's validation set": IMAGENET / rates[224, "evaluation"] / 60,
        "epoch of fine-tuning on Imagenette": IMAGENETTE / rates[224, "training"] / 60,
    }
    print("\n" + "; ".join(f"one {what}: {cost:.1f} minutes" for what, cost in minutes.items()) + ".")


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

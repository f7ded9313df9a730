"""`make rates`: images a second of the published network on one core (or a GPU), and what its studies cost."""

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from stages.common import device
from stages.common.determinism import fix
from stages.common.errors import run_main
from stages.settings import params
from stages.settings.params import Norm, Params
from stages.study import design
from stages.vision import model, treatments

REPETITIONS = 3
BATCHES = 4  # that are timed
CORES = 2


def main() -> None:
    settings = params.load()
    imagenet, timed_on = settings.imagenet, device.prepare(settings.run.device)
    fix(imagenet.threads)
    published = model.published(imagenet.arch, imagenet.weights)
    network, norm, size = published.network.to(timed_on), published.norm, imagenet.batch_size
    _, height, width = np.asarray(published.preparation.transform(Image.new("RGB", (500, 375)))).shape
    images = torch.randint(256, (BATCHES * size, 3, height, width), dtype=torch.uint8)
    ways: dict[str, Callable[[], object]] = {
        "tested": partial(treatments.logits, network, images, norm, size),
        "recalibrated": partial(treatments.recalibrated, network, images, norm, size),
    }
    print(
        f"# Speed of {imagenet.arch}\n\n`make rates` on {device.describe(timed_on)}, {imagenet.threads} thread:",
        end=" ",
    )
    print(f"images of {width} x {height} a second, median of {REPETITIONS} (range).\n")
    print("| the network tested on them | batch normalization's statistics estimated from them |\n|---|---|")
    rates, cells = {}, []
    for way, run in ways.items():
        run()
        repeated = [len(images) / seconds(run) for _ in range(REPETITIONS)]
        rates[way] = statistics.median(repeated)
        cells.append(f"{rates[way]:.0f} ({min(repeated):.0f} to {max(repeated):.0f})")
    print(f"| {' | '.join(cells)} |\n")
    minutes = {
        study: sum(count * imagenet.test_images / rates[way] for way, count in passes.items()) / CORES / 60
        for study, passes in passes_of_studies(settings, Norm(mean=norm.mean, std=norm.std)).items()
    }
    print(f"At that rate, on {CORES} cores, the studies take from nothing:", end=" ")
    print(", ".join(f"`{study}` {cost:.1f}" for study, cost in minutes.items()), end="; ")
    print(f"together {sum(minutes.values()):.0f} minutes, without starting and decoding.")


def passes_of_studies(settings: Params, own: Norm) -> dict[str, dict[str, int]]:
    """How often a study's trials see all images, by way; each worker first tests the network under its own numbers."""
    passes = {}
    for name, study in settings.studies.items():
        if study.trial.settings != "imagenet":
            continue
        if study.search:
            fixed = design.fixed(settings, study, study.search, study.train)
            treated = [int(fixed.get("treated", 2))] * study.search.n_trials
        else:
            points = design.points(settings, study, own, treatments=3).values()
            treated = [int(point.get("treated", 0)) for point in points]
        passes[name] = {"tested": CORES + sum(treated), "recalibrated": sum(count > 1 for count in treated)}
    return passes


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    run_main(main)

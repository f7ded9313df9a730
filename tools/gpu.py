"""`make gpu`: whether training runs on a GPU repeat, and agree with those on the processor; how fast they are.

Prints Markdown, of what is measured in this run; four minutes on an H100. The steps of metrics/gpu.md, also as a CUDA
graph, were measured once, by this file in commit 11357ea.
"""

import argparse
import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import notebook
import torch
from bench import MEAN, NORM, SEED, STD, benched, usual_training

sys.path.insert(0, str(Path(__file__).parents[1]))
from stages.common import device, mnist
from stages.common.errors import run_main
from stages.lenet import training
from stages.lenet.training import Training, train_and_test
from stages.lenet.trial import LenetTrial
from stages.settings.params import Params
from stages.study import design
from stages.study.local import Workers

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adadelta": {"optimizer": "adadelta", "lr": 1.0},
    "sgd": {"optimizer": "sgd", "lr": 0.01, "momentum": 0.9},
    "adam": {"optimizer": "adam", "lr": 0.001},
}
SEEDS = (SEED, SEED + 1)
COMPARED = 40  # steps, on the GPU and on the processor
WORKERS = (1, 4)  # that share the GPU


def main(images: int) -> None:
    settings = benched()
    settings = settings.model_copy(update={"run": settings.run.model_copy(update={"device": "auto"})})
    on, run = device.prepare("auto"), usual_training(settings)
    if on.type == "cpu":
        sys.exit("make gpu: this machine has no GPU that PyTorch can use")
    data = mnist.load(images, 10_000)
    there = data.to(on)
    print(
        f"# On a GPU\n\n`make gpu` on {device.describe(on)}, PyTorch {torch.__version__}, {images:,} images an epoch.\n"
    )
    print_repeated(run, there)
    print_agreement(run, data, there)
    print_epochs(run, there)
    print_workers(settings, images)


def print_repeated(run: Training, data: mnist.Data) -> None:
    print("| an epoch | accuracy | once more: the same bits |\n|---|---|---|")
    for optimizer, options in OPTIMIZERS.items():
        one, other = (train_and_test(NORM, run._replace(**options), data) for _ in range(2))
        pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
        same = torch.equal(one.losses, other.losses) and all(torch.equal(*pair) for pair in pairs)
        print(f"| {optimizer} | {one.tests[-1].accuracy:.4f} | {'yes' if same else 'no'} |", flush=True)


def print_agreement(run: Training, data: mnist.Data, there: mnist.Data) -> None:
    count = COMPARED * run.batch_size
    cpu, gpu = (train_and_test(NORM, run, each.part(count, 0)).losses for each in (data, there))
    apart = ((cpu - gpu).abs() / cpu).tolist()
    first, most = max(apart[:5]), max(apart)
    print(f"\nThe loss on the GPU differs from that on the processor by {first:.0e} of it in the first five steps,")
    print(f"by up to {most:.0e} in the first {len(apart)}: rounding, which training lets grow.\n", flush=True)


def print_epochs(run: Training, data: mnist.Data) -> None:
    """The notebook's loop with its images on the GPU a batch at a time, as it is where there is one, and ours."""
    files = [notebook.load(mnist.FOLDER, MEAN, STD, train=train) for train in (True, False)]
    theirs, ours, known, drawing = [], [], [], []
    for seed in SEEDS:
        own = run._replace(seed=seed)
        theirs.append(timed(plain, files, seed, data))
        training._drawn.cache_clear()
        ours.append(timed(accuracy, own, data))
        known.append(timed(accuracy, own, data))
        training._drawn.cache_clear()
        drawing.append(timed(drawn, own, data))
    print(f"| an epoch and its test, {len(SEEDS)} seeds | s | accuracy |\n|---|---|---|")
    for name, results in (
        ("the notebook's loop", theirs),
        ("ours, the first run with a seed", ours),
        ("ours, a further one", known),
        ("of the first run: drawing its random numbers, on the processor", drawing),
    ):
        accuracies = ", ".join(f"{value:.4f}" for _, value in results if isinstance(value, float))
        print(f"| {name} | {', '.join(f'{seconds:.1f}' for seconds, _ in results)} | {accuracies} |", flush=True)


def plain(files: list, seed: int, data: mnist.Data) -> float:
    on, part = data.train_images.device, torch.utils.data.Subset(files[0], range(len(data.train_images)))
    model, _ = notebook.train(part, seed=seed, device=on)
    return notebook.test(model, files[1])


def accuracy(run: Training, data: mnist.Data) -> float:
    return train_and_test(NORM, run, data).tests[-1].accuracy


def drawn(run: Training, data: mnist.Data) -> None:
    training._drawn(run.seed, run.batch_size, run.shuffle, 0, len(data.train_images), data.train_images.device)


def print_workers(settings: Params, images: int) -> None:
    print("| trials side by side | an hour, all with one seed | an hour, each with a new seed | the same results |")
    print("|---|---|---|---|")
    first: dict[int, dict] = {}
    for count in WORKERS:
        with Workers(count, functools.partial(LenetTrial, settings)) as workers:
            of_workers(workers, dict.fromkeys(range(count), SEED), settings, images)  # each starts with one
            rates: list[float] = []
            results: dict[int, dict] = {}
            same_seed = dict.fromkeys(range(max(4, 2 * count)), SEED)
            new_seeds = {100 + number: SEED + 1 + number for number in range(max(2, count))}
            for seeds in (same_seed, new_seeds):
                seconds, done = timed(of_workers, workers, seeds, settings, images)
                rates.append(3600 * len(seeds) / seconds)
                results |= done
        same = all(result == first.setdefault(number, result) for number, result in results.items())
        print(f"| {count} | {rates[0]:.0f} | {rates[1]:.0f} | {'yes' if same else 'no'} |", flush=True)


def of_workers(workers: Workers, seeds: dict[int, int], settings: Params, images: int) -> dict[int, dict]:
    """The results of trials by number, each under a normalization of its own."""
    common = design.trial_parameters(settings) | {"train_images": images}
    tasks = {number: common | {"mean": number % 7 / 10, "std": 0.3, "seed": seed} for number, seed in seeds.items()}
    results = dict(workers.run(tasks, lambda _: None))
    for result in results.values():
        del result["seconds"]
    return results


def timed(function: Callable[..., Any], *arguments: object) -> tuple[float, Any]:
    torch.accelerator.synchronize()
    start = time.perf_counter()
    result = function(*arguments)
    torch.accelerator.synchronize()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60_000, help="in an epoch; default: 60,000")
    run_main(lambda: main(parser.parse_args().images))

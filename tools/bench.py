"""`make bench`: how fast training runs are, alongside the notebook's own loop and the limit of the machine.

Prints Markdown; everything is measured in this run, in turn, each in processes of its own. Medians, with their range.
The operations of a step and the private memory in metrics/speed.md were measured by this file in commit 11357ea.
"""

import argparse
import math
import multiprocessing
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
from stages.common import device, mnist
from stages.common.errors import run_main
from stages.common.normalization import Normalization
from stages.lenet import training
from stages.lenet.trial import LenetTrial
from stages.settings import params
from stages.settings.params import Params
from stages.study import design

MEAN, STD = 0.1307, 0.3081
NORM = Normalization.of(MEAN, STD)
SEED = 1998  # of the first repetition; those that follow count up
# Multiplications and additions of a step on 64 images, counted twice for the backward pass (once for conv1, whose input
# needs no gradient).
STEP_FLOP = 64 * 2 * (2 * 26**2 * 32 * 9 + 3 * (24**2 * 64 * 288 + 9216 * 128 + 128 * 10))


class Measured(NamedTuple):
    """A training run and its test: seconds of each, accuracy, and the peak of the process's memory in GiB."""

    train: float
    test: float
    accuracy: float
    memory: float


Run = list[Measured]  # of the processes that ran at one time


# What is measured, each in a process of its own. It imports this file: what one alone needs, it imports itself.


def of_notebook(threads: int, seed: int) -> Measured:
    import notebook

    torch.set_num_threads(threads)
    parts = [notebook.load(mnist.FOLDER, MEAN, STD, train=train) for train in (True, False)]
    begin()
    start = time.perf_counter()
    model, _ = notebook.train(parts[0], seed=seed)
    trained = time.perf_counter()
    accuracy = notebook.test(model, parts[1])
    return measured(start, trained, accuracy)


def of_single(threads: int, seed: int, settings: Params) -> Measured:
    """As the stage `baseline`, but on so many threads."""
    device.prepare("cpu")
    data, run = mnist.load(60_000, 10_000), usual_training(settings)._replace(seed=seed)
    begin()
    ends = [time.perf_counter()]
    outcome = training.train_and_test(NORM, run, data, threads, lambda _: ends.append(time.perf_counter()))
    return measured(ends[0], ends[-1], outcome.tests[-1].accuracy)


def of_trial(settings: Params) -> Measured:
    """As a worker of the sweep does it, but for its first trial: the random numbers of the epoch are drawn before."""
    trial, run = LenetTrial(settings), usual_training(settings)
    torch.set_num_threads(1)
    training._drawn(run.seed, run.batch_size, run.shuffle, 0, 60_000, trial.device)
    begin()
    start = time.perf_counter()
    result = trial(MEAN, STD, **design.trial_parameters(settings))  # type: ignore[arg-type]
    return measured(start, time.perf_counter(), result["accuracy"])._replace(test=0.0)  # its test is part of it


def measured(start: float, trained: float, accuracy: float) -> Measured:
    return Measured(trained - start, time.perf_counter() - trained, accuracy, memory())


def memory() -> float:
    """GiB: the peak of this process's memory, as Linux says it (ru_maxrss begins with that of the process before)."""
    status = Path("/proc/self/status")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) / 2**20 if status.exists() else math.nan


def of_matrices(threads: int) -> float:
    """FLOP/s of a large matrix product."""
    torch.set_num_threads(threads)
    a = torch.rand(2048, 2048)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / statistics.median(times)


def benched() -> Params:
    """params.yaml, but with all of MNIST, the notebook's protocol, and the processors of this machine."""
    settings = params.load()
    protocol = {"optimizer": "adadelta", "lr": {"adadelta": 1.0}, "gamma": 0.7, "init": "default"}
    changes = {
        "data": {"train_images": 60_000, "test_images": 10_000},
        "train": protocol | {"epochs": 1, "batch_size": 64, "shuffle": False},
        "run": {"device": "cpu", "workers": "auto"},
    }
    return settings.model_copy(
        update={section: getattr(settings, section).model_copy(update=change) for section, change in changes.items()}
    )


def usual_training(settings: Params) -> training.Training:
    run = design.trial_parameters(settings)
    del run["train_images"]
    return training.Training(**run)  # type: ignore[arg-type]


# Processes that begin at one instant

PATIENCE = 600  # seconds for which a process waits for the others: longer, and one of them has failed

_start: Barrier  # in a process: where it waits for the others


def ready(start: Barrier) -> None:
    global _start
    _start = start


def begin() -> None:
    _start.wait()


def together(function: Callable[..., Any], arguments: Sequence[tuple]) -> list[Any]:
    """The results of the function, called with each of the arguments at one time, in as many processes."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(len(arguments), timeout=PATIENCE)
    with ProcessPoolExecutor(len(arguments), context, initializer=ready, initargs=(start,)) as processes:
        return [call.result() for call in [processes.submit(function, *each) for each in arguments]]


def alone(function: Callable[..., Any], *arguments: object) -> Any:
    return together(function, [arguments])[0]


# The report

NOTEBOOK, NOTEBOOKS = "the notebook's loop, all cores", "the notebook's loop, one process a core"
SINGLE = "one training run, all cores"
NOTES = """
The notebook's faster way is that of its two ways which was faster in the same repetition. Of processes that run at one
time, the slowest gives the seconds and the largest the memory."""


def main(repetitions: int) -> None:
    from stages.study import runner

    settings, on = benched(), device.prepare("cpu")
    threads, workers = settings.train.threads, runner.worker_count(settings, LenetTrial, on)
    cores = workers * threads
    mnist.load(1, 1)  # says what is wrong before anything is measured
    ways: dict[str, Callable[[int], Run]] = {
        NOTEBOOK: lambda seed: [alone(of_notebook, cores, seed)],
        NOTEBOOKS: lambda seed: together(of_notebook, [(1, seed + 1000 * process) for process in range(cores)]),
        SINGLE: lambda seed: [alone(of_single, cores, seed, settings)],
        "sweep, 1 worker": lambda _: [alone(of_trial, settings)],
        f"sweep, {workers} workers": lambda _: together(of_trial, [(settings,)] * workers),
    }
    runs: dict[str, list[Run]] = {way: [] for way in ways}
    limits: dict[int, list[float]] = {cores: [], threads: []}
    for repetition in tqdm(range(repetitions), desc="bench", unit=" repetition"):
        for way, run in ways.items():
            runs[way].append(run(SEED + repetition))
        for count, speeds in limits.items():
            speeds.append(alone(of_matrices, count))

    rates = {way: [len(run) * 3600 / max(map(seconds, run)) for run in of_way] for way, of_way in runs.items()}
    print(f"# Speed\n\n`make bench` on {device.describe(on)}, {cores} cores: medians of {repetitions} (range).\n")
    print_table(runs, rates)
    _, _, single, one, many = rates.values()
    print(f"\nFrom 1 to {workers} workers: x {ratios(many, one)}.")
    print_share("One training run", cores, single, limits[cores])
    print_share(f"{workers} workers", cores, many, limits[cores])
    print_share("1 worker", threads, one, limits[threads])
    print(f"A step on 64 images is {STEP_FLOP / 1e9:.2f} GFLOP; the matrices are 2048 x 2048.\n")
    print_accuracies(*([run[0].accuracy for run in runs[way]] for way in (NOTEBOOK, SINGLE)))


def seconds(run: Measured) -> float:
    return run.train + run.test


def print_table(runs: dict[str, list[Run]], rates: dict[str, list[float]]) -> None:
    faster = [max(pair) for pair in zip(rates[NOTEBOOK], rates[NOTEBOOKS], strict=True)]
    columns = ("training, s", "test, s", "both, an hour", "x the notebook's faster way")
    print(f"| | {' | '.join(columns)} | peak memory of a process, GiB |\n|{'---|' * 6}")
    for way, of_way in runs.items():
        slowest = [max(run, key=seconds) for run in of_way]
        times = [[run.train for run in slowest], [run.test for run in slowest]]
        memory = [max(one.memory for one in run) for run in of_way]
        cells = [cell(part) if any(times[1]) else "" for part in times]
        cells += [cell(rates[way]), ratios(rates[way], faster), cell(memory, 2)]
        print(f"| {way} | {' | '.join(cells)} |")
    print(NOTES)


def print_share(name: str, cores: int, rate: list[float], limit: list[float]) -> None:
    steps = -(-60_000 // 64)
    shares = [STEP_FLOP * steps * each / 3600 / most for each, most in zip(rate, limit, strict=True)]
    print(f"{name}: {cell(shares, 2)} of the speed of a matrix product on {cores} cores", end=", ")
    print(f"{cell([most / 1e9 for most in limit], 0)} GFLOP/s.")


def print_accuracies(theirs: list[float], ours: list[float]) -> None:
    pairs = ", ".join(f"{a:.4f} / {b:.4f}" for a, b in zip(theirs, ours, strict=True))
    print(f"Accuracy, the notebook's loop / ours, for {len(ours)} seeds: {pairs}.")
    print(f"Mean difference {statistics.mean(ours) - statistics.mean(theirs):+.5f}.\n")


def ratios(those: list[float], base: list[float]) -> str:
    return cell([a / b for a, b in zip(those, base, strict=True)], 2)


def cell(values: list[float], digits: int = 1) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5, help="the n-th with seed 1998 + n; default: 5")
    run_main(lambda: main(parser.parse_args().repetitions))

"""`make bench`: how fast trainings are, beside the notebook's own loop and the limit of the machine.

Prints Markdown; everything is measured in this run, in turn, each in processes of its own. Medians, with their range.
"""

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from scipy import stats
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
import notebook

from stages import device, mnist, params, training, trials
from stages.evaluation import Evaluation

REPETITIONS = 5  # the n-th with seed 1998 + n
NORM = training.Normalization(0.1307, 0.3081)
# Multiplications and additions of a step on 64 images, counted twice for the backward pass (once for conv1, whose input
# needs no gradient).
STEP_FLOP = 64 * 2 * (2 * 26**2 * 32 * 9 + 3 * (24**2 * 64 * 288 + 9216 * 128 + 128 * 10))


def of_notebook(cores: int, seed: int) -> dict[str, float]:
    torch.set_num_threads(cores)
    parts = [notebook.load(mnist.FOLDER, *NORM, train=train) for train in (True, False)]
    start = time.perf_counter()
    model, _ = notebook.train(parts[0], seed=seed)
    trained = time.perf_counter()
    accuracy = notebook.test(model, parts[1])
    return measured(trained - start, time.perf_counter() - trained, accuracy)


def of_single(cores: int, seed: int) -> dict[str, float]:
    """As the stage `baseline`, but on all cores."""
    settings = params.load().train.model_copy(update={"threads": cores, "seed": seed})
    device.prepare("cpu")
    data = mnist.load(60_000, 10_000)
    ends = [time.perf_counter()]
    _, _, test = training.evaluate(NORM, settings, data, progress=lambda _: ends.append(time.perf_counter()))
    return measured(ends[-1] - ends[0], time.perf_counter() - ends[-1], test.accuracy)


_evaluation: Evaluation


def ready() -> None:
    global _evaluation
    _evaluation = Evaluation(params.load())
    torch.set_num_threads(1)
    training._draw(
        _evaluation.settings.train, 0, 60_000, _evaluation.device
    )  # as in every trial after a worker's first


def of_trial(start_at: float) -> dict[str, float]:
    """As a worker of the sweep does it; all of them begin at one instant."""
    time.sleep(max(0.0, start_at - time.time()))
    start = time.perf_counter()
    accuracy = _evaluation(*NORM)["accuracy"]
    return measured(time.perf_counter() - start, 0.0, accuracy)


def measured(train: float, test: float, accuracy: float) -> dict[str, float]:
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return {"train": train, "test": test, "accuracy": accuracy, "memory": kibibytes / 1024**2}


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


def of_parts(steps: int = 50) -> dict[str, float]:
    """Milliseconds of a step on one core that each kind of operation takes itself."""
    settings = params.load().train
    device.prepare("cpu")
    training.fix(1)
    data = mnist.load(64 * steps, 1)
    train = lambda: training.train(training.LeNet(), data.train_images, data.train_labels, NORM, settings)  # noqa: E731
    train()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        train()
    return {event.key: event.self_cpu_time_total / 1000 / steps for event in profiled.key_averages()}


def alone(function: Callable, *arguments: object) -> Any:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def together(count: int) -> list[dict[str, float]]:
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=ready) as workers:
        start = time.time() + 20
        return list(workers.map(of_trial, [start] * count))


def main() -> None:
    settings = params.load()
    place = device.prepare("cpu")
    auto = settings.model_copy(update={"run": settings.run.model_copy(update={"workers": "auto"})})
    cores = trials.worker_count(auto, settings.train.threads, place)
    mnist.load(1, 1)
    ways: dict[str, Callable[[int], list[dict[str, float]]]] = {
        "the notebook's loop": lambda seed: [alone(of_notebook, cores, seed)],
        "one training, all cores": lambda seed: [alone(of_single, cores, seed)],
        "sweep, 1 worker": lambda _: together(1),
        f"sweep, {cores} workers": lambda _: together(cores),
    }
    runs: dict[str, list[list[dict[str, float]]]] = {way: [] for way in ways}
    limits: dict[int, list[float]] = {cores: [], 1: []}
    for repetition in tqdm(range(REPETITIONS), desc="bench", unit=" repetition"):
        for way, run in ways.items():
            runs[way].append(run(1998 + repetition))
        for threads, found in limits.items():
            found.append(alone(of_matrices, threads))

    rates = {  # trainings with their tests, in an hour
        way: [len(run) * 3600 / max(trial["train"] + trial["test"] for trial in run) for run in those]
        for way, those in runs.items()
    }
    notebooks, single, one, many = rates.values()
    print(f"# Speed\n\n`make bench` on {device.describe(place)}, {cores} cores: medians of {REPETITIONS} (range).\n")
    print("| | training, s | test, s | both, an hour | x notebook | peak memory of a process, GiB |")
    print("|---|---|---|---|---|---|")
    for way, those in runs.items():
        first = [run[0] for run in those]
        times = [
            cell([run[part] for run in first]) if any(run["test"] for run in first) else ""
            for part in ("train", "test")
        ]
        memory = [max(trial["memory"] for trial in run) for run in those]
        print(
            f"| {way} | {' | '.join(times)} | {cell(rates[way])} | {ratios(rates[way], notebooks)} | {cell(memory)} |"
        )
    print(f"\nFrom 1 to {cores} workers: x {ratios(many, one)}.")
    steps = -(-60_000 // 64)
    for name, threads, rate in (
        ("One training", cores, single),
        (f"{cores} workers", cores, many),
        ("1 worker", 1, one),
    ):
        shares = [STEP_FLOP * steps * each / 3600 / limit for each, limit in zip(rate, limits[threads], strict=True)]
        print(f"{name}: {cell(shares, 2)} of the speed of a matrix product on {threads} cores", end=", ")
        print(f"{cell([limit / 1e9 for limit in limits[threads]], 0)} GFLOP/s.")
    print(f"A step on 64 images is {STEP_FLOP / 1e9:.2f} GFLOP; the matrices are 2048 x 2048.\n")

    theirs, ours = ([run[0]["accuracy"] for run in runs[way]] for way in list(ways)[:2])
    pairs = ", ".join(f"{a:.4f} / {b:.4f}" for a, b in zip(theirs, ours, strict=True))
    difference = statistics.mean(ours) - statistics.mean(theirs)
    p = stats.ttest_rel(ours, theirs).pvalue
    print(f"Accuracy, the notebook's loop / ours, for {REPETITIONS} seeds: {pairs}.")
    print(f"Mean difference {difference:+.5f}, paired t-test p = {p:.2f}.\n")

    parts = alone(of_parts)
    total = sum(parts.values())
    print(f"A step on one core, {total:.1f} ms, by operation (PyTorch's profiler, mean of 50 steps):\n")
    print("| operation | ms | share |\n|---|---|---|")
    for name, part in sorted(parts.items(), key=lambda item: -item[1])[:16]:
        print(f"| {name} | {part:.2f} | {part / total:.0%} |")


def ratios(those: list[float], base: list[float]) -> str:
    return cell([a / b for a, b in zip(those, base, strict=True)], 2)


def cell(values: list[float], digits: int = 1) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    main()

"""Processes of this machine that evaluate trials side by side.

Not a local Dask cluster, which could be the same code as `cluster`: its scheduler costs seconds at every start, and its
workers outlive a parent that is killed. Here a worker dies with its parent, and one that dies costs its own trial only.
"""

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any, NoReturn

from stages.common.errors import InputError

DEATHS = 3  # a task that has taken this many workers with it is given up


class Workers:
    """`count` processes, each with one task at a time; a context manager that leaves none of them behind.

    Each worker has a pool of its own: a pool whose worker dies loses all that runs in it, which must be one task only.

    evaluation: called with `arguments` in every worker, once, gives the function that evaluates its tasks
    """

    def __init__(self, count: int, evaluation: Callable[..., Callable], arguments: tuple):
        self._context = multiprocessing.get_context("spawn")
        # Workers end when this pipe closes: by us, or by the system however this process ends, SIGKILL included.
        self._lifeline, self._held = self._context.Pipe(duplex=False)
        # Pickled here, so that a worker watches the pipe before it imports what the evaluation needs, for seconds.
        self._setup = (self._lifeline, pickle.dumps((evaluation, arguments)))
        self._pools = [self._new() for _ in range(count)]

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, self._context, initializer=_start, initargs=self._setup)

    def run(self, tasks: Mapping[int, dict], started: Callable[[int], object]) -> Iterator[tuple[int, Any]]:
        """The number of each task with its result, in the order in which they are ready.

        tasks:   the keyword arguments of each evaluation, by number
        started: called with the number of a task when it starts
        raises:  WorkerDied if a task has cost DEATHS workers; whatever an evaluation raises
        """
        waiting, idle = deque(tasks), list(self._pools)
        running: dict[Future, tuple[ProcessPoolExecutor, int]] = {}
        ready: list[tuple[int, Any]] = []
        deaths: Counter[int] = Counter()
        while waiting or running or ready:
            while waiting and idle:
                pool, task = idle.pop(), waiting.popleft()
                try:
                    with _bare_main():
                        running[pool.submit(_evaluate, tasks[task])] = pool, task
                    started(task)
                except BrokenProcessPool:  # it died while it was idle
                    waiting.appendleft(task)
                    idle.append(self._replaced(pool))
            yield from ready  # only now: while results are kept, the workers are busy
            ready.clear()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                pool, task = running.pop(future)
                try:
                    ready.append((task, future.result()))
                except BrokenProcessPool:
                    deaths[task] += 1
                    if deaths[task] == DEATHS:
                        raise WorkerDied(task, tasks[task]) from None
                    waiting.appendleft(task)
                    idle.append(self._replaced(pool))
                else:
                    idle.append(pool)

    def _replaced(self, pool: ProcessPoolExecutor) -> ProcessPoolExecutor:
        self._pools[self._pools.index(pool)] = new = self._new()
        return new

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()
        for worker in multiprocessing.active_children():  # one that was stopped would be waited for without end
            worker.kill()
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _bare_main() -> Iterator[None]:
    """Hides the main module from a process that is spawned, and would import it: a stage, with all of Optuna."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class WorkerDied(Exception):
    """A task took DEATHS workers with it: its number and its arguments."""


_evaluation: Callable  # in a worker: what evaluates its tasks


def _start(lifeline: Connection, setup: bytes) -> None:
    global _evaluation
    # Ctrl-C reaches all processes of a terminal: the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # at once, also while an import keeps the thread from running
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    evaluation, arguments = pickle.loads(setup)
    try:
        _evaluation = evaluation(*arguments)
    except InputError as refused:
        _evaluation = partial(_refuse, refused)


def _evaluate(task: dict) -> Any:
    return timed(_evaluation, task)


def _refuse(refused: InputError, **_: Any) -> NoReturn:
    """What is wrong with the input of a worker is said by its parent."""
    raise refused


def timed(evaluation: Callable[..., dict], task: dict) -> dict:
    """The result, with the seconds that it took."""
    start = time.perf_counter()
    result = evaluation(**task)
    return result | {"seconds": round(time.perf_counter() - start, 3)}


def _end_with(lifeline: Connection) -> None:
    try:
        lifeline.recv()
    except EOFError:
        os._exit(1)

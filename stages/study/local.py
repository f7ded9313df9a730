"""Evaluates trials in parallel processes on this machine.

Not a local Dask cluster: it starts slowly, and its workers outlive a killed parent. Each worker is a separate pool, as
the death of a process breaks its pool.
"""

import ctypes
import functools
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from typing import Any

from stages.common.errors import InputError

DEATHS = 3  # a task that has killed so many workers is given up


def gave_up(number: int, task: dict) -> InputError:
    return InputError(f"trial {number} {task}: its worker died, and again when repeated; is there enough memory?")


class Workers(AbstractContextManager):
    """`count` processes, each with one task at a time; killed at the end of the context.

    evaluation: called once in every worker; returns the function that evaluates tasks
    """

    def __init__(self, count: int, evaluation: Callable[[], Callable]):
        # Pickled, so that a worker watches its parent before the imports for this, which take seconds.
        self._setup = pickle.dumps(evaluation)
        spawn = multiprocessing.get_context("spawn")
        self._pools = defaultdict[int, ProcessPoolExecutor](lambda: ProcessPoolExecutor(1, spawn, _begin))
        self._count = count

    def run(self, tasks: Mapping[int, dict], started: Callable[[int], object]) -> Iterator[tuple[int, Any]]:
        """The number and result of each task, as soon as it is ready.

        tasks:   keyword arguments of each evaluation, by number
        started: called with the number of a task when it starts
        raises:  InputError if a task has killed DEATHS workers; whatever an evaluation raises
        """
        waiting, idle, deaths = deque(tasks), list(range(self._count)), Counter[int]()
        running: dict[Future, tuple[int, int]] = {}
        ready: list[tuple[int, Any]] = []
        while waiting or running:
            while waiting and idle:
                number, worker = waiting.popleft(), idle.pop()
                running[self._submit(worker, tasks[number])] = number, worker
                started(number)
            yield from ready  # only now: workers are busy while the caller saves results
            ready.clear()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number, worker = running.pop(future)
                idle.append(worker)
                if not isinstance(future.exception(), BrokenProcessPool):
                    ready.append((number, future.result()))
                    continue
                deaths[number] += 1
                if deaths[number] == DEATHS:
                    raise gave_up(number, tasks[number])
                waiting.appendleft(number)
        yield from ready

    def _submit(self, worker: int, task: dict) -> Future:
        try:
            return self._pools[worker].submit(_evaluate, self._setup, task)
        except BrokenProcessPool:  # its process has died
            del self._pools[worker]
            return self._submit(worker, task)

    def __exit__(self, *_: object) -> None:
        for pool in self._pools.values():
            for process in list(pool._processes.values()):  # which may be paused, and then ignores SIGTERM
                process.kill()
                process.join()


def _begin() -> None:
    """Prepares a worker, which ends with its parent, even by SIGKILL."""
    # Ctrl-C reaches all processes of a terminal: the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # at once, even while an import blocks the thread
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    multiprocessing.parent_process().join()  # type: ignore[union-attr]
    os._exit(1)


@functools.cache
def _evaluation(setup: bytes) -> Callable[..., dict]:
    return pickle.loads(setup)()


def _evaluate(setup: bytes, task: dict) -> dict:
    return timed(_evaluation(setup), task)


def timed(evaluation: Callable[..., dict], task: dict) -> dict:
    """The result of an evaluation, with the seconds that it took."""
    start = time.perf_counter()
    result = evaluation(**task)
    return result | {"seconds": round(time.perf_counter() - start, 3)}

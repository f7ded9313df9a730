"""Processes of this machine that evaluate trials side by side.

Not a local Dask cluster: it starts slowly, and its workers outlive a parent that is killed. A worker that dies costs
its own trial only: so each is a pool of its own, as a pool is broken by the death of any of its processes.
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

DEATHS = 3  # a task that has taken this many workers with it is given up


def gave_up(number: int, task: dict) -> InputError:
    return InputError(f"trial {number} {task}: its worker died, and again when repeated; is there enough memory?")


class Workers(AbstractContextManager):
    """`count` processes, each with one task at a time; a context manager that leaves none behind.

    evaluation: called with `arguments` once in every worker, gives the function for its tasks
    """

    def __init__(self, count: int, evaluation: Callable[..., Callable], arguments: tuple):
        # Pickled, so that a worker watches its parent before it imports, for seconds, what that needs.
        self._setup = pickle.dumps(functools.partial(evaluation, *arguments))
        spawn = multiprocessing.get_context("spawn")
        self._pools = defaultdict[int, ProcessPoolExecutor](lambda: ProcessPoolExecutor(1, spawn, _begin))
        self._count = count

    def run(self, tasks: Mapping[int, dict], started: Callable[[int], object]) -> Iterator[tuple[int, Any]]:
        """The number of each task with its result, in the order in which they are ready.

        tasks:   arguments of each evaluation, by number
        started: called with the number of a task when it starts
        raises:  InputError if a task has cost DEATHS workers; whatever an evaluation raises
        """
        waiting, idle, deaths = deque(tasks), list(range(self._count)), Counter[int]()
        running: dict[Future, tuple[int, int]] = {}
        ready: list[tuple[int, Any]] = []
        while waiting or running:
            while waiting and idle:
                number, worker = waiting.popleft(), idle.pop()
                running[self._submit(worker, tasks[number])] = number, worker
                started(number)
            yield from ready  # only now: while results are kept, the workers are busy
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
        except BrokenProcessPool:  # it has died
            del self._pools[worker]
            return self._submit(worker, task)

    def __exit__(self, *_: object) -> None:
        for pool in self._pools.values():
            for process in list(pool._processes.values()):  # which may be stopped
                process.kill()
                process.join()


def _begin() -> None:
    """Readies a worker, which ends with its parent however that ends, SIGKILL included."""
    # Ctrl-C reaches all processes of a terminal: the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # at once, also while an import keeps the thread from running
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
    """The result, with the seconds that it took."""
    start = time.perf_counter()
    result = evaluation(**task)
    return result | {"seconds": round(time.perf_counter() - start, 3)}

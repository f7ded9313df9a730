"""Processes of this machine that evaluate trials side by side.

Not a local Dask cluster, which could be the same code as `cluster`: its scheduler costs seconds at every start, and its
workers outlive a parent that is killed. Here a worker dies with its parent, and one that dies costs its own trial only.
"""

import ctypes
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

DEATHS = 3  # a task that has taken this many workers with it is given up


class WorkerDied(Exception):
    """A task took DEATHS workers with it: its number and its arguments."""


class Workers(AbstractContextManager):
    """`count` processes, each with one task at a time; a context manager that leaves none of them behind.

    evaluation: called with `arguments` in every worker, once, gives the function that evaluates its tasks
    """

    def __init__(self, count: int, evaluation: Callable[..., Callable], arguments: tuple):
        # Pickled here, so that a worker watches its pipe before it imports what the evaluation needs, for seconds.
        self._setup = pickle.dumps((evaluation, arguments))
        self._workers: dict[Connection, BaseProcess] = {}
        for _ in range(count):
            self._new()

    def _new(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        connection, of_worker = context.Pipe()
        worker = context.Process(target=_work, args=(of_worker, self._setup))
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")  # else the worker imports it: a stage, with all of Optuna
        try:
            worker.start()
        finally:
            sys.modules["__main__"] = main
        of_worker.close()  # the worker alone has it now: its death closes the pipe
        self._workers[connection] = worker
        return connection

    def run(self, tasks: Mapping[int, dict], started: Callable[[int], object]) -> Iterator[tuple[int, Any]]:
        """The number of each task with its result, in the order in which they are ready.

        tasks:   the keyword arguments of each evaluation, by number
        started: called with the number of a task when it starts
        raises:  WorkerDied if a task has cost DEATHS workers; whatever an evaluation raises
        """
        waiting, idle = deque(tasks), list(self._workers)
        running: dict[Connection, int] = {}
        ready: list[tuple[int, Any]] = []
        deaths: Counter[int] = Counter()
        while waiting or running or ready:
            while waiting and idle:
                connection, task = idle.pop(), waiting.popleft()
                try:
                    connection.send(tasks[task])
                except OSError:  # it died while it was idle
                    waiting.appendleft(task)
                    idle.append(self._replaced(connection))
                else:
                    running[connection] = task
                    started(task)
            yield from ready  # only now: while results are kept, the workers are busy
            ready.clear()
            if running:
                wait(list(running))
            for connection in [each for each in running if each.poll()]:
                task = running.pop(connection)
                try:
                    result = connection.recv()
                except (EOFError, OSError):
                    deaths[task] += 1
                    if deaths[task] == DEATHS:
                        raise WorkerDied(task, tasks[task]) from None
                    waiting.appendleft(task)
                    idle.append(self._replaced(connection))
                else:
                    if isinstance(result, Exception):
                        raise result
                    ready.append((task, result))
                    idle.append(connection)

    def _replaced(self, connection: Connection) -> Connection:
        self._workers.pop(connection).join()
        return self._new()

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():  # one that was stopped would be waited for without end
            worker.kill()
            worker.join()


def _work(connection: Connection, setup: bytes) -> None:
    # Ctrl-C reaches all processes of a terminal: the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # at once, also while an import keeps the thread from running
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    tasks: queue.SimpleQueue[dict] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, tasks), daemon=True).start()
    evaluation = None
    while True:
        task = tasks.get()
        try:
            if evaluation is None:
                kind, arguments = pickle.loads(setup)
                evaluation = kind(*arguments)
            connection.send(timed(evaluation, task))
        except Exception as error:  # which the parent raises
            error.add_note(traceback.format_exc())
            connection.send(error)


def _receive(connection: Connection, tasks: queue.SimpleQueue) -> None:
    """Ends the worker when the pipe closes: by its parent, or by the system however that ends, SIGKILL included."""
    try:
        while True:
            tasks.put(connection.recv())
    except (EOFError, OSError):
        os._exit(1)


def timed(evaluation: Callable[..., dict], task: dict) -> dict:
    """The result, with the seconds that it took."""
    start = time.perf_counter()
    result = evaluation(**task)
    return result | {"seconds": round(time.perf_counter() - start, 3)}

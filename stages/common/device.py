"""Where a training runs: which device, of which kind, and that memory costs it no time. None of it changes a result."""

import ctypes
import platform
import re
from pathlib import Path

import torch

from stages.common.errors import InputError

GLIBC = platform.libc_ver()[0] == "glibc"


def prepare(name: str) -> torch.device:
    """The device of that name, ready for training runs in this process.

    name:   auto, cpu, cuda, cuda:N or mps
    raises: InputError if this machine has no such device
    """
    if GLIBC:
        # Let it keep the buffers of a step for the next one. By default it returns large buffers to the system at once,
        # and the page faults of getting them back take up to a fifth of a training step.
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # M_* in glibc's malloc.h
        for option, size in ((mmap_threshold, 2**30), (trim_threshold, 2**31 - 1), (top_pad, 2**28)):
            ctypes.CDLL(None).mallopt(option, size)
    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if name == "auto":
        name = next(kind for kind, count in counts.items() if count)
    device = torch.device(name)
    if (device.index or 0) >= counts[device.type]:
        found = f"this machine has {counts[device.type]} {device.type.upper()} devices"
        raise InputError(f"params.yaml: run.device = {name!r}: {found}; accepted: auto, cpu")
    return device


def release_memory() -> None:
    """Returns to the system what `prepare` lets the process keep, but is free: once a trial, that costs no time.

    Without it a process grows, over LeNet runs of differing seeds, to thrice what one needs, as what is kept of a
    training lies between the buffers that it freed.
    """
    if GLIBC:
        ctypes.CDLL(None).malloc_trim(0)


def describe(device: torch.device) -> str:
    """The kind of device: training runs on the same kind give the same bits."""
    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    capability = f" {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else ""
    info = Path("/proc/cpuinfo")
    named = re.search(r"^model name.*?:(.*)$", info.read_text(encoding="utf-8") if info.exists() else "", re.MULTILINE)
    processor = named[1].strip() if named else platform.processor() or platform.machine()
    return f"{device.type} {processor}{capability}"

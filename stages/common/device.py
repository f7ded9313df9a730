"""The device of a training run, and memory allocation. Nothing here changes a result."""

import ctypes
import platform
import re
from pathlib import Path

import torch

from stages.common.errors import InputError

GLIBC = platform.libc_ver()[0] == "glibc"


def prepare(name: str) -> torch.device:
    """The device named auto, cpu, cuda, cuda:N or mps; raises: InputError if this machine does not have it"""
    if GLIBC:
        # Keep freed buffers: to get large ones from the system again takes up to a fifth of a training step.
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
    """Returns freed memory to the system. Call it once per trial: otherwise a process grows to three times the memory
    of one run, as what is kept lies between freed buffers."""
    if GLIBC:
        ctypes.CDLL(None).malloc_trim(0)


def describe(device: torch.device) -> str:
    """The kind of device: the same kind gives the same bits."""
    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    capability = f" {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else ""
    info = Path("/proc/cpuinfo")
    named = re.search(r"^model name.*?:(.*)$", info.read_text(encoding="utf-8") if info.exists() else "", re.MULTILINE)
    processor = named[1].strip() if named else platform.processor() or platform.machine()
    return f"{device.type} {processor}{capability}"

"""Training that gives the same bits in every process."""

import os

import torch


def fix(threads: int) -> None:
    """Fixes all settings of this process that could change a bit of a result; threads: CPU threads"""
    # The number of threads decides how sums are split, and so how they are rounded.
    torch.set_num_threads(threads)
    # Not torch.use_deterministic_algorithms: it imports a compiler, 2 s and 200 MB for each process.
    # Warn, not raise: all kernels used here are deterministic on a CPU, but not on every device.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_deterministic_debug_mode("warn")
    # Not needed: all memory is written before it is read.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    # Full float32, as in the protocol, not the faster TF32.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    # In a dead network, the optimizer's averages become denormal: slow, and far below rounding errors.
    torch.set_flush_denormal(True)

"""What must be fixed in a process for the same training to give the same bits."""

import os

import torch


def fix(threads: int) -> None:
    """Fixes for this process what else could change a bit of a result."""
    # Another number of threads splits sums differently, and rounds differently.
    torch.set_num_threads(threads)
    # (Not torch.use_deterministic_algorithms, which imports a compiler: 2 s and 200 MB for each process.)
    # All kernels used here have a deterministic form on the CPU; where another device has none, warn rather than stop.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_deterministic_debug_mode("warn")
    # All memory is written before it is read.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    # float32 as the protocol says, also where a device offers less for speed.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    # The optimizer of a dead network divides its averages down to denormals: slow, and far below all rounding here.
    torch.set_flush_denormal(True)

"""`make touched`: what `dvc repro` runs again after a change of each kind, and how many trials it evaluates.

Seen in temporary clones of the project as it stands, with all its stages, on a slice of the data. A quarter of an hour
on two cores; the digits must be there.
"""

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from conftest import KINDS as TRIALS
from conftest import ROOT, Clone, bare_clone

from stages.common import mnist
from stages.common.errors import run_main


def added(path: str, line: str) -> Callable[[Clone], None]:
    def change(clone: Clone) -> None:
        (clone.folder / path).write_text(f"{clone.read(path)}{line}\n")

    return change


def setting(**values: object) -> Callable[[Clone], None]:
    return lambda clone: clone.set(**values)


KINDS: dict[str, Callable[[Clone], None]] = {
    "`README.md`": added("README.md", "More."),
    "`run.workers`": setting(run__workers=1),
    "`stages/settings/`": added("stages/settings/params.py", "# more"),
    "`stages/report.py`": added("stages/report.py", "# more"),
    "`look.width`": setting(look__width=6),
    "`norm.mean`": setting(norm__mean=0.0),
    "`rule.margin`": setting(rule__margin=0.003),
    "`studies.one_epoch.seeds`: one more": setting(studies__one_epoch__seeds=3),
    "`studies`: a new one, of two normalizations and two seeds": setting(
        studies__more={"trial": TRIALS["lenet"], "normalizations": ["standard", "none"], "seeds": 2}
        | {"train": {"batch_size": 256}}
    ),
    "`sweep.n_trials`: one more": setting(sweep__n_trials=7),
    "`stages/evidence/`": added("stages/evidence/paired.py", "# more"),
    "`stages/study/`": added("stages/study/runner.py", "# more"),
    "a comment in `stages/lenet/`": added("stages/lenet/training.py", "# more"),
    "a line in `stages/lenet/`": added("stages/lenet/training.py", "MORE = 1"),
    "a comment in `stages/vision/`": added("stages/vision/treatments.py", "# more"),
    "a line in `stages/vision/`": added("stages/vision/treatments.py", "MORE = 1"),
    "a comment in `stages/common/`": added("stages/common/normalization.py", "# more"),
    "a line in `stages/common/`": added("stages/common/normalization.py", "MORE = 1"),
    "`train.epochs`": setting(train__epochs=2),
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        finished = bare_clone(Path(folder) / "finished")
        finished.set(run__mnist=str(ROOT / mnist.FOLDER))
        total = evaluated(finished.dvc("repro"))
        finished.run("git", "add", ".")
        finished.run("git", "commit", "--quiet", "--message=The results")
        print(f"On a slice, whose studies have {total} trials:\n")
        print("| change | stages that run | trials evaluated |\n|---|---|---|", flush=True)
        for number, (kind, change) in enumerate(KINDS.items()):
            clone = finished.copy(Path(folder) / str(number))
            change(clone)
            output = clone.dvc("repro")
            print(f"| {kind} | {stages(output)} | {evaluated(output)} |", flush=True)


def stages(output: str) -> str:
    """Those that ran, the entries of a template as one with their number."""
    names = re.findall(r"^Running stage '([^'@]+)", output, re.MULTILINE)
    counts = Counter(names)
    return ", ".join(f"{name} ({count})" if count > 1 else name for name, count in sorted(counts.items())) or "none"


def evaluated(output: str) -> int:
    """The trials that studies lacked."""
    counts = re.findall(r"^\w+: (\d+)/(\d+) trials done", output, re.MULTILINE)
    return sum(int(total) - int(done) for done, total in counts)


if __name__ == "__main__":
    run_main(main)

"""`make touched`: which stages a change of each kind makes stale, and how many trials they would then evaluate.

Seen in a temporary clone of the project as it stands, with its results: `dvc status` names the stages that would run
first, `python tools/verify.py --dry` the trials that the studies lack. Nothing is trained. Two minutes.
"""

import json
import re
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from conftest import KINDS, ROOT, Clone, link_or_copy, set_params

from stages.common.errors import InputError, run_main

LENET = "stages/lenet/training.py"
NEW = {"trial": KINDS["lenet"], "normalizations": ["standard", "none"], "seeds": 2, "train": {"batch_size": 256}}
# Settings by their keys, or a file with the text that is replaced (none: added at the end) and the text in its place.
CHANGES: dict[str, dict[str, object] | tuple[str, str, str]] = {
    "`run.workers`": {"run.workers": 1},
    "`rule.margin`": {"rule.margin": 0.0031},
    "`rule.threshold`": {"rule.threshold": 0.41},
    "`look.dpi`": {"look.dpi": 81},
    "the title of a figure": {"figures.cells.title": "Other cells"},
    "`norm.mean`": {"norm.mean": 0.01},
    "`studies.one_epoch.seeds`: one more": {"studies.one_epoch.seeds": 65},
    "a new study of two normalizations and two seeds": {"studies.touched": NEW},
    "`sweep.n_trials`: one more": {"sweep.n_trials": 201},
    "`train.gamma`": {"train.gamma": 0.71},
    "`stages/settings/`": ("stages/settings/params.py", "", "MORE = 1\n"),
    "`stages/evidence/`": ("stages/evidence/paired.py", "", "MORE = 1\n"),
    "`stages/study/design.py`: the mean of points has three digits": (
        "stages/study/design.py",
        "Normalization.of(point.mean,",
        'Normalization.of(float(f"{point.mean:.3g}"),',
    ),
    f"a comment in `{LENET}`": (LENET, "", "# more\n"),
    f"a line in `{LENET}`": (LENET, "", "MORE = 1\n"),
    "a line in `stages/vision/treatments.py`": ("stages/vision/treatments.py", "", "MORE = 1\n"),
    "a line in `stages/common/normalization.py`": ("stages/common/normalization.py", "", "MORE = 1\n"),
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(Path(folder) / "project")
        left_out = shutil.ignore_patterns(".git", ".venv", "cache", "tmp", ".*_cache", "__pycache__", "dvc_plots")
        shutil.copytree(ROOT, clone.folder, symlinks=True, ignore=left_out, copy_function=link_or_copy)
        clone.run("git", "init", "--quiet")
        committed = clone.run("dvc", "commit", "--force", check=False)  # whatever was stale before
        if committed.returncode:
            raise InputError(f"touched: {committed.stdout.strip()}; `make repro` first")
        before = lacking(clone)
        print("| change | stages that are stale | trials to evaluate |\n|---|---|---|", flush=True)
        for name, change in CHANGES.items():
            path = clone.folder / (change[0] if isinstance(change, tuple) else "params.yaml")
            content = path.read_text(encoding="utf-8")
            if isinstance(change, tuple):
                _, old, new = change
                if old not in content:
                    raise InputError(f"touched: {path.name} has no {old!r} any more")
                path.write_text(content.replace(old, new, 1) if old else content + new, encoding="utf-8")
            else:
                set_params(clone.folder, change)
            stale = json.loads(clone.dvc("status", "--json"))
            trials = lacking(clone) - before if any(stage.startswith(("sweep", "trials@")) for stage in stale) else 0
            print(f"| {name} | {listed(list(stale))} | {trials} |", flush=True)
            path.write_text(content, encoding="utf-8")


def lacking(clone: Clone) -> int:
    """The trials that the studies lack."""
    table = clone.run(sys.executable, "tools/verify.py", "--dry", check=False).stdout
    return sum(
        int(total) - int(kept) for kept, total in re.findall(r"^\| \w+ \| (\d+) of (\d+) \|", table, re.MULTILINE)
    )


def listed(stages: list[str]) -> str:
    """Their names, the entries of a template as one with their number."""
    counts = Counter(stage.partition("@")[0] for stage in stages)
    return ", ".join(f"{name} ({count})" if count > 1 else name for name, count in sorted(counts.items())) or "none"


if __name__ == "__main__":
    run_main(main)

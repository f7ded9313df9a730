"""`make carry`: lets studies keep their trials where their code has changed and its results have not.

A study whose fingerprint differs from the code's in the code alone is carried over if the code that it was made with,
taken from git, and the code of today give the same results, bit for bit, on this machine: for a trial that learned, one
that died and another one, on few images, and for one trial on all images, of at most two epochs. Its file then has the
new fingerprint and a list, `carried`: the fingerprint before, the commit that it was taken from, the trials and the
device. Otherwise the line says which trial differs, and the file stays as it was. Old and new are compared with each
other, not with the kept results, so the kind of processor that made a study does not matter.
"""

import argparse
import functools
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

sys.path.insert(0, str(Path(__file__).parents[1]))
from verify import planned, with_study

from stages.common import device, files
from stages.common.errors import InputError, run_main
from stages.settings import params
from stages.settings.params import Params
from stages.study import store
from stages.study.fingerprint import CODE, Trial, fingerprint

ROOT = Path(__file__).parents[1]
FEW = {"train_images": 1280, "test_images": 500}  # of MNIST, in trials with all of their epochs
EPOCHS = 2  # at most, of the trial on all images: 14 take half an hour, and the others have all of theirs

# Run in a folder with `stages` and params.yaml, old or new: prints a result for each task that it reads.
EVALUATE = """
import json, sys
from pathlib import Path
from pkgutil import resolve_name
name, root, few = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
from stages.settings import params
settings = params.load()
if few:
    settings = settings.model_copy(update={"data": settings.data.model_copy(update=few)})
trial = resolve_name(name)(settings, root)
for line in sys.stdin:
    print(json.dumps(trial(**json.loads(line))), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", help="names of studies; all by default")
    parser.add_argument("--few", action="store_true", help="no trial on all images: quick, and not enough for a commit")
    given, settings = parser.parse_args(), params.load()
    ended = [
        carried(name, entry, settings, given.few)
        for name, entry in with_study(settings)
        if not given.studies or (entry or [name])[0] in given.studies
    ]
    sys.exit(not all(ended))


def carried(stage: str, entry: list[str], settings: Params, few: bool) -> bool:
    """Carries a study over if it needs to be and can be; prints a line, and says whether it now fits the code."""
    name, plan, trial = planned(stage, entry, settings)
    path = store.FOLDER / f"{name}.sqlite3"
    if not path.exists():
        print(f"{name}: no study is kept")
        return True
    with store.hold(path):
        loaded = store.load(path, name)
        kept, now = store.fingerprint_of(loaded.study), fingerprint(settings, plan.determinants(), trial)
        changed = [key for key in now.keys() | kept.keys() if now.get(key) != kept.get(key)]
        if changed != [CODE]:
            print(f"{name}: {', '.join(changed) + ' changed: not carried' if changed else 'fits the code'}", flush=True)
            return not changed
        with tempfile.TemporaryDirectory() as old:
            commit = checked_out(kept[CODE], trial.__module__, Path(old))
            if commit is None:
                print(f"{name}: no commit has the code that it was made with: not carried", flush=True)
                return False
            trial.check(settings)
            trials, evaluated = [each for each in loaded.study.trials if store.has_result(each)], []
            for sample, images in ((sampled(trials), FEW), ([] if few else [quickest(trials)], {})):
                tasks = [plan.fixed | each.params for each in sample]
                results = evaluate(trial, tasks, images, [Path(old), ROOT])
                for each, (before, after) in zip(sample, results, strict=True):
                    if before != after:
                        other = min(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
                        print(f"{name}: trial {each.number} differs in {other}: not carried", flush=True)
                        return False
                    evaluated.append(each.number)
        note = {"from": kept[CODE], "commit": commit, "trials": evaluated, "few": FEW, "epochs": EPOCHS}
        note["device"] = device.describe(device.prepare(settings.run.device))
        store.carry(loaded.study, now, note)
        files.write_bytes(path, loaded.database.serialize())
    print(f"{name}: carried over from {commit[:8]}: trials {', '.join(map(str, evaluated))} are the same", flush=True)
    return True


def sampled(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """One that learned, one that died, and the last one, as far as there are such."""
    learned = [each for each in trials if (each.value or 0) > 0.5]
    died = [each for each in trials if (each.value or 0) <= 0.5]
    return list({each.number: each for each in (*learned[:1], *died[:1], trials[-1])}.values())


def quickest(trials: Sequence[FrozenTrial]) -> FrozenTrial:
    """Of those that learned, if any did, the one that took the least time."""
    learned = [each for each in trials if (each.value or 0) > 0.5] or list(trials)
    return min(learned, key=lambda each: each.params.get("epochs", 1) * each.params.get("train_images", 1))


def evaluate(
    trial: type[Trial], tasks: Sequence[dict[str, Any]], few: dict[str, int], trees: Sequence[Path]
) -> Iterator[list[dict]]:
    """The results of each task by the code in each of the trees, which are run side by side."""
    if few:
        tasks = [task | {"train_images": FEW["train_images"]} if "train_images" in task else task for task in tasks]
    else:
        tasks = [task | {"epochs": min(EPOCHS, task["epochs"])} if "epochs" in task else task for task in tasks]
    command = [sys.executable, "-c", EVALUATE, f"{trial.__module__}:{trial.__name__}", str(ROOT), json.dumps(few)]
    running = [subprocess.Popen(command, cwd=tree, stdin=-1, stdout=-1, text=True) for tree in trees]
    for each in running:
        assert each.stdin
        each.stdin.write("".join(f"{json.dumps(task)}\n" for task in tasks))
        each.stdin.close()
    results = [[json.loads(line) for line in each.stdout or ()] for each in running]
    if any(each.wait() for each in running):
        raise InputError("carry: a trial cannot be evaluated: see above")
    return map(list, zip(*results, strict=True))


def checked_out(digest: str, module: str, folder: Path) -> str | None:
    """The newest commit whose code of a trial has that digest; leaves its stages and params.yaml in `folder`."""
    commits = subprocess.run(["git", "log", "--format=%H", "--", "stages"], capture_output=True, text=True, check=True)
    for commit in commits.stdout.split():
        if digest_at(commit, module) == digest:
            unpack(commit, folder)
            return commit
    return None


@functools.cache
def digest_at(commit: str, module: str) -> str:
    """The digest of a trial's code in a commit; empty if it has no such module."""
    words = [sys.executable, "-c", f"from stages.study import meaning; print(meaning.digest({module!r}))"]
    with tempfile.TemporaryDirectory() as folder:
        unpack(commit, Path(folder))
        return subprocess.run(words, cwd=folder, capture_output=True, text=True).stdout.strip()


def unpack(commit: str, folder: Path) -> None:
    archive = subprocess.run(["git", "archive", commit, "stages", "params.yaml"], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")


if __name__ == "__main__":
    run_main(main)

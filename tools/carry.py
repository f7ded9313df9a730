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
from verify import studies

from stages.common import device
from stages.common.errors import InputError, run_main
from stages.settings import params
from stages.settings.params import Network, Params
from stages.study import store
from stages.study.fingerprint import CODE, Trial, fingerprint
from stages.study.proposals import Plan

ROOT = Path(__file__).parents[1]
FEW = {"train_images": 1280, "test_images": 500}  # of MNIST, in trials with all of their epochs
CARRIED = "carried"  # user attribute of a study: how its results were shown to be the same, and by what
EPOCHS = 2  # at most, of the trial on all images: 14 take half an hour, and the others have all of theirs

# Run in a folder with `stages` and params.yaml, old or new: prints a result for each task that it reads.
EVALUATE = """
import json, sys
from pathlib import Path
from pkgutil import resolve_name
name, root, updates = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
from stages.settings import params
settings = params.load()
sections = {key: getattr(settings, key).model_copy(update=values) for key, values in updates.items()}
settings = settings.model_copy(update=sections)
trial = resolve_name(name)(settings, root)
for line in sys.stdin:
    print(json.dumps(trial(**json.loads(line))), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", help="names of studies; all by default")
    parser.add_argument("--few", action="store_true", help="no trial on all images: quick, and not enough for a commit")
    given, settings = parser.parse_args(), params.load()
    chosen = [study for study in studies(settings) if not given.studies or study[0] in given.studies]
    published = {name for name, study in settings.studies.items() if study.trial.settings == "imagenet"}
    ended = []
    for name, plan, trial in chosen:
        few = given.few or name in published  # whose trials are on all of their images anyway
        fits, said = carried(name, plan, trial, settings.for_study(name), few)
        print(f"{name}: {said}", flush=True)
        ended.append(fits)
    sys.exit(not all(ended))


def carried(name: str, plan: Plan, trial: type[Trial], settings: Params, few: bool) -> tuple[bool, str]:
    """Carries a study over if it needs to be and can be; whether it now fits the code, and what was done."""
    path = store.path_of(name)
    if not path.exists():
        return True, "no study is kept"
    with store.hold(path), tempfile.TemporaryDirectory() as old:
        file = store.load(path)
        kept, now = store.fingerprint_of(file.study), fingerprint(settings, plan.determinants, trial)
        changed = differing(kept, now)
        if changed != [CODE]:
            return not changed, f"{', '.join(changed)} changed: not carried" if changed else "fits the code"
        commit = checked_out(kept[CODE], trial.__module__, Path(old))
        if commit is None:
            return False, "no commit has the code that it was made with: not carried"
        trial.check(settings)
        trials, evaluated = [each for each in file.study.trials if store.has_result(each)], []
        for sample, images in ((sampled(trials), FEW), ([] if few else [quickest(trials)], {})):
            network = settings.imagenet.model_dump(include=set(Network.model_fields))
            tasks, updates = [plan.fixed | each.params for each in sample], {"data": images, "imagenet": network}
            results = evaluate(trial, tasks, updates, [Path(old), ROOT])
            for each, (before, after) in zip(sample, results, strict=True):
                if other := differing(before, after):
                    return False, f"trial {each.number} differs in {other[0]}: not carried"
                evaluated.append(each.number)
        note = {"from": kept[CODE], "commit": commit, "trials": evaluated, "few": FEW, "epochs": EPOCHS}
        note["device"] = device.describe(device.prepare(settings.run.device))
        file.study.set_user_attr(CARRIED, [*file.study.user_attrs.get(CARRIED, []), note])
        store.set_fingerprint(file.study, now)
        file.write()
    return True, f"carried over from {commit[:8]}: trials {', '.join(map(str, evaluated))} are the same"


def differing(before: dict, after: dict) -> list[str]:
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def learned(trial: FrozenTrial) -> bool:
    return (trial.value or 0) > 0.5


def sampled(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """One that learned, one that died, and the last one, as far as there are such."""
    first = {learned(each): each for each in reversed(trials)}
    return list({each.number: each for each in (*first.values(), trials[-1])}.values())


def quickest(trials: Sequence[FrozenTrial]) -> FrozenTrial:
    """Of those that learned, if any did, the one that took the least time."""
    able = list(filter(learned, trials)) or trials
    return min(able, key=lambda each: each.params.get("epochs", 1) * each.params.get("train_images", 1))


def evaluate(
    trial: type[Trial], tasks: Sequence[dict[str, Any]], updates: dict[str, dict], trees: Sequence[Path]
) -> Iterator[list[dict]]:
    """The results of each task by the code in each of the trees, which are run side by side.

    updates: of the settings, by section
    """
    if updates["data"]:
        tasks = [task | {"train_images": FEW["train_images"]} if "train_images" in task else task for task in tasks]
    else:
        tasks = [task | {"epochs": min(EPOCHS, task["epochs"])} if "epochs" in task else task for task in tasks]
    command = [sys.executable, "-c", EVALUATE, f"{trial.__module__}:{trial.__name__}", str(ROOT), json.dumps(updates)]
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
    commit = next((commit for commit in commits.stdout.split() if digest_at(commit, module) == digest), None)
    if commit:
        unpack(commit, folder)
    return commit


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

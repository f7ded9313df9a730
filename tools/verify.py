"""`make verify`: all studies that are there, held against the code, and one trial of each evaluated again.

A study is printed with the number of its trials that the settings ask for, the minutes that they took (of one core
each), whether its fingerprint is that of the code, the settings and the data, and whether a trial drawn by chance has
the same result again, bit for bit. Another kind of processor rounds differently: where a study has no trial of this
one, and the trial ends otherwise, the accuracies there and here are printed, to be judged by the reader. No result is
written. Status 1 unless every study holds. A trial whose data is not there (photographs, without internet) is left
out, and said so.
"""

import argparse
import contextlib
import random
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from unittest import mock

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from stages.__main__ import SECTIONS
from stages.common.device import describe, prepare
from stages.common.errors import InputError, run_main
from stages.settings import params
from stages.settings.params import Params
from stages.study import runner, store
from stages.study.fingerprint import Trial, fingerprint


class Planned(Exception):
    """Ends a stage where it would run its study."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the choice of trials; another one tries others")
    parser.add_argument("--dry", action="store_true", help="evaluate nothing")
    given, settings = parser.parse_args(), params.load()
    chance = None if given.dry else random.Random(given.seed)
    print("| study | trials | fingerprint | core minutes | evaluated again | result |\n|---|---|---|---|---|---|")
    held = [verified(stage, entry, settings, chance) for stage, entry in with_study(settings)]
    sys.exit(not all(held))


def with_study(settings: Params) -> Iterator[tuple[str, list[str]]]:
    """The stages of dvc.yaml that keep a study, each with the entry that it is run for."""
    for name, stage in yaml.safe_load(Path("dvc.yaml").read_text())["stages"].items():
        if "data/studies" in str(stage):
            entries = [[entry] for entry in getattr(settings, SECTIONS[name])] if name in SECTIONS else [[]]
            yield from ((name, entry) for entry in entries)


def verified(stage: str, entry: list[str], settings: Params, chance: random.Random | None) -> bool:
    """Prints the line of a study, and says whether it holds; chance: draws the trial, None for none."""
    name, plan, trial = planned(stage, entry, settings)
    try:
        determinants = fingerprint(settings, plan.determinants(), trial)
    except FileNotFoundError as error:  # a model that another stage trains
        print(f"| {name} | | | | not here: {error.filename} | |", flush=True)
        return False
    study = store.StudyFile(determinants, store.FOLDER / f"{name}.sqlite3").study
    plan.check(study)
    trials = plan.trials(study)
    kept = [each for each in trials if store.has_result(each)]
    minutes = sum(each.user_attrs.get(store.SECONDS, 0) for each in kept) / 60
    line = f"| {name} | {len(kept)} of {plan.total} | {'same' if kept else 'OTHER'} | {minutes:.0f} |"
    if not kept or chance is None:
        print(f"{line} | |", flush=True)
        return len(kept) == plan.total
    here = describe(prepare(settings.run.device))
    again = chance.choice([each for each in kept if each.user_attrs["device"] == here] or kept)
    there = again.user_attrs["device"]
    print(f"{line} trial {again.number}{f', of {there}' if there != here else ''} |", end=" ", flush=True)
    try:
        trial.check(settings)
    except InputError as error:
        print(f"not here: {error} |", flush=True)
        return len(kept) == plan.total
    with runner.executor(settings, 1, trial) as workers:
        ((_, result),) = workers.run({again.number: plan.fixed | again.params}, lambda _: None)
    result.pop(store.SECONDS, None)
    (before,) = store.results([again])
    other = [key for key in (before.keys() | result.keys()) - {"device"} if before.get(key) != result.get(key)]
    if other and there != here:
        print(f"accuracy {before['accuracy']:.4f} there, {result['accuracy']:.4f} here |", flush=True)
        return len(kept) == plan.total
    print(f"{f'OTHER: {min(other)}' if other else 'the same'} |", flush=True)
    return len(kept) == plan.total and not other


def planned(stage: str, entry: list[str], settings: Params) -> tuple[str, runner.Plan, type[Trial]]:
    """What the stage asks `runner.run` for."""
    with mock.patch.object(runner, "run", side_effect=Planned) as run, contextlib.suppress(Planned):
        import_module(f"stages.{stage}").main(settings, *entry)
    name, _, plan, trial = run.call_args.args
    return name, plan, trial


if __name__ == "__main__":
    run_main(main)

"""`make verify`: all studies that are there, held against the code, and one trial of each evaluated again.

A study is printed with the number of its trials that the settings ask for, the minutes that they took (of one core
each), whether its fingerprint is that of the code, the settings and the data, and whether a trial drawn by chance has
the same result again, bit for bit. Nothing is written. Status 1 unless every study holds; a trial whose data cannot be
had here (photographs, without internet) is left out, and said so.
"""

import argparse
import random
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from stages.__main__ import SECTIONS
from stages.settings import params
from stages.settings.params import InputError, Params
from stages.study import runner, store
from stages.study.fingerprint import Trial, fingerprint

OF_ONE = ("sweep", "resnet_treatments", "resnet_scratch", "imagenet", "imagenet_treatments", "imagenet_sweep")
STAGES = (*OF_ONE, "imagenet_channels")  # besides those of entries, which have a study too


class Planned(Exception):
    """Ends a stage where it would run its study."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the choice of trials; another one tries others")
    chance = random.Random(parser.parse_args().seed)
    settings = params.load()
    entries = [(stage, [entry]) for stage, section in SECTIONS.items() for entry in getattr(settings, section)]
    print("| study | trials | fingerprint | core minutes | evaluated again | result |\n|---|---|---|---|---|---|")
    held = [verified(stage, entry, settings, chance) for stage, entry in [*((name, []) for name in STAGES), *entries]]
    sys.exit(not all(held))


def verified(stage: str, entry: list[str], settings: Params, chance: random.Random) -> bool:
    name, plan, trial = planned(stage, entry, settings)
    study = store.StudyFile(fingerprint(settings, plan.determinants(), trial), store.FOLDER / f"{name}.sqlite3").study
    plan.check(study)
    trials = plan.trials(study)
    kept = [each for each in trials if store.has_result(each)]
    minutes = sum(each.user_attrs.get(store.SECONDS, 0) for each in kept) / 60
    told = f"| {name} | {len(kept)} of {plan.total} | {'same' if kept else 'OTHER'} | {minutes:.0f} |"
    if not kept:
        print(f"{told} | |", flush=True)
        return False
    again = chance.choice(kept)
    print(f"{told} trial {again.number} |", end=" ", flush=True)
    try:
        trial.check(settings)
    except InputError as error:
        print(f"not here: {error} |", flush=True)
        return len(kept) == plan.total
    with runner.executor(settings, 1, trial) as workers:
        ((_, result),) = workers.run({again.number: plan.fixed | again.params}, lambda _: None)
    result.pop(store.SECONDS, None)
    (before,) = store.results([again])
    other = [key for key in before.keys() | result.keys() if before.get(key) != result.get(key)]
    print(f"{f'OTHER: {min(other)}' if other else 'the same'} |", flush=True)
    return len(kept) == plan.total and not other


def planned(stage: str, entry: list[str], settings: Params) -> tuple[str, runner.Plan, type[Trial]]:
    """What the stage asks `runner.run` for."""

    def run(name: str, _: Params, plan: runner.Plan, trial: type[Trial]) -> None:
        raise Planned(name, plan, trial)

    original, runner.run = runner.run, run  # type: ignore[assignment]
    try:
        import_module(f"stages.{stage}").main(settings, *entry)
    except Planned as reached:
        name, plan, trial = reached.args
        return name, plan, trial
    finally:
        runner.run = original
    raise AssertionError(f"{stage} has no study")


if __name__ == "__main__":
    main()

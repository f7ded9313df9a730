"""`make verify`: all studies that are there, held against the code, and one trial of each evaluated again.

A study is printed with the number of its trials that the settings ask for, the minutes that they took (of one core
each), whether its fingerprint is that of the code, the settings and the data, and whether a trial drawn by chance has
the same result again, bit for bit. Another kind of processor rounds differently: where a study has no trial of this
one, and the trial ends otherwise, the accuracies there and here are printed, to be judged by the reader. No result is
written. Status 1 unless every study holds. A trial whose data is not there (photographs, without internet) is left
out, and said so.
"""

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from stages.common.device import describe, prepare
from stages.common.errors import InputError, run_main
from stages.settings import params
from stages.settings.params import Params
from stages.study import runner, store
from stages.study.fingerprint import Trial, fingerprint
from stages.study.proposals import Plan, planned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the choice of trials; another one tries others")
    parser.add_argument("--dry", action="store_true", help="evaluate nothing")
    given, settings = parser.parse_args(), params.load()
    chance = None if given.dry else random.Random(given.seed)
    print("| study | trials | fingerprint | core minutes | evaluated again | result |\n|---|---|---|---|---|---|")
    held = [verified(name, plan, trial, settings.for_study(name), chance) for name, plan, trial in studies(settings)]
    sys.exit(not all(held))


def studies(settings: Params) -> Iterator[tuple[str, Plan, type[Trial]]]:
    """Each study, with its trials."""
    for name in settings.studies:
        yield name, *planned(settings.for_study(name), name)


def verified(name: str, plan: Plan, trial: type[Trial], settings: Params, chance: random.Random | None) -> bool:
    """Prints the line of a study, and says whether it holds; chance: draws the trial, None for none."""
    path, kept = store.path_of(name), []
    try:
        determinants = fingerprint(settings, plan.determinants, trial)
    except FileNotFoundError as error:  # a model that another stage trains
        print(f"| {name} | | | | not here: {error.filename} | |", flush=True)
        return False
    if path.exists() and store.fingerprint_of(study := store.load(path).study) == determinants:
        next(plan.batches(study), None)  # refuses other trials
        kept = [each for each in plan.trials(study) if store.has_result(each)]
    minutes = sum(each.user_attrs.get(store.SECONDS, 0) for each in kept) / 60
    line = f"| {name} | {len(kept)} of {plan.total} | {'same' if kept else 'OTHER'} | {minutes:.0f} |"
    whole = len(kept) == plan.total
    if not kept or chance is None:
        print(f"{line} | |", flush=True)
        return whole
    here = describe(prepare(settings.run.device))
    again = chance.choice([each for each in kept if each.user_attrs["device"] == here] or kept)
    there = again.user_attrs["device"]
    print(f"{line} trial {again.number}{f', of {there}' if there != here else ''} |", end=" ", flush=True)
    try:
        trial.check(settings)
    except InputError as error:
        print(f"not here: {error} |", flush=True)
        return whole
    with runner.executor(settings, 1, trial) as workers:
        ((_, result),) = workers.run({again.number: plan.fixed | again.params}, lambda _: None)
    (before,) = store.results([again])
    compared = (before.keys() | result.keys()) - {"device", store.SECONDS}
    other = [key for key in compared if before.get(key) != result.get(key)]
    if other and there != here:
        print(f"accuracy {before['accuracy']:.4f} there, {result['accuracy']:.4f} here |", flush=True)
        return whole
    print(f"{f'OTHER: {min(other)}' if other else 'the same'} |", flush=True)
    return whole and not other


if __name__ == "__main__":
    run_main(main)

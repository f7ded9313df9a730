"""Stage `follow_up`: trials of the sweep once more with something changed, as `python -m stages follow_up NAME`.

With `start: standard`, for example: a trial dies under PyTorch's initial weights. Are its numbers to blame, or only
where they make the training start? The standard network's initial weights are folded into the trial's normalization: at
the start, both are the same function of the pixels (see `folding`). All else that the numbers do to the training still
happens.
"""

from pathlib import Path

from stages.common import files
from stages.evidence import tables
from stages.evidence.follow_up import points, select, summary
from stages.lenet.trial import LenetTrial
from stages.settings.params import Params
from stages.study import runner, store
from stages.study.proposals import Points


def main(settings: Params, name: str) -> None:
    """Writes metrics/{name}.json and plots/{name}.csv: there each trial as it was in the sweep, then its follow-ups."""
    follow_up, threshold = settings.follow_ups[name], settings.region.threshold
    table = tables.read(Path("plots/sweep.csv"))
    rows = select(table, follow_up.trials, threshold, settings.normalizations["standard"].mean[0])
    plan = points(rows, follow_up, settings)
    results = store.results(runner.run(name, settings, Points(plan), LenetTrial))

    silent = [column for column in table[0] if "_silent_" in column]
    columns, figures = ["number", *settings.sweep.space.axes()], ["accuracy", *silent]
    sweep_seed, lines = settings.told(settings.sweep.train)["seed"], []
    for index, row in enumerate(rows):
        trial = [row[column] for column in columns]
        lines.append([*trial, "sweep", sweep_seed, *(row[figure] for figure in figures)])
        seeds = slice(index * follow_up.seeds, (index + 1) * follow_up.seeds)
        for told, result in zip(plan[seeds], results[seeds], strict=True):
            lines.append([*trial, "follow_up", told["seed"], *(result[figure] for figure in figures)])
    files.write_csv(Path(f"plots/{name}.csv"), [*columns, "evaluation", "seed", *figures], lines)
    metrics = summary(rows, results, silent, threshold, settings.rule.confidence)
    files.write_json(Path(f"metrics/{name}.json"), metrics)
    print(f"{name}: {metrics['learned']} of {metrics['evaluations']} trials learned")

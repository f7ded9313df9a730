"""Stage `sweep`: the Optuna study of test accuracy over (mean, std)."""

from stages.lenet.trial import LenetTrial
from stages.settings.params import SWEEP, Params
from stages.study import design, runner
from stages.study.proposals import Search


def main(settings: Params) -> None:
    search = Search(settings.sweep, design.fixed(settings, settings.sweep))
    runner.run_search(SWEEP, settings, search, LenetTrial)

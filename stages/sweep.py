"""Stage `sweep`: searches (mean, std) for the best test accuracy of LeNet, with Optuna."""

from stages.settings.params import SWEEP, Params
from stages.study import proposals, runner


def main(settings: Params) -> None:
    runner.run(SWEEP, settings, *proposals.planned(settings, SWEEP))

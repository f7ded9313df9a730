"""Stage `sweep`: searches (mean, std) for the best test accuracy, with Optuna."""

from stages.lenet.trial import LenetTrial
from stages.settings.params import SWEEP, Params
from stages.study import design, runner
from stages.study.proposals import Plan, Search


def main(settings: Params) -> None:
    runner.run(SWEEP, settings, *planned(settings))


def planned(settings: Params) -> tuple[Plan, type]:
    """The plan of the trials, and the class that evaluates them."""
    return Search(settings.sweep, design.trial_parameters(settings, settings.sweep.train)), LenetTrial

"""Stage `sweep`: the Optuna study of test accuracy over (mean, std)."""

from stages.evidence.search import run_search
from stages.lenet.trial import LenetTrial
from stages.settings.params import Params


def main(settings: Params) -> None:
    run_search("sweep", settings, settings.sweep, LenetTrial, settings.fixed(settings.sweep))

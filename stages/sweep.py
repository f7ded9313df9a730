"""Stage `sweep`: the Optuna study of test accuracy over (mean, std)."""

from stages.evidence.search import run_search
from stages.lenet.trial import LenetTrial
from stages.settings import params

if __name__ == "__main__":
    settings = params.load()
    run_search("sweep", settings, settings.sweep, LenetTrial, settings.fixed(settings.sweep))

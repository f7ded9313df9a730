"""Stage `sweep`: the Optuna study of test accuracy over (mean, std)."""

from stages import params, search
from stages.evaluation import Evaluation

if __name__ == "__main__":
    settings = params.load()
    search.report("sweep", settings, settings.sweep, Evaluation)

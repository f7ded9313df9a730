"""Stage `replicates`: the normalizations of params.yaml compared over seeds."""

from stages import pairs, params
from stages.evaluation import Evaluation

if __name__ == "__main__":
    settings = params.load()
    normalizations = {
        name: norm.model_dump() | {"epochs": settings.train.epochs}
        for name, norm in settings.replicates.normalizations.items()
    }
    first = settings.train.seed
    pairs.report("replicates", settings, normalizations, range(first, first + settings.replicates.seeds), Evaluation)

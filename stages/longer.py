"""Stage `longer`: does the comparison change when trainings are longer?"""

from stages import pairs, params
from stages.evaluation import Evaluation

if __name__ == "__main__":
    settings = params.load()
    normalizations = {
        name: settings.replicates.normalizations[name].model_dump() | {"epochs": settings.longer.epochs}
        for name in settings.longer.normalizations
    }
    first = settings.train.seed
    pairs.report("longer", settings, normalizations, range(first, first + settings.longer.seeds), Evaluation)

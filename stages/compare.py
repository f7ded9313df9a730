"""Stage `compare`: the comparison of that name in params.yaml, as `python -m stages.compare NAME`."""

import sys

from stages.evidence.seeds import compare_over_seeds
from stages.lenet.trial import LenetTrial
from stages.settings import params

if __name__ == "__main__":
    name = params.entry("comparisons", " ".join(sys.argv[1:]))
    settings = params.load()
    comparison = settings.comparisons[name]
    points = settings.points(comparison)
    compare_over_seeds(name, settings, points, comparison.seeds, LenetTrial, comparison.reference)

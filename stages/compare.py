"""Stage `compare`: the comparison of that name in params.yaml, as `python -m stages compare NAME`."""

from stages.evidence.seeds import compare_over_seeds
from stages.lenet.trial import LenetTrial
from stages.settings.params import Params


def main(settings: Params, name: str) -> None:
    comparison = settings.comparisons[name]
    points = settings.points(comparison)
    seeds = {point: comparison.seeds_of(point) for point in points}
    compare_over_seeds(name, settings, points, seeds, LenetTrial, comparison.reference)

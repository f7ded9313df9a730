"""Stage `trials`: `python -m stages trials NAME` runs a study of params.yaml and writes its table, nothing else."""

from stages.settings.params import Params
from stages.study import proposals, runner


def main(settings: Params, name: str) -> None:
    settings = settings.for_study(name)
    runner.run(name, settings, *proposals.planned(settings, name))

"""Which trials a study has: points over seeds, or a search.

What params.yaml means for trials is decided here, where DVC sees a change, not in `settings`.
"""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

from stages.common.normalization import Normalization
from stages.settings.params import ALL_IMAGES, OWN, Overrides, Parameters, Params, Point, Study


class Planned(NamedTuple):
    """A trial: the name of the point that it is at, and its parameters."""

    point: str
    parameters: Parameters


def trial_parameters(settings: Params, *overrides: Overrides) -> Parameters:
    """All parameters of a trial of LeNet except its normalization: `train` and `data`, with overrides in turn.

    What has no effect is left out, so that trials that are the same have the same parameters.
    """
    parameters: dict[str, Any] = {"train_images": settings.data.train_images}
    parameters |= settings.train.model_dump(exclude={"threads"})
    for each in overrides:
        parameters |= each.model_dump(exclude_none=True, include=set(Overrides.model_fields))
    if isinstance(parameters["lr"], dict):
        parameters["lr"] = parameters["lr"][parameters["optimizer"]]
    if parameters["optimizer"] != "sgd":
        del parameters["momentum"]
    if "held_out" in parameters:  # never among the images that train
        parameters["train_images"] = min(parameters["train_images"], ALL_IMAGES - parameters["held_out"])
    if (start := parameters.pop("start", None)) is not None:
        of_start = settings.normalizations[start].parameters()
        parameters |= {f"start_{name}": number for name, number in of_start.items()}
    return parameters


def fixed(settings: Params, study: Study) -> Parameters:
    """The parameters that all trials of a search share, except those of its space."""
    if study.of_lenet:
        return trial_parameters(settings, study.train)
    return {"treated": len(study.treatments)} if study.treatments else {}


def points(
    settings: Params, study: Study, own: Normalization | None = None, treatments: int = 0
) -> dict[str, Parameters]:
    """The parameters of the trials at each point, by its name, with the first seed.

    own:        the normalization of the network that is treated
    treatments: how many are tried where the study does not say
    """
    if not study.has_points:
        return {OWN: {OWN: 1}}  # a network under its own normalization, which the trial knows

    def parameters(name: str, point: Point) -> Parameters:
        if point.mean is not None:
            norm = Normalization.of(point.mean, point.std)  # type: ignore[arg-type]
        else:
            named = point.normalization or name
            norm = own if named == OWN and own else settings.normalizations[named]
        if study.of_lenet:
            return norm.parameters() | trial_parameters(settings, study.train, point)
        if study.seeds is None:
            return norm.parameters() | {"treated": treatments} | fixed(settings, study)
        extra = point.model_dump(exclude_none=True, include={"border", "recalibrated"})
        return norm.parameters() | extra | {"seed": settings.resnet.seed}

    given = dict.fromkeys(study.normalizations, Point()) | study.points
    named = {name: parameters(name, point) for name, point in given.items()}
    axes = study.grid.model_dump(exclude_none=True) if study.grid else {}
    for values in itertools.product(*axes.values()) if axes else ():
        cell = dict(zip(axes, values, strict=True))
        if (of_cell := parameters("", Point(**cell))) not in named.values():  # else it has a name already
            # All digits: two values never have one name.
            named[", ".join(f"{axis} {str(value).removesuffix('.0')}" for axis, value in cell.items())] = of_cell
    return named


def over_seeds(study: Study, of: Mapping[str, Parameters]) -> list[Planned]:
    """The trials at points: seed by seed, in each the points that have so many."""
    if study.seeds is None:
        return [Planned(name, parameters) for name, parameters in of.items()]
    fewer = {name: point.seeds for name, point in study.points.items() if point.seeds}
    return [
        Planned(name, parameters | {"seed": int(parameters["seed"]) + index})
        for index in range(study.seeds)
        for name, parameters in of.items()
        if index < fewer.get(name, study.seeds)
    ]

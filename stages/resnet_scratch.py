"""Stage `resnet_scratch`: ResNet trained from scratch under several normalizations, and what cancels."""

from pathlib import Path

from stages.common import files
from stages.common.normalization import Normalization
from stages.evidence.seeds import compare_over_seeds
from stages.settings.params import Params
from stages.vision import images, invariance, model
from stages.vision.trial import ScratchTrial

IMAGES = 16  # of the batch in which the invariance is checked


def main(settings: Params) -> None:
    """Writes metrics/ and plots/ of resnet_scratch, training runs compared over seeds, and of resnet_invariance."""
    scratch, norms = settings.resnet.scratch, settings.normalizations
    points = {name: norms[name].parameters() for name in scratch.normalizations}
    for name, point in scratch.points.items():
        told = point.model_dump(exclude_none=True, exclude={"normalization"})
        points[name] = norms[point.normalization].parameters() | told
    seeded = {name: point | {"seed": settings.resnet.seed} for name, point in points.items()}
    judged = settings.model_copy(update={"rule": settings.rule.model_copy(update={"margin": scratch.margin})})
    compare_over_seeds("resnet_scratch", judged, seeded, dict.fromkeys(seeded, scratch.seeds), ScratchTrial)
    differences = invariances(settings)
    files.write_json(Path("metrics/resnet_invariance.json"), differences)
    files.write_csv(
        Path("plots/resnet_invariance.csv"),
        ("normalization", "figure", "relative_difference"),
        ((name, figure, value) for name, figures in differences.items() for figure, value in figures.items()),
    )


def invariances(settings: Params) -> dict[str, dict[str, float]]:
    """Differences between a network under `standard` and under each other normalization, before its training."""
    resnet = settings.resnet
    settings_of = {name: settings.normalizations[name] for name in resnet.scratch.normalizations}
    norms = {name: Normalization(norm.mean, norm.std) for name, norm in settings_of.items()}
    standard = norms.pop("standard")
    data = images.digits(ScratchTrial.resnet(settings))
    assert data.train
    network = model.build(resnet.arch, None, len(data.classes), resnet.seed)
    batch = data.train.images[:IMAGES], data.train.labels[:IMAGES]
    return {name: invariance.figures(network, *batch, standard, norm) for name, norm in norms.items()}

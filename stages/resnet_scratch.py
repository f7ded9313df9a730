"""Stage `resnet_scratch`: ResNet trained from scratch under several normalizations, and what cancels."""

from pathlib import Path

from stages import images, invariance, network, outputs, pairs, params
from stages.resnet_evaluation import Scratch, digits, numbers
from stages.treatments import Normalization

IMAGES = 16  # of the batch in which the invariance is checked


def main() -> None:
    settings = params.load()
    scratch, first = settings.resnet.scratch, settings.resnet.seed
    norms = {name: Normalization.of(norm) for name, norm in scratch.normalizations.items()}
    points = {name: numbers(norm) for name, norm in norms.items()}
    pairs.report("resnet_scratch", settings, points, range(first, first + scratch.seeds), Scratch)

    data = images.load(digits(settings.resnet))
    model = network.build(settings.resnet.arch, None, data.classes, first)
    batch = data.train.images[:IMAGES], data.train.labels[:IMAGES]
    standard = norms.pop("standard")
    found = {name: invariance.figures(model, *batch, standard, norm) for name, norm in norms.items()}
    outputs.write_json(Path("metrics/resnet_invariance.json"), found)
    outputs.write_csv(
        Path("plots/resnet_invariance.csv"),
        ("normalization", "figure", "relative_difference"),
        ((name, figure, value) for name, figures in found.items() for figure, value in figures.items()),
    )


if __name__ == "__main__":
    main()

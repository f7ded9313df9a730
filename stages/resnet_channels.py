"""Stage `resnet_channels`: a trained ResNet under all six numbers, mean and std of red, green and blue."""

from pathlib import Path

from stages import drawing, params, search, study
from stages.resnet_evaluation import Treated


def main() -> None:
    settings = params.load()
    wanted = settings.resnet.channels
    trials = search.report("resnet_channels", settings, wanted, Treated)
    figure, ax = drawing.parallel(study.of(trials), list(wanted.space.intervals()), settings.contour)
    ax.set_title(f"A trained {settings.resnet.arch} as it is: accuracy of {len(trials)} trials")
    figure.tight_layout()
    drawing.save(figure, Path("plots/resnet_channels.png"), settings.contour.dpi)


if __name__ == "__main__":
    main()

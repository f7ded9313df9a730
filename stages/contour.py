"""Stage `contour`: the study as a map of accuracy over (mean, std)."""

import csv
from pathlib import Path

import optuna

from stages import drawing, params, study


def main() -> None:
    settings = params.load()
    trials = read(Path("plots/sweep.csv"), settings.sweep.space)
    figure, ax = drawing.contour(trials, "mean", "std", settings.contour)
    drawing.mark(ax, size=130)
    drawing.legend(ax)
    ax.set(title=f"LeNet on MNIST: test accuracy of {len(trials.trials)} trials, by the normalization of the input")
    ax.set(xlabel="mean (pixels lie in [0, 1])", ylabel="standard deviation")
    figure.tight_layout()
    drawing.save(figure, Path("plots/contour.png"), settings.contour.dpi)


def read(path: Path, space: params.Space) -> optuna.Study:
    """The study that the table of trials describes: drawn from the table, the picture depends on the trials alone."""
    with path.open(newline="") as file:
        return study.of(
            optuna.create_trial(
                params={name: float(row[name]) for name in space.intervals()},
                distributions=study.distributions(space.intervals()),
                value=float(row["accuracy"]),
            )
            for row in csv.DictReader(file)
        )


if __name__ == "__main__":
    main()

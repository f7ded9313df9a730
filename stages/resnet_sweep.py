"""Stage `resnet_sweep`: a trained ResNet under one mean and one std for all channels, as it is and recalibrated."""

from pathlib import Path

import optuna

from stages import drawing, params, search, study
from stages.params import Params
from stages.resnet_evaluation import Treated

DRAWN = {"accuracy": "as it is", "accuracy_recalibrated": "recalibrated"}


def main() -> None:
    settings = params.load()
    trials = search.report("resnet_sweep", settings, settings.resnet.sweep, Treated)
    for column, treatment in DRAWN.items():
        draw(study.of(measured(trial, column) for trial in trials), treatment, settings)


def measured(trial: optuna.trial.FrozenTrial, column: str) -> optuna.trial.FrozenTrial:
    """The trial with another figure of its result as its value."""
    value = trial.user_attrs[study.RESULT][column]
    return optuna.create_trial(params=trial.params, distributions=trial.distributions, value=value)


def draw(trials: optuna.Study, treatment: str, settings: Params) -> None:
    figure, ax = drawing.contour(trials, "mean", "std", settings.contour)
    own = settings.resnet.norm
    mean, std = sum(own.mean) / 3, sum(own.std) / 3
    ax.scatter(mean, std, marker="*", s=130, color="red", edgecolors="white", zorder=3, label="its own")
    drawing.legend(ax)
    ax.set(
        title=f"A trained {settings.resnet.arch}, {treatment}: accuracy of {len(trials.trials)} trials",
        xlabel="mean of all channels (pixels lie in [0, 1])",
        ylabel="standard deviation of all channels",
    )
    figure.tight_layout()
    drawing.save(figure, Path(f"plots/resnet_sweep_{treatment.replace(' ', '_')}.png"), settings.contour.dpi)


if __name__ == "__main__":
    main()

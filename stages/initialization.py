"""Stage `initialization`: initial weights of the first convolution that learn where the default dies."""

from pathlib import Path

from stages import drawing, params, search, study
from stages.evaluation import Evaluation


def main() -> None:
    settings = params.load()
    wanted = settings.initialization
    trials = search.report("initialization", settings, wanted, Evaluation)
    figure, ax = drawing.contour(study.of(trials), "bias_factor", "weight_factor", settings.contour)
    ax.scatter(1, 1, marker="*", s=130, color="red", edgecolors="white", zorder=3, label="PyTorch's default (1, 1)")
    drawing.legend(ax)
    fixed = {name: interval.low for name, interval in wanted.space.intervals().items() if interval.low == interval.high}
    ax.set(
        title=f"Accuracy of {len(trials)} trials by the initial weights of conv1"
        + "".join(f", {name} {value:g}" for name, value in fixed.items()),
        xlabel="initial biases, multiplied by",
        ylabel="initial weights, multiplied by",
    )
    figure.tight_layout()
    drawing.save(figure, Path("plots/initialization.png"), settings.contour.dpi)


if __name__ == "__main__":
    main()

"""Stage `search`: the search of that name in params.yaml, as `python -m stages search NAME`."""

from pathlib import Path

from stages.evidence import figures
from stages.evidence.search import run_search
from stages.lenet.trial import LenetTrial
from stages.settings.params import Parameters, Params

PYTORCH: Parameters = {"weight_factor": 1.0, "bias_factor": 1.0}  # initial weights as PyTorch draws them


def main(settings: Params, name: str) -> None:
    search = settings.searches[name]
    trials = run_search(name, settings, search, LenetTrial, settings.fixed(search))

    axes = search.space.axes()
    x, y = search.space.free()
    figure, ax = figures.accuracy_map(
        [trial.params[x] for trial in trials],
        [trial.params[y] for trial in trials],
        [trial.user_attrs["accuracy"] for trial in trials],
        settings.contour,
        settings.region.threshold,
        *figures.SCALE,
        within=(axes[x], axes[y]),
        interpolated=False,
    )
    default = PYTORCH | settings.told(search.train)
    if x in default and y in default:
        figures.mark_point(ax, default[x], default[y], "default", size=130)
    figures.legend(ax)
    same = ", ".join(f"{axis} {trials[0].params[axis]:g}" for axis in axes if axis not in (x, y))
    ax.set(
        title=f"Test accuracy of {len(trials)} trials" + (f", {same}" if same else ""),
        xlabel=figures.LABELS.get(x, x),
        ylabel=figures.LABELS.get(y, y),
    )
    figures.save(figure, Path(f"plots/{name}.png"), settings.contour.dpi)

"""The kinds of figures. Each draws studies from their tables and metrics, most of them in a panel for each study."""

import io
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, PercentFormatter

from stages.common import files, tables
from stages.common.errors import InputError
from stages.evidence import judgement, paired
from stages.evidence.law import EXPONENT
from stages.evidence.paired import interval, relative_errors
from stages.evidence.words import TREATMENTS, exponent
from stages.settings.params import AXES, Params, Rule
from stages.settings.params import Figure as FigureSettings

LABELS = {  # of axes, by parameter
    "mean": "mean, subtracted from pixels (0 to 1)",
    "std": "std, the divisor",
    "lr": "learning rate",
    **{f"{kind}_{color[0]}": f"{kind}, {color}" for kind in ("mean", "std") for color in ("red", "green", "blue")},
}
OFFSET = "mean minus that of the pixels,\nin standard deviations of the pixels"
FACTOR = "std, in standard deviations of the pixels"
SOME_LEARN = {"color": "0.88", "label": "k of n: only some seeds learn"}
NONE_LEARNS = {"color": "0.7", "label": "0 of n: no seed learns"}
MARKED = {"standard": "*", "zero_one": "d", "none": "s"}  # normalizations with a marker in maps and cells


class Shown(NamedTuple):
    """A study to draw: its table, and its metrics as `judgement.judge` returns them."""

    name: str
    table: pd.DataFrame
    metrics: Mapping[str, Any]

    @property
    def rule(self) -> Rule:
        return Rule.model_validate(self.metrics["rule"])

    @property
    def points(self) -> Mapping[str, Any]:
        """Of a study over seeds."""
        return self.metrics["points"]


def make(figure: FigureSettings, path: Path, metrics: Mapping[str, judgement.Metrics], settings: Params) -> None:
    """Draws a figure of params.yaml and saves it; metrics: of its studies that have results, by name"""
    with files.whole(f"a table or metrics file of {', '.join(figure.studies)}"):
        studies = [Shown(name, tables.read(name), of) for name, of in metrics.items() if tables.path(name).exists()]
        drawn = draw(figure, studies, settings)
    image = io.BytesIO()
    drawn.savefig(image, format="png", dpi=settings.look.dpi, metadata={"Software": None})  # always the same bytes
    files.write_bytes(path, image.getvalue())


def draw(figure: FigureSettings, studies: Sequence[Shown], settings: Params) -> Figure:
    """A figure of these studies. Its title also names the studies that have no results.

    raises: InputError if a study cannot be drawn in this way
    """
    for study in studies:
        if figure.kind not in kinds(study):
            accepted = ", ".join(kinds(study)) or "none"
            raise InputError(f"params.yaml: {study.name} cannot be drawn as {figure.kind}; accepted: {accepted}")
    drawn = Figure(layout="constrained")
    if studies:
        with matplotlib.rc_context({"legend.frameon": False}):
            kinds(studies[0])[figure.kind](drawn, studies, settings)
    missing = [f"no results of {name}" for name in figure.studies if name not in {study.name for study in studies}]
    drawn.suptitle("\n".join([figure.title, *missing]), parse_math=False)
    for line in missing:
        print(f"{figure.title}: {line}")
    return drawn


def kinds(study: Shown) -> dict[str, Callable[..., None]]:
    """The kinds of figures that can draw a study, by name."""
    kind = study.metrics["kind"]
    if kind == "seeds":
        of_rates = {"rates": rates} if "lr" in study.table else {}
        return of_rates | {"cells": cells, "seeds": seeds, "epochs": epochs}
    if kind == "search":
        return {"map": maps} if study.metrics["axes"] else {}
    return {"law": {"law": law}, "treatments": {"networks": networks}}.get(kind, {})


def maps(figure: Figure, studies: Sequence[Shown], settings: Params) -> None:
    """Trials of searches over pairs of axes: dots in the color of their accuracy, crosses if failed."""
    pairs: list[tuple[Shown, str, str]] = []
    for study in studies:
        axes = sorted(study.metrics["axes"], key=AXES.index)
        half = (len(axes) + 1) // 2  # each mean is paired with its std
        pairs += [(study, x, y) for x, y in zip(axes[:half], axes[-half:], strict=True)]
    mean, std = judgement.pixels().values()
    offset: Any = (lambda x: (x - mean) / std, lambda offset: mean + offset * std)
    factor: Any = (lambda y: y / std, lambda factor: factor * std)
    [panels] = _panels(figure, settings, len(pairs), settings.look.width / 1.618)
    titled = None
    for ax, (study, x, y) in zip(panels, pairs, strict=True):
        across, up = study.metrics["axes"][x], study.metrics["axes"][y]
        ax.set(xlabel=LABELS[x], xlim=(across["low"], across["high"]), xscale="log" if across["log"] else "linear")
        ax.set(ylabel=LABELS[y], ylim=(up["low"], up["high"]), yscale="log" if up["log"] else "linear")
        _plain_ticks(ax)
        trials = tables.last_epochs(study.table)
        threshold = study.rule.threshold
        learned = trials[trials["accuracy"] > threshold]
        failed = trials.drop(learned.index)
        style: dict[str, Any] = {"clip_on": False, "zorder": 2}  # a trial at the edge is whole
        if len(failed):
            label = f"failed: accuracy up to {100 * threshold:g}% ({len(failed)})"
            ax.scatter(failed[x], failed[y], s=20, c="tab:gray", marker="x", label=label, **style)
        if len(learned):
            accuracy = learned["accuracy"]
            label = f"{'learned' if threshold else 'trials'} ({len(learned)})"
            # A quarter of the trials may lie below the scale: else a few bad ones would take most of its colors.
            style |= {"vmin": accuracy.quantile(0.25), "vmax": accuracy.max(), "cmap": settings.look.colormap}
            style |= {"edgecolors": "black", "linewidths": 0.4}
            dots = ax.scatter(learned[x], learned[y], s=30, c=accuracy, label=label, **style)
            figure.colorbar(dots, ax=ax, label="test accuracy", extend="min", format=PercentFormatter(1))
        words = study.metrics["trained"] or study.metrics["network"]
        if "accuracy_own" in trials:
            words += f", {trials['accuracy_own'].iloc[0]:.2%} under its own numbers"
        if "optimizer" in trials and (x, y) == ("mean", "std"):
            for name, norm in settings.normalizations.items():
                if name in MARKED and ax.viewLim.contains(norm.mean[0], norm.std[0]):
                    _mark(ax, name, norm.mean[0], norm.std[0])
            if not across["log"]:  # distances can be negative
                ax.secondary_xaxis("top", functions=offset, xlabel=OFFSET)
            _plain_ticks(ax.secondary_yaxis("right", functions=factor, ylabel=FACTOR))
        best = trials.loc[trials["accuracy"].idxmax()]
        _mark(ax, f"best: {best['accuracy']:.2%}", best[x], best[y])
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=3 if len(pairs) == 1 else 1)
        if study is not titled:
            _title(ax, f"{len(trials)} trials, {words}")
            titled = study


def rates(figure: Figure, studies: Sequence[Shown], settings: Params) -> None:
    """Accuracy against learning rate, a curve for each normalization: mean and range of the seeds."""
    [panels] = _panels(figure, settings, len(studies), 4.5, sharey=True)
    tried = [judgement.point_table(study.points, settings).sort_values("lr") for study in studies]
    colors = _colors(settings, pd.concat(tried)["normalization"])
    for study, points, ax in zip(studies, tried, panels, strict=True):
        for name, color in colors.items():
            curve = points.query("learned == n and normalization == @name")
            mean, norm = curve["accuracy_mean"], settings.normalizations.get(name)
            reach = mean - curve["accuracy_min"], curve["accuracy_max"] - mean
            label = _described(name, norm.mean[0], norm.std[0]) if norm else name
            ax.errorbar(curve["lr"], mean, reach, color=color, marker=".", elinewidth=0.8, label=label)
        if len(some := points.query("0 < learned < n")):
            hollow = {"facecolors": "none", "edgecolors": some["normalization"].map(colors)}
            label = "only some seeds learn: mean of those that do"
            ax.scatter(some["lr"], some["accuracy_mean"], label=label, **hollow)
        tried_rates = points["lr"].min() / 1.2, points["lr"].max() * 1.2  # also those at which nothing learns
        ax.set(xlabel=LABELS["lr"], xscale="log", xlim=tried_rates)
        _plain_ticks(ax)
        _title(ax, _trained(study))
    best = pd.concat(tried).query("learned == n").groupby("normalization").max(numeric_only=True)
    lowest, highest = min(best["accuracy_mean"], default=0.05), max(best["accuracy_max"], default=1)
    panels[0].set(ylim=(lowest - 0.05, highest + 0.002), ylabel="accuracy: mean and range over seeds")
    panels[0].yaxis.set_major_formatter(PercentFormatter(1))
    _common_legend(figure, title="in brackets: mean and std, for pixels from 0 to 1")


def cells(figure: Figure, studies: Sequence[Shown], settings: Params) -> None:
    """A cell for each normalization: its difference from the reference, or how many seeds learn."""
    tried = [judgement.point_table(study.points, settings) for study in studies]
    means, stds = (sorted({*pd.concat(tried)[axis]}) for axis in ("mean", "std"))
    of_pixels = judgement.pixels()
    [panels] = _panels(figure, settings, len(studies), 3.4 + 0.3 * len(stds), sharey=True)
    colormap = matplotlib.colormaps[settings.look.colormap].with_extremes(bad="white")
    shades = ScalarMappable(Normalize(-2, 0), colormap)
    for study, points, ax in zip(studies, tried, panels, strict=True):
        reference = (points["name"] == study.rule.reference) & (points["learned"] == points["n"])
        points["cost"] = 100 * points["difference_mean"].mask(reference, 0.0)
        # Of several points in a cell, such as one for each learning rate, the best is shown.
        best = points.sort_values(["learned", "accuracy_mean"]).drop_duplicates(["mean", "std"], keep="last")
        for cell in best.itertuples():
            x, y = means.index(cell.mean), stds.index(cell.std)
            style: dict[str, Any] = {"color": shades.to_rgba(cell.cost)}
            if cell.learned < cell.n:
                style = SOME_LEARN if cell.learned else NONE_LEARNS
            ax.bar(x, 1, 1, y - 0.5, edgecolor="white", **style)
            if marked := cell.normalization in MARKED:
                _mark(ax, cell.normalization, cell.mean, cell.std, (x, y + 0.1))
            text = f"{cell.learned} of {cell.n}" if math.isnan(cell.cost) else f"{cell.cost:+z.1f}"
            color = "white" if to_rgb(style["color"])[1] < 0.65 else "black"  # green is most of the brightness
            ax.text(x, y - 0.3 * marked, text, color=color, ha="center", va="center", fontsize=8)
        ax.set_xticks(range(len(means)), map(_number, means), rotation=45)
        offsets = [f"{(mean - of_pixels['mean']) / of_pixels['std']:+.1f}" for mean in means]
        ax.secondary_xaxis("top", xlabel=OFFSET).set_xticks(range(len(means)), offsets, fontsize=8)
        ax.set(xlabel=LABELS["mean"], xlim=(-0.5, len(means) - 0.5), ylim=(-0.5, len(stds) - 0.5))
        rate = ", each cell at its best rate" if points["lr"].nunique() > 1 else ""
        _title(ax, _trained(study) + rate)
    panels[0].set_yticks(range(len(stds)), map(_number, stds))
    panels[0].set_ylabel(LABELS["std"])
    factors = [f"{std / of_pixels['std']:.2g}" for std in stds]
    panels[-1].secondary_yaxis("right", ylabel=FACTOR).set_yticks(range(len(stds)), factors, fontsize=8)
    white = "; white: not tried" if any(len(ax.patches) < len(means) * len(stds) for ax in panels) else ""
    label = f"accuracy: difference from {_references(studies)}, points{white}"
    figure.colorbar(shades, ax=panels, extend="both", label=label)
    _common_legend(figure)


def epochs(figure: Figure, studies: Sequence[Shown], settings: Params) -> None:
    """Above, errors after each epoch. Below, their relative difference from the reference's."""
    [upper, lower] = _panels(figure, settings, len(studies), 8, rows=2, sharex=True, sharey="row", height_ratios=(3, 2))
    upper[0].set_yscale("log")
    for study, above, below in zip(studies, upper, lower, strict=True):
        reference, colors = study.rule.reference, _colors(settings, study.points)
        accuracy = study.table.pivot(index=["point", "seed"], columns="epoch", values="accuracy")
        errors = 100 * np.maximum(1 - accuracy, 5e-5)  # above 0, for the logarithmic scale
        for point, color in colors.items():
            of, own = study.points[point], errors.loc[point]
            x, band = own.columns, {"color": color, "alpha": 0.15, "linewidth": 0}
            if of["learned"] == of["n"]:
                above.plot(x, own.mean(), color=color, marker=".", label=point)
                above.fill_between(x, own.min(), own.max(), **band)
            else:
                learned = own.ffill(axis=1).iloc[:, -1] < 100 * (1 - study.rule.threshold)
                lines = above.plot(x, own.where(learned, axis=0).T, color=color, linewidth=0.8)
                lines[0].set_label(f"{point}: {of['learned']} of {of['n']} seeds learn, a line for each")
            if "difference" in of:
                pair = own.align(errors.loc[reference], join="inner")
                relative = 100 * relative_errors(*(each.to_numpy().T for each in pair))
                below.plot(x, relative.mean(axis=1), color=color, marker=".")
                below.fill_between(x, *interval(relative, study.rule.confidence), **band)
        below.axhline(0, color=colors.get(reference, "black"), linewidth=1)
        below.set_xlabel("epoch")
        below.locator_params("x", integer=True)
        above.legend()
        _title(above, _trained(study))
    _plain_ticks(upper[0])
    upper[0].set_ylabel("test error, % (log scale):\nmean and range over seeds")
    more = f"more errors than under {_references(studies)}, %"
    lower[0].set_ylabel(f"{more}:\nmean and {_confidences(studies)} interval")


def seeds(figure: Figure, studies: Sequence[Shown], settings: Params) -> None:
    """Differences from the reference: each seed, mean and interval. Grey: the same trials on two kinds of processor."""
    [[ax]] = _panels(figure, settings, 1, 5.5)
    groups: list[tuple[str, pd.Series, dict[str, float] | None, str, str]] = []
    for study in studies:
        ended, reference = judgement.ends(study.table), study.rule.reference
        for point in _colors(settings, study.points):
            if "difference" in (of := study.points[point]):
                differences = (ended[point]["accuracy"] - ended[reference]["accuracy"]).dropna()  # of common seeds
                label = f"{_described(point, of['parameters']['mean'], of['parameters']['std'])}\nminus {reference}"
                processors = f"{point} and {reference}\nran on different processors"
                mixed = f"\nfor {of['mixed_pairs']} of these, {processors}" if "mixed_pairs" in of else ""
                bounds = of["difference"]["interval"]
                groups.append((f"{label}\nin study {study.name}", differences, bounds, "C0", mixed))
    # The same trials on two kinds of processor, if they learn; kinds that round alike count as one.
    ends = [tables.last_epochs(study.table).query(f"accuracy > {study.rule.threshold}") for study in studies]
    trial = [tuple(sorted(parameters.items())) for table in ends for parameters in tables.parameters(table)]
    learned = pd.concat(ends).assign(trial=trial)
    learned = learned.drop_duplicates(["point", "trial", "accuracy", "loss"]).sort_values("device", kind="stable")
    pairs = learned.groupby(["point", "trial"], sort=False)["accuracy"]
    for point, differences in (pairs.first() - pairs.last())[pairs.size() > 1].groupby("point", sort=False):
        bounds = paired.ends(differences.to_numpy(), studies[0].rule.confidence, step=0.0)
        groups.append((f"{point} on two\nkinds of processor", differences, bounds, "tab:gray", ""))
    labels = []
    for place, (label, differences, bounds, color, mixed) in enumerate(groups):
        points, count = 100 * differences.to_numpy(), len(differences)
        number = f"{count} seeds, SD {points.std(ddof=1):.2f}" if count > 1 else "1 seed"
        labels.append(f"{label}\n{number}{mixed}")
        x = place + np.linspace(-0.3, 0.3, count + 2)[1:-1]
        ax.scatter(x, points, s=14, color=color, alpha=0.7)
        low, high = (100 * bounds[end] if bounds else math.nan for end in ("low", "high"))
        ax.errorbar(place, (low + high) / 2, (high - low) / 2, color="black", fmt="_", capsize=6)
    ax.set_xticks(range(len(labels)), labels, fontsize=7)
    ax.set_xlim(-0.8, len(labels) - 0.2)  # also of a single group
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_ylabel(f"difference in accuracy, points:\nevery seed; mean and its {_confidences(studies)} interval")


def law(figure: Figure, studies: Sequence[Shown], settings: Params) -> None:
    """The largest learning rate that works against 1 + offset^2. Triangles are the ends of the tested rates."""
    [[ax]] = _panels(figure, settings, 1, 5.5)
    for number, study in enumerate(studies):
        color, tried = f"C{number}", study.table["lr"]
        offsets = study.metrics["offsets"].values()
        for each in offsets:
            x, works, fails = 1 + each["offset"] ** 2, each.get("all"), each.get("none")
            ends = works or tried.min(), fails or tried.max()
            ax.plot([x, x], ends, color=color, linewidth=1)
            ax.plot(x, ends[0], color=color, marker="_" if works else "v")
            ax.plot(x, ends[1], color=color, marker="_" if fails else "^")
        x = np.array([1, 1 + max(each["offset"] for each in offsets) ** 2])
        rate = study.metrics.get("rate_at_0", math.nan)
        fitted = study.metrics.get("exponent", {"estimate": math.nan})["estimate"]
        label = f"{study.metrics['trained']}: {exponent(study.metrics)}"
        ax.plot(x, rate * x**-fitted, color=color, linewidth=0.8, label=label)
        ax.plot(x, rate * x**-EXPONENT, color=color, linestyle="dotted")
    ax.plot([], [], color="black", linestyle="dotted", label=f"theory: exponent {-EXPONENT:g}")
    label = "lower end: all seeds learn; upper end: none does"
    ax.errorbar([], [], [], fmt="none", color="black", capsize=4, label=label)
    ax.set(xscale="log", yscale="log", ylabel="largest learning rate that works")
    ax.set_xlabel("1 + d², d: distance of the inputs' mean from 0, in their standard deviations")
    _plain_ticks(ax)
    ax.legend()


def networks(figure: Figure, studies: Sequence[Shown], settings: Params) -> None:
    """Accuracy of trained networks under normalizations, a bar for each treatment."""
    widths = [len(study.table) for study in studies]
    [panels] = _panels(figure, settings, len(studies), 4.5, sharey=True, width_ratios=widths)
    for study, ax in zip(studies, panels, strict=True):
        names = study.table["point"].tolist()
        norms = [study.metrics["normalizations"][name] for name in names]
        treatments = [name for name in TREATMENTS if name in norms[0]]
        width = 0.8 / len(treatments)
        for number, treatment in enumerate(treatments):
            bars = pd.json_normalize([norm[treatment] for norm in norms], sep="_")
            x = np.arange(len(norms)) + (number - (len(treatments) - 1) / 2) * width
            mean = bars["difference_mean"]
            reach = mean - bars["difference_interval_low"], bars["difference_interval_high"] - mean
            whiskers: dict[str, Any] = {"yerr": 100 * np.maximum(0, reach), "error_kw": {"linewidth": 0.8}}
            drawn = ax.bar(x, 100 * bars["accuracy"], width, label=TREATMENTS[treatment], **whiskers)
            ax.bar_label(drawn, fmt="%.1f", fontsize=6, padding=2)
        ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
        _title(ax, f"{study.metrics['network']}, {study.metrics['images']:,} images")
    whiskers_are = f"{_confidences(studies)} interval of\nthe difference from the network's own numbers"
    panels[0].set_ylabel(f"accuracy, %; whiskers: {whiskers_are}")
    _common_legend(figure)


# What several kinds use


def _panels(figure: Figure, settings: Params, columns: int, height: float, rows: int = 1, **of_all: Any) -> Any:
    """The panels of a figure, row by row; more columns make it wider."""
    figure.set_size_inches(settings.look.width * (0.85 + 0.15 * columns), height)
    return figure.subplots(rows, columns, squeeze=False, **of_all)


def _title(ax: Any, text: str) -> None:
    ax.set_title(textwrap.fill(text, 110 // ax.get_gridspec().ncols))  # fits a panel


def _trained(study: Shown) -> str:
    counts = [of["n"] for of in study.points.values()]
    few, many = min(counts), max(counts)
    number = f"{few} to {many}" if few < many else f"{many}"
    words = study.metrics["trained"]
    return f"{words}{words and ', '}{number}\u00a0seed{'s' * (many > 1)}"


def _plain_ticks(ax: Any) -> None:
    """Plain numbers; logarithmic axes have 1, 2 and 5 of every decade, or all digits within a single decade."""
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
        if "log" in axis.get_scale():
            low, high = axis.get_view_interval()
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else range(1, 10)))
            axis.set_minor_locator(NullLocator())


def _colors(settings: Params, points: Iterable[str]) -> dict[str, str]:
    """A color for each point; normalizations have the same one in all pictures."""
    numbered = enumerate(dict.fromkeys([*settings.normalizations, *points]))
    return {name: f"C{number}" for number, name in numbered if name in set(points)}


def _mark(ax: Any, name: str, mean: float, std: float, place: tuple[float, float] | None = None) -> None:
    """A hollow marker, which hides no trial, at mean and std, or at a place."""
    x, y = place or (mean, std)
    marker, label = MARKED.get(name, "o"), _described(name, mean, std)
    ax.scatter(x, y, s=110, facecolors="none", edgecolors="red", zorder=3, marker=marker, label=label)


def _confidences(studies: Sequence[Shown]) -> str:
    return " or ".join(dict.fromkeys(f"{100 * study.rule.confidence:g}%" for study in studies))


def _references(studies: Sequence[Shown]) -> str:
    return ", ".join(dict.fromkeys(study.rule.reference for study in studies))


def _described(name: str, mean: float, std: float) -> str:
    return f"{name} ({_number(mean)}, {_number(std)})"


def _number(number: float) -> str:
    return "1/255" if math.isclose(number, 1 / 255, rel_tol=1e-3) else f"{number:.4g}"


def _common_legend(figure: Figure, **options: Any) -> None:
    """One below all panels, with each label once."""
    marks = {label: mark for ax in figure.axes for mark, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=5, **options)

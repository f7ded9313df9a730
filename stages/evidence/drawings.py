"""The kinds of figures: each draws studies from their tables and metrics, most of them a panel for each study."""

import itertools
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.common import tables
from stages.common.errors import InputError
from stages.common.tables import Row, numbers
from stages.evidence import figures, law
from stages.evidence.figures import LABELS
from stages.evidence.judgement import curves, ends
from stages.evidence.paired import interval, relative_errors
from stages.evidence.words import exponent, protocol, shared
from stages.settings.params import Figure as Drawn
from stages.settings.params import Params, Rule, Space, Treatment, free

COSTS = Normalize(-2, 0)  # of differences, in points
SOME, NONE = "0.88", "0.7"  # greys of cells in which some of the seeds learn, or none
CELLS: dict[str, Any] = {"edgecolors": "white", "linewidth": 0.5, "zorder": 0}


class Shown(NamedTuple):
    """A study that is drawn: the rows of its table, and what the judge made of them."""

    name: str
    kind: str  # as `judgement.kind` says
    rows: Sequence[Row]
    metrics: Mapping[str, Any]
    rule: Rule
    space: Space  # empty, if it is no search
    lenet: bool = True  # not another network


class Context(NamedTuple):
    settings: Params
    pixels: Mapping[str, float]  # mean and std of the data, fractions

    def protocol(self, study: Shown) -> str:
        """How the study was trained, as a title."""
        return textwrap.fill(protocol(shared(study.metrics), self.settings), 56)

    def sort(self, names: Sequence[str]) -> dict[str, str]:
        """A colour for each name of a point, in the order of the normalizations; names of other points come after."""
        known = [name for name in self.settings.normalizations if name in names]
        return {name: f"C{number}" for number, name in enumerate(dict.fromkeys([*known, *names]))}


Studies = Sequence[Shown | None]


def draw(figure: Drawn, shown: Mapping[str, Shown | None], settings: Params, pixels: Mapping[str, float]) -> Figure:
    """A figure of that kind; a study that is not there leaves its panel empty, and says so.

    raises: InputError if the kind does not suit a study
    """
    kind = KINDS[figure.kind]
    for name, study in shown.items():
        if study and (study.kind != kind.of or not kind.suits(study)):
            raise InputError(f"params.yaml: {name} cannot be drawn as kind {figure.kind}, which draws {kind.needs}")
    drawn = kind.drawn(list(shown.values()), Context(settings, pixels))
    for number, (name, study) in enumerate(shown.items()):
        if study is None:
            ax, y = (drawn.axes[number], 0.5) if kind.panels else (drawn.axes[0], 0.95 - 0.06 * number)
            ax.text(0.5, y, f"no results of {name}", ha="center", va="center", transform=ax.transAxes)
    drawn.suptitle(figure.title)
    return drawn


# Searches


def accuracy_maps(studies: Studies, context: Context) -> Figure:
    """Trials of searches over two axes: those that learned in the colour of their accuracy, the others as crosses."""
    look = context.settings.look
    figure, panels = _panels(context, len(studies), look.width / figures.GOLDEN_RATIO, shared=False)
    for study, ax in _present(studies, panels):
        rows, names = tables.last_epochs(study.rows), free(study.space)
        for axis, name in zip("xy", names, strict=True):
            figures.limit(ax, axis, name, study.space[name])
        x, y = (np.array(tables.values(rows, name)) for name in names)
        accuracy, threshold = numbers(rows, "accuracy"), study.rule.threshold
        learned = accuracy > threshold
        style: dict[str, Any] = {"clip_on": False, "zorder": 2}  # a trial at the edge is whole
        if not learned.all():
            label = f"accuracy up to {threshold:g} ({(~learned).sum()})"
            ax.scatter(x[~learned], y[~learned], s=20, c="tab:gray", marker="x", label=label, **style)
        if learned.any():
            # A tenth of the trials may lie below the scale: else a few bad ones would take all of its colours.
            low, high = float(np.quantile(accuracy[learned], 0.1)), float(accuracy[learned].max())
            label = f"{'learned' if threshold else 'trials'} ({learned.sum()})"
            style |= {"s": 30, "edgecolors": "black", "linewidths": 0.4, "label": label, "cmap": look.colormap}
            norm = figures.error_scale(low, high)
            points = ax.scatter(x[learned], y[learned], c=accuracy[learned], norm=norm, **style)
            below = "min" if accuracy[learned].min() < low else "neither"
            bar = figure.colorbar(points, ax=ax, label="test accuracy", extend=below, format="{x:.4g}")
            ticks = [tick for tick in figures.TICKS if low <= tick <= high]
            bar.set_ticks(ticks if len(ticks) > 1 else [low, high])
        if study.lenet and names == ["mean", "std"]:
            figures.mark(ax, context.settings.normalizations)
            figures.in_stds(ax, context.pixels)
        figures.legend(ax, columns=4)
        ax.set_title(f"{len(rows)} trials")
    return figure


def axes(studies: Studies, context: Context) -> Figure:
    """Accuracy against each axis of a search, a small panel for each: what the others were, is left out."""
    (study, *_), width = studies, context.settings.look.width
    if not study:
        return _panels(context, 1, width)[0]
    names = free(study.space)
    columns = min(3, len(names))
    lines = math.ceil(len(names) / columns)
    figure = Figure(figsize=(width, width / columns * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    rows = tables.last_epochs(study.rows)
    accuracy = numbers(rows, "accuracy")
    best = accuracy >= accuracy.max() - study.rule.tolerance
    label = f"within {100 * study.rule.tolerance:g} points of the best"
    for ax, name in zip(panels, names, strict=False):
        x = np.array(tables.values(rows, name))
        figures.limit(ax, "x", name, study.space[name])
        ax.scatter(x[~best], accuracy[~best], s=14, color="tab:gray", clip_on=False)
        ax.scatter(x[best], accuracy[best], s=24, color="tab:red", label=label, clip_on=False)
    for ax in panels[len(names) :]:
        ax.set_visible(False)
    panels[0].set_ylabel("accuracy")
    _common_legend(figure, panels)
    return figure


# Points over seeds


def rates(studies: Studies, context: Context) -> Figure:
    """Accuracy against learning rate, a curve for each normalization: mean and range of the seeds.

    Where only some of the seeds learn, a hollow point is their mean.
    """
    figure, panels = _panels(context, len(studies), 4.5)
    present = [(study, _by_rate(study, context), ax) for study, ax in _present(studies, panels)]
    colors = context.sort([name for _, points, _ in present for name in points["name"]])
    for study, points, ax in present:
        for name in sorted(set(points["name"]), key=list(colors).index):
            of_name, color = points[points["name"] == name], colors[name]
            all_learn = of_name[of_name["learned"] == of_name["n"]]
            mean, reach = (
                all_learn["mean"],
                (all_learn["mean"] - all_learn["min"], all_learn["max"] - all_learn["mean"]),
            )
            ax.errorbar(all_learn["lr"], mean, reach, color=color, marker=".", elinewidth=0.8, label=name)
            some_learn = of_name[(of_name["learned"] > 0) & (of_name["learned"] < of_name["n"])]
            ax.plot(some_learn["lr"], some_learn["mean"], "o", color=color, markerfacecolor="none")
        if ((points["learned"] > 0) & (points["learned"] < points["n"])).any():
            ax.errorbar([], [], fmt="o", color="black", mfc="none", label="only some of the seeds learn: their mean")
        low, high = points["lr"].min(), points["lr"].max()  # also those at which nothing learns
        ax.set(xlabel=LABELS["lr"], xscale="log", xlim=(low / 1.2, 1.2 * high), title=context.protocol(study))
        figures.label(ax.xaxis)
    panels[0].set_ylabel("accuracy: mean and range over seeds")
    top = max([points["max"].max() for _, points, _ in present if points["learned"].any()], default=1.0)
    panels[0].set_ylim(top - 0.05, top + 0.002)
    _common_legend(figure, panels)
    return figure


def _by_rate(study: Shown, context: Context) -> pd.DataFrame:
    """The points of a study by learning rate: their accuracies, and the name of the normalization."""
    normalizations = reversed(context.settings.normalizations.items())
    known = {tuple(norm.parameters().values()): name for name, norm in normalizations}
    points = []
    for each in study.metrics.values():
        mean, std, lr = (each["parameters"][key] for key in ("mean", "std", "lr"))
        accuracy = each.get("accuracy", dict.fromkeys(("mean", "min", "max"), math.nan))
        name = known.get((mean, std), f"mean {mean:g}, std {std:g}")
        points.append(accuracy | {"learned": each["learned"], "n": each["n"], "lr": lr, "name": name})
    return pd.DataFrame(points).sort_values("lr")


def cells(studies: Studies, context: Context) -> Figure:
    """A cell for each normalization of a grid: its difference from the reference where all seeds learn.

    Of several points with one normalization, such as one for each learning rate, the best is shown.
    """
    stds = [{each["parameters"]["std"] for each in study.metrics.values()} for study in studies if study]
    figure, panels = _panels(context, len(studies), 5.5, shared=all(each == stds[0] for each in stds))
    for study, ax in _present(studies, panels):
        _draw_cells(ax, study, context)
        ax.set(xlabel=LABELS["mean"], title=context.protocol(study))
    panels[0].set_ylabel(LABELS["std"])
    colors = ScalarMappable(COSTS, context.settings.look.colormap)
    figure.colorbar(colors, ax=panels, extend="both", label="test accuracy: difference from the reference, points")
    _common_legend(figure, panels)
    return figure


def _draw_cells(ax: Axes, study: Shown, context: Context) -> None:
    points = [(each["learned"], each.get("accuracy", {}).get("mean"), name) for name, each in study.metrics.items()]
    parameters = {name: study.metrics[name]["parameters"] for *_, name in sorted(points)}
    at = {(norm["mean"], norm["std"]): name for name, norm in parameters.items()}  # of several points the best
    means, stds = (sorted({norm[axis] for norm in at}) for axis in (0, 1))
    known = context.settings.normalizations
    marked = {(*known[name].mean, *known[name].std): {name: known[name]} for name in figures.MARKED if name in known}
    costs, greys = np.full((2, len(stds), len(means)), np.nan)
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "textcoords": "offset points"}
    for norm, name in at.items():
        each, row, column = study.metrics[name], stds.index(norm[1]), means.index(norm[0])
        text = f"{each['learned']} of {each['n']}"
        if each["learned"] < each["n"]:
            greys[row, column] = each["learned"] == 0
        elif "difference" in each or name == study.rule.reference:
            costs[row, column] = 100 * each["difference"]["mean"] if "difference" in each else 0
            text = f"{costs[row, column]:+.1f}"
        color = "white" if COSTS(costs[row, column]) < 0.6 else "black"  # not of nan, whose comparison is false
        ax.annotate(text, (column, row), (0, -13 if norm in marked else 0), color=color, **style)
        figures.mark(ax, marked.get(norm, {}), (column, row))
    edges = np.arange(len(means) + 1) - 0.5, np.arange(len(stds) + 1) - 0.5
    ax.pcolormesh(*edges, costs, norm=COSTS, cmap=context.settings.look.colormap, **CELLS)
    ax.pcolormesh(*edges, greys, cmap=ListedColormap([SOME, NONE]), vmin=0, vmax=1, **CELLS)
    for grey, label in ((SOME, "only some of the seeds learn"), (NONE, "no seed learns")):
        if (greys == (grey == NONE)).any():
            ax.scatter([], [], s=110, marker="s", color=grey, label=label)
    ax.set_xticks(range(len(means)), [f"{mean:g}" for mean in means], rotation=45)
    ax.set_yticks(range(len(stds)), ["1/255" if np.isclose(std, 1 / 255, rtol=1e-3) else f"{std:g}" for std in stds])
    pixels = context.pixels
    offsets = [f"{(mean - pixels['mean']) / pixels['std']:+.1f}" for mean in means]
    factors = [f"{std / pixels['std']:.2g}" for std in stds]
    ax.secondary_xaxis("top", xlabel=figures.OFFSET).set_xticks(range(len(means)), offsets, fontsize=8)
    ax.secondary_yaxis("right", ylabel=figures.FACTOR).set_yticks(range(len(stds)), factors, fontsize=8)


def epochs(studies: Studies, context: Context) -> Figure:
    """Above, errors after each epoch: mean and range over the seeds; where not all seeds learn, a thin line for each.

    Below, the mean error relative to the reference's and its interval, where all seeds of both learn.
    """
    figure = Figure(figsize=(1 + 6 * len(studies), 8), layout="constrained")
    panels = figure.subplots(2, len(studies), sharex=True, sharey="row", height_ratios=(3, 2), squeeze=False)
    present = [(study, curves(study.rows), *axes) for study, axes in _present(studies, panels.T)]
    colors = context.sort([name for _, of_study, *_ in present for name in of_study])
    for study, of_study, above, below in present:
        for point in sorted(of_study, key=list(colors).index):
            curve, color = of_study[point], colors[point]
            errors, count = 100 * np.maximum(1 - curve, figures.LEAST), _counted(len(curve))
            band: dict[str, Any] = {"color": color, "alpha": 0.15, "linewidth": 0}
            learned = curve.iloc[:, -1] > study.rule.threshold
            if not learned.all():
                lines = above.plot(curve.columns, errors.T, color=color, linewidth=0.8)
                lines[0].set_label(f"{point}: {learned.sum()} of {count} learn, a line for each")
                continue
            above.plot(curve.columns, errors.mean(), color=color, marker=".", label=f"{point} ({count})")
            above.fill_between(curve.columns, errors.min(), errors.max(), **band)
            if "difference" in study.metrics[point]:
                pair = curve.align(of_study[study.rule.reference], join="inner")
                relative = 100 * relative_errors(*(1 - each.to_numpy().T for each in pair))
                below.plot(pair[0].columns, relative.mean(axis=1), color=color, marker=".")
                below.fill_between(pair[0].columns, *interval(relative, study.rule.confidence), **band)
        below.axhline(0, color=colors.get(study.rule.reference, "black"), linewidth=1)
        above.set(title=context.protocol(study), yscale="log")
        below.set(xlabel="epoch")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        figures.label(above.yaxis)
        above.legend(frameon=False)
    panels[0, 0].set_ylabel("test error, %:\nmean and range over seeds")
    panels[1, 0].set_ylabel("errors above those of the reference,\n%: mean and interval")
    return figure


def seeds(studies: Studies, context: Context) -> Figure:
    """Differences from the reference, a point for each seed; and those that rounding alone makes.

    The latter are differences between trials with the same parameters on two kinds of processor.
    """
    groups: dict[str, np.ndarray] = {}
    learned = []
    for study in filter(None, studies):
        ended, reference = ends(study.rows), study.rule.reference
        for point in context.sort([point for point, each in study.metrics.items() if "difference" in each]):
            differences = (ended[point]["accuracy"] - ended[reference]["accuracy"]).dropna()  # of the same seeds
            groups[f"{point} - {reference}\n{study.name}"] = 100 * differences.to_numpy()
        rows = tables.last_epochs(study.rows)
        learned += [row for row in rows if float(row["accuracy"]) > study.rule.threshold]
    of_seeds = len(groups)
    groups |= rounding(learned)
    figure, (ax,) = _panels(context, 1, 5.5)
    labels = []
    for place, (name, values) in enumerate(groups.items()):
        count = len(values)
        places = place + (np.linspace(-0.3, 0.3, count) if count > 1 else np.zeros(1))
        ax.scatter(places, values, s=14, color="C0" if place < of_seeds else "tab:gray", alpha=0.7)
        labels.append(f"{name}\n{_counted(count)}")
        if count > 1:
            labels[-1] += f", std {values.std(ddof=1):.2f}"
            reach = np.abs(np.reshape(interval(values, context.settings.rule.confidence), (2, 1)) - values.mean())
            ax.errorbar(place, values.mean(), reach, color="black", fmt="_", capsize=6)
    ax.set_xticks(range(len(groups)), labels, fontsize=8 if len(groups) < 7 else 6)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_ylabel("difference in accuracy, points:\nevery seed; mean and its interval")
    return figure


def rounding(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Differences in accuracy, in points, of trials with the same parameters on two kinds of processor, by point.

    rows: of last epochs, of trials that learned
    """
    ran: dict[tuple, dict[str, Row]] = {}
    for row in rows:
        ran.setdefault(tuple(sorted(tables.parameters(row).items())), {})[row["device"]] = row
    pairs: dict[str, list[float]] = {}
    for devices in ran.values():
        for (_, one), (_, other) in itertools.combinations(sorted(devices.items()), 2):
            points = 100 * (float(one["accuracy"]) - float(other["accuracy"]))
            pairs.setdefault(f"{one['point']}: rounding,\ntwo kinds of processor", []).append(points)
    return {name: np.array(points) for name, points in pairs.items()}


def largest(studies: Studies, context: Context) -> Figure:
    """The largest learning rate at which all seeds learn against 1 + offset^2, a series for each study.

    A bar ends where no seed learns, with a triangle where the grid of rates ends before. Lines are those of the law.
    """
    figure, (ax,) = _panels(context, 1, 5.5)
    for number, study in enumerate(studies):
        if not study:
            continue
        color, tried = f"C{number}", numbers(study.rows, "lr")
        ax.set(xscale="log", yscale="log")
        for each in study.metrics["offsets"].values():
            x, works, fails = 1 + each["offset"] ** 2, each.get("all"), each.get("none")
            ends = works or tried.min(), fails or tried.max()
            ax.plot([x, x], ends, color=color, linewidth=1)
            ax.plot(x, ends[0], color=color, marker="o" if works else "v")
            ax.plot(x, ends[1], color=color, marker="_" if fails else "^")
        name = f"{study.name}: {exponent(study.metrics)}"
        x = np.array([1, 1 + max(each["offset"] for each in study.metrics["offsets"].values()) ** 2])
        rate, fitted = study.metrics.get("rate_at_0", math.nan), study.metrics.get("exponent", {"estimate": math.nan})
        ax.plot(x, rate * x ** -fitted["estimate"], color=color, linewidth=0.8, label=name)
        ax.plot(x, rate * x**-law.EXPONENT, color=color, linestyle="dotted")
    ax.plot([], [], color="black", linestyle="dotted", label=f"the law: exponent {-law.EXPONENT:g}")
    ax.set_xlabel("1 + d², d: the inputs' mean in standard deviations of the pixels")
    ax.set_ylabel("largest learning rate that works:\nbetween where all seeds learn and where none does")
    figures.label(ax.xaxis)
    figures.label(ax.yaxis)
    figures.legend(ax, columns=1)
    return figure


# Trained networks


def networks(studies: Studies, context: Context) -> Figure:
    """Accuracy of trained networks under normalizations, a bar for each treatment, with the interval of its difference
    from the network's own normalization."""
    figure, panels = _panels(context, len(studies), 4.5)
    for study, ax in _present(studies, panels):
        norms = {row["point"]: study.metrics["normalizations"][row["point"]] for row in study.rows}
        treatments = [name for name in get_args(Treatment) if any(name in of for of in norms.values())]
        width = 0.8 / len(treatments)
        for number, treatment in enumerate(treatments):
            shown = {place: of[treatment] for place, of in enumerate(norms.values()) if treatment in of}
            x = np.array(list(shown)) + (number - (len(treatments) - 1) / 2) * width
            differences = [each["difference"] for each in shown.values()]
            below = [each["mean"] - each["interval"]["low"] for each in differences]
            above = [each["interval"]["high"] - each["mean"] for each in differences]
            style = {"yerr": 100 * np.maximum(0, [below, above]), "error_kw": {"linewidth": 0.8}}
            accuracy = [100 * each["accuracy"] for each in shown.values()]
            bars = ax.bar(x, accuracy, width, label=treatment.replace("_", " "), **style)
            ax.bar_label(bars, fmt="%.1f", fontsize=6, padding=2)
        ax.set_xticks(range(len(norms)), list(norms), rotation=45, ha="right")
        ax.set_title(f"{study.name}, {study.metrics['images']:,} images")
    panels[0].set_ylabel("accuracy, %")
    _common_legend(figure, panels)
    return figure


def _panels(context: Context, count: int, height: float, shared: bool = True) -> tuple[Figure, list[Axes]]:
    """shared: whether they have one vertical axis"""
    width = context.settings.look.width * (1 + 0.15 * (count - 1))
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, count, sharey=shared, squeeze=False)[0])


def _present(studies: Studies, panels: Iterable) -> list[tuple[Shown, Any]]:
    """The studies that are there, each with its panel."""
    return [(study, ax) for study, ax in zip(studies, panels, strict=True) if study]


def _common_legend(figure: Figure, panels: Iterable[Axes]) -> None:
    """One below all panels, with each label once."""
    marks = {label: mark for ax in panels for mark, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=4, frameon=False)


def _counted(seeds: int) -> str:
    return f"{seeds} seed{'s' * (seeds > 1)}"


class Kind(NamedTuple):
    """of: what `judgement.kind` says of its studies; suits: whether a study has what it draws, which `needs` says."""

    drawn: Callable[[Studies, Context], Figure]
    of: str
    needs: str
    suits: Callable[[Shown], bool] = lambda study: True
    panels: bool = True  # one for each study


LENET = "seeds", "points of LeNet over seeds", attrgetter("lenet")


KINDS = {
    "rates": Kind(rates, *LENET),
    "cells": Kind(cells, *LENET),
    "law": Kind(largest, "law", "a grid of means and learning rates", panels=False),
    "seeds": Kind(seeds, "seeds", "points over seeds", panels=False),
    "epochs": Kind(epochs, *LENET),
    "networks": Kind(networks, "treatments", "trained networks under normalizations"),
    "map": Kind(accuracy_maps, "search", "searches over two axes", lambda study: len(free(study.space)) == 2),
    "axes": Kind(axes, "search", "searches", panels=False),
}

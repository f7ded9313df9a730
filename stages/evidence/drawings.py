"""The kinds of figures: each draws studies from their tables and metrics, most of them a panel for each study."""

import itertools
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
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
from stages.evidence.judgement import curves
from stages.evidence.paired import interval, relative_errors
from stages.evidence.words import exponent, protocol, shared
from stages.settings.params import Figure as Drawn
from stages.settings.params import Params, Rule, Space, Treatment, free

COSTS = Normalize(-2, 0)  # of differences, in points
SOME, NONE = "0.88", "0.7"  # greys of cells in which some of the seeds learn, or none
CELLS: dict[str, Any] = {"edgecolors": "white", "linewidth": 0.5, "zorder": 0}


class Shown(NamedTuple):
    """A study that is drawn.

    kind:    what `judgement.kind` says of it
    rows:    of its table; metrics: what the judge made of them
    space:   of a search
    lenet:   whether it is LeNet's, trained on digits
    """

    name: str
    kind: str
    rows: Sequence[Row]
    metrics: Mapping[str, Any]
    rule: Rule
    space: Space | None = None
    lenet: bool = True


class Context(NamedTuple):
    """pixels: mean and std of the data, fractions"""

    settings: Params
    pixels: Mapping[str, float]

    def protocol(self, study: Shown) -> str:
        """How the study was trained, as a title."""
        return textwrap.fill(protocol(shared(study.metrics), self.settings), 56)

    def sort(self, names: Sequence[str]) -> dict[str, str]:
        """A colour for each name of a point, in the order of the normalizations; names of other points come after."""
        known = {name: number for number, name in enumerate(self.settings.normalizations)}
        names = sorted(dict.fromkeys(names), key=lambda name: known.get(name, len(known)))
        return {name: f"C{number}" for number, name in enumerate(names)}


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
    for study, ax in zip(studies, panels, strict=True):
        if not study or not study.space:
            continue
        rows, searched = tables.last_epochs(study.rows), study.space
        names = free(study.space)[:2]
        figures.limit(ax, {axis: searched[name] for axis, name in zip("xy", names, strict=True)})
        x, y = (np.array(_column(rows, name)) for name in names)
        accuracy = numbers(rows, "accuracy")
        learned, threshold = accuracy > study.rule.threshold, study.rule.threshold
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
            bar = figure.colorbar(points, ax=ax, label="test accuracy", extend=below)
            ticks = [tick for tick in figures.TICKS if low <= tick <= high]
            bar.set_ticks(ticks if len(ticks) > 1 else [low, high])
            bar.ax.yaxis.set_major_formatter("{x:.4g}")
        for axis in (ax.xaxis, ax.yaxis):
            figures.label(axis)
        if study.lenet and names == ["mean", "std"]:
            figures.mark(ax, context.settings.normalizations)
            figures.in_stds(ax, context.pixels)
        figures.legend(ax, columns=4)
        xlabel, ylabel = (LABELS.get(name, name) for name in names)
        ax.set(title=f"{len(rows)} trials", xlabel=xlabel, ylabel=ylabel)
    return figure


def axes(studies: Studies, context: Context) -> Figure:
    """Accuracy against each axis of a search, a small panel for each: what the others were, is left out."""
    (study,) = studies[:1]
    names = (free(study.space) if study and study.space else []) or ["mean"]
    columns = min(3, len(names))
    lines, width = math.ceil(len(names) / columns), context.settings.look.width
    figure = Figure(figsize=(width, width / columns * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).flat
    for ax, name in itertools.zip_longest(panels, names):
        if name is None:
            ax.set_visible(False)
            continue
        if study and study.space and name in study.space:
            rows = tables.last_epochs(study.rows)
            accuracy, x = numbers(rows, "accuracy"), np.array(_column(rows, name))
            best = accuracy >= accuracy.max() - study.rule.tolerance
            figures.limit(ax, {"x": study.space[name]})
            ax.scatter(x[~best], accuracy[~best], s=14, color="tab:gray", clip_on=False)
            label = f"within {100 * study.rule.tolerance:g} points of the best"
            ax.scatter(x[best], accuracy[best], s=24, color="tab:red", label=label, clip_on=False)
            figures.label(ax.xaxis)
        ax.set(xlabel=LABELS.get(name, name))
    figure.axes[0].set_ylabel("accuracy")
    if study:
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", frameon=False)
    return figure


# Points over seeds


def rates(studies: Studies, context: Context) -> Figure:
    """Accuracy against learning rate, a curve for each normalization: mean and range of the seeds.

    Where only some of the seeds learn, a hollow point is their mean.
    """
    figure, panels = _panels(context, len(studies), 4.5)
    normalizations = context.settings.normalizations
    names = {tuple(norm.parameters().items()): name for name, norm in reversed(normalizations.items())}
    of_studies = [_by_normalization(study, names) if study else {} for study in studies]
    colors = context.sort([name for of_study in of_studies for name in of_study])
    for study, of_study, ax in zip(studies, of_studies, panels, strict=True):
        if not study:
            continue
        some_fail = False
        for name in sorted(of_study, key=list(colors).index):
            points, color = of_study[name], colors[name]
            all_learn = [point for point in points if point["learned"] == point["n"]]
            lr, mean, low, high = _ranges(all_learn)
            ax.errorbar(lr, mean, (mean - low, high - mean), color=color, marker=".", elinewidth=0.8, label=name)
            lr, mean, *_ = _ranges([point for point in points if 0 < point["learned"] < point["n"]])
            ax.plot(lr, mean, "o", color=color, markerfacecolor="none")
            some_fail = some_fail or len(lr) > 0
        if some_fail:
            ax.errorbar([], [], fmt="o", color="black", mfc="none", label="only some of the seeds learn: their mean")
        tried = [point["parameters"]["lr"] for point in study.metrics.values()]  # also those at which nothing learns
        ax.set(xlabel=LABELS["lr"], xscale="log", xlim=(min(tried) / 1.2, 1.2 * max(tried)))
        ax.set(title=context.protocol(study))
        figures.label(ax.xaxis)
    panels[0].set_ylabel("accuracy: mean and range over seeds")
    best = [each["accuracy"]["max"] for study in studies if study for each in study.metrics.values() if each["learned"]]
    panels[0].set_ylim(max(best, default=1.0) - 0.05, max(best, default=1.0) + 0.002)
    _common_legend(figure, panels)
    return figure


def _by_normalization(study: Shown, names: Mapping[tuple, str]) -> dict[str, list[Mapping[str, Any]]]:
    """The points of a study by the name of their normalization, in the order of their learning rates."""
    of: dict[str, list[Mapping[str, Any]]] = {}
    for point in sorted(study.metrics.values(), key=lambda point: point["parameters"]["lr"]):
        norm = {key: point["parameters"][key] for key in ("mean", "std")}
        of.setdefault(names.get(tuple(norm.items()), f"mean {norm['mean']:g}, std {norm['std']:g}"), []).append(point)
    return of


def _ranges(points: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Learning rates, and mean, minimum and maximum of the accuracies: (4, points)."""
    over = [(point["parameters"]["lr"], point["accuracy"]) for point in points]
    return np.array([(lr, of["mean"], of["min"], of["max"]) for lr, of in over]).reshape(-1, 4).T


def cells(studies: Studies, context: Context) -> Figure:
    """A cell for each normalization of a grid: its difference from the reference where all seeds learn.

    Of several points with one normalization, such as one for each learning rate, the best is shown.
    """
    of_studies = [_cells(study) if study else {} for study in studies]
    stds = [sorted({std for _, std in of_study}) for of_study in of_studies if of_study]
    figure, panels = _panels(context, len(studies), 5.5, shared=all(each == stds[0] for each in stds))
    for study, at, ax in zip(studies, of_studies, panels, strict=True):
        if study:
            _draw_cells(ax, at, study, context)
            ax.set_xlabel(LABELS["mean"])
            ax.set_title(context.protocol(study))
    panels[0].set_ylabel(LABELS["std"])
    colors = ScalarMappable(COSTS, context.settings.look.colormap)
    figure.colorbar(colors, ax=panels, extend="both", label="test accuracy: difference from the reference, points")
    _common_legend(figure, panels)
    return figure


def _cells(study: Shown) -> dict[tuple[float, float], tuple[str, Mapping[str, Any]]]:
    """The name and the metrics of the best point of each normalization."""
    at: dict[tuple[float, float], tuple[str, Mapping[str, Any]]] = {}
    for name, each in sorted(study.metrics.items(), key=_goodness):
        at[each["parameters"]["mean"], each["parameters"]["std"]] = name, each
    return at


def _goodness(point: tuple[str, Mapping[str, Any]]) -> tuple[int, float]:
    return point[1]["learned"], point[1]["accuracy"]["mean"] if point[1]["learned"] else 0.0


def _draw_cells(ax: Axes, at: Mapping[tuple, tuple[str, Mapping[str, Any]]], study: Shown, context: Context) -> None:
    means, stds = (sorted({norm[axis] for norm in at}) for axis in (0, 1))
    known = context.settings.normalizations
    marked = {(*known[name].mean, *known[name].std): {name: known[name]} for name in figures.MARKED if name in known}
    costs, greys = np.full((2, len(stds), len(means)), np.nan)
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "textcoords": "offset points"}
    for norm, (name, each) in at.items():
        row, column = stds.index(norm[1]), means.index(norm[0])
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
    ax.secondary_xaxis("top", xlabel=figures.OFFSET).set_xticks(range(len(means)), offsets, fontsize=8)
    right = ax.secondary_yaxis("right")
    right.set_yticks(range(len(stds)), [f"{std / pixels['std']:.2g}" for std in stds], fontsize=8)
    right.set_ylabel(figures.FACTOR)


def epochs(studies: Studies, context: Context) -> Figure:
    """Above, errors after each epoch: mean and range over the seeds; where not all seeds learn, a thin line for each.

    Below, the mean error relative to the reference's and its interval, where all seeds of both learn.
    """
    figure = Figure(figsize=(1 + 6 * len(studies), 8), layout="constrained")
    panels = figure.subplots(2, len(studies), sharex=True, sharey="row", height_ratios=(3, 2), squeeze=False)
    of_studies = [curves(study.rows) if study else {} for study in studies]
    colors = context.sort([name for of_study in of_studies for name in of_study])
    for study, of, above, below in zip(studies, of_studies, *panels, strict=True):
        if not study:
            continue
        for point in sorted(of, key=list(colors).index):
            curve, color = of[point], colors[point]
            errors, learned = (
                100 * np.maximum(1 - curve.accuracy, figures.LEAST),
                curve.accuracy[:, -1] > study.rule.threshold,
            )
            steps, count = np.arange(1, errors.shape[1] + 1), len(learned)
            band: dict[str, Any] = {"color": color, "alpha": 0.15, "linewidth": 0}
            if not learned.all():
                label = f"{point}: {learned.sum()} of {count} seed{'s' * (count > 1)} learn, a line for each"
                lines = above.plot(steps, errors.T, color=color, linewidth=0.8)
                lines[0].set_label(label)
                continue
            label = f"{point} ({count} seed{'s' * (count > 1)})"
            above.plot(steps, errors.mean(axis=0), color=color, marker=".", label=label)
            above.fill_between(steps, errors.min(axis=0), errors.max(axis=0), **band)
            if "difference" in study.metrics[point]:
                pair = curve.paired(of[study.rule.reference])
                both = slice(min(each.accuracy.shape[1] for each in pair))
                relative = 100 * relative_errors(*(1 - each.accuracy[:, both].T for each in pair))
                below.plot(steps[both], relative.mean(axis=1), color=color, marker=".")
                below.fill_between(steps[both], *interval(relative, study.rule.confidence), **band)
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
    for study in filter(None, studies):
        of, reference = curves(study.rows), study.rule.reference
        for point in context.sort([point for point, each in study.metrics.items() if "difference" in each]):
            own, other = (each.accuracy[:, -1] for each in of[point].paired(of[reference]))
            groups[f"{point} - {reference}\n{study.name}"] = 100 * (own - other)
    of_seeds = len(groups)
    trials = [(study, row) for study in studies if study for row in tables.last_epochs(study.rows)]
    groups |= rounding([row for study, row in trials if float(row["accuracy"]) > study.rule.threshold])
    figure = Figure(figsize=(context.settings.look.width, 5.5), layout="constrained")
    ax = figure.subplots()
    labels = []
    for place, (name, values) in enumerate(groups.items()):
        color, count = "C0" if place < of_seeds else "tab:gray", len(values)
        spread = np.linspace(-0.3, 0.3, count) if count > 1 else np.zeros(1)
        ax.scatter(place + spread, values, s=14, color=color, alpha=0.7)
        labels.append(f"{name}\n{count} seed{'s' * (count > 1)}")
        if count > 1:
            labels[-1] += f", std {values.std(ddof=1):.2f}"
            ends = interval(values, context.settings.rule.confidence)
            reach = np.abs(np.reshape(ends, (2, 1)) - values.mean())
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
        for one, other in itertools.combinations(sorted(devices), 2):
            points = 100 * (float(devices[one]["accuracy"]) - float(devices[other]["accuracy"]))
            pairs.setdefault(f"{devices[one]['point']}: rounding,\ntwo kinds of processor", []).append(points)
    return {name: np.array(points) for name, points in pairs.items()}


def largest(studies: Studies, context: Context) -> Figure:
    """The largest learning rate at which all seeds learn against 1 + offset^2, a series for each study.

    A bar ends where no seed learns, with a triangle where the grid of rates ends before. Lines are those of the law.
    """
    figure = Figure(figsize=(context.settings.look.width, 5.5), layout="constrained")
    ax = figure.subplots()
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
    ax.set(xlabel="1 + d², d: the inputs' mean in standard deviations of the pixels")
    ax.set_ylabel("largest learning rate that works:\nbetween where all seeds learn and where none does")
    for axis in (ax.xaxis, ax.yaxis):
        figures.label(axis)
    figures.legend(ax, columns=1)
    return figure


# Trained networks


def networks(studies: Studies, context: Context) -> Figure:
    """Accuracy of trained networks under normalizations, a bar for each treatment, with the interval of its difference
    from the network's own normalization."""
    figure, panels = _panels(context, len(studies), 4.5)
    for study, ax in zip(studies, panels, strict=True):
        if not study:
            continue
        order = dict.fromkeys(row["point"] for row in study.rows)
        norms = {name: study.metrics["normalizations"][name] for name in order}
        treatments = [name for name in get_args(Treatment) if any(name in of for of in norms.values())]
        for number, treatment in enumerate(treatments):
            width = 0.8 / len(treatments)
            of_norm = {place: of[treatment] for place, of in enumerate(norms.values()) if treatment in of}
            x = np.array(list(of_norm)) + (number - (len(treatments) - 1) / 2) * width
            mean, low, high = (
                100
                * np.array(
                    [[of["difference"]["mean"], *of["difference"]["interval"].values()] for of in of_norm.values()]
                ).T
            )
            reach = np.maximum(0, [mean - np.minimum(low, high), np.maximum(low, high) - mean])
            accuracy = [100 * of["accuracy"] for of in of_norm.values()]
            label = treatment.replace("_", " ")
            bars = ax.bar(x, accuracy, width, yerr=reach, label=label, error_kw={"linewidth": 0.8})
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


def _common_legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """One below all panels, with each label once."""
    marks = {label: mark for ax in panels for mark, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=4, frameon=False)


def _column(rows: Sequence[Row], name: str) -> list:
    return [tables.value(row[name]) for row in rows]


class Kind(NamedTuple):
    """of: what `judgement.kind` says of its studies; suits: whether a study has what it draws, which `needs` says."""

    drawn: Callable[[Studies, Context], Figure]
    of: str
    needs: str
    suits: Callable[[Shown], bool]
    panels: bool = True  # one for each study


def _of_lenet(study: Shown) -> bool:
    return study.lenet and not _of_law(study)


def _of_law(study: Shown) -> bool:
    return "offsets" in study.metrics


KINDS = {
    "rates": Kind(rates, "seeds", "points of LeNet over seeds", _of_lenet),
    "cells": Kind(cells, "seeds", "points of LeNet over seeds", _of_lenet),
    "law": Kind(largest, "seeds", "a grid of means and learning rates", _of_law, panels=False),
    "seeds": Kind(seeds, "seeds", "points over seeds", lambda study: not _of_law(study), panels=False),
    "epochs": Kind(epochs, "seeds", "points of LeNet over seeds", _of_lenet),
    "networks": Kind(networks, "treatments", "trained networks under normalizations", lambda study: True),
    "map": Kind(accuracy_maps, "search", "searches over two axes", lambda study: len(free(study.space or {})) == 2),
    "axes": Kind(axes, "search", "searches", lambda study: True, panels=False),
}

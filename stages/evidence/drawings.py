"""The kinds of figures: each draws a panel for each study, from its table and its metrics."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from stages.common import tables
from stages.common.tables import Row, numbers
from stages.evidence import figures
from stages.evidence.judgement import Curves, by_point, curves
from stages.evidence.paired import interval
from stages.settings.params import Axis, Look, Params, Rule, Space, free

COSTS = Normalize(-2, 0)  # of differences, in points
LINEAR = 0.35  # around a mean of 0, within which the axis of means is linear: beyond it, it is logarithmic


class Shown(NamedTuple):
    """A study that is drawn.

    rows:    of its table; metrics: what the judge made of them
    space:   of a search
    marked:  whether a map shows the normalizations of LeNet
    """

    name: str
    rows: Sequence[Row]
    metrics: Mapping[str, Any]
    rule: Rule
    space: Space | None = None
    marked: bool = False


def draw(kind: str, title: str, shown: Mapping[str, Shown | None], settings: Params) -> Figure:
    """A figure of that kind, a panel for each study; a study that is not there leaves its panel empty, and says so."""
    figure = KINDS[kind](list(shown.values()), settings)
    for (name, study), ax in zip(shown.items(), figure.axes, strict=False):
        if study is None:
            ax.text(0.5, 0.5, f"no results of {name}", ha="center", va="center", transform=ax.transAxes)
    figure.suptitle(title)
    return figure


def accuracy_maps(studies: Sequence[Shown | None], settings: Params) -> Figure:
    """Trials of searches over two axes, in the colour of their accuracy."""
    look = settings.contour
    figure, panels = _panels(look, len(studies), look.width / figures.GOLDEN_RATIO, shared=False)
    for study, ax in zip(studies, panels, strict=True):
        if study and (axes := _two(study)):
            (x, y), within = axes
            rows = tables.last_epochs(study.rows)
            xs, ys = (_column(rows, axis) for axis in (x, y))
            accuracy = numbers(rows, "accuracy")
            figures.accuracy_map(figure, ax, xs, ys, accuracy, look, study.rule.threshold, within)
            if study.marked:
                figures.mark(ax, settings.normalizations, size=130)
            figures.legend(ax, columns=3)
            ax.set(title=f"{len(rows)} trials", xlabel=figures.LABELS.get(x, x), ylabel=figures.LABELS.get(y, y))
    return figure


def axes(studies: Sequence[Shown | None], settings: Params) -> Figure:
    """Accuracy against each axis of a search, a small panel for each: what the others were, is left out."""
    (study,) = studies[:1]
    names = (free(study.space) if study and study.space else []) or ["mean"]
    columns = min(3, len(names))
    height = settings.contour.width / columns * -(-len(names) // columns)
    figure = Figure(figsize=(settings.contour.width, height), layout="constrained")
    panels = figure.subplots(-(-len(names) // columns), columns, sharey=True, squeeze=False).flat
    for ax, name in itertools.zip_longest(panels, names):
        if name is None:
            ax.set_visible(False)
            continue
        if study and study.space:
            rows = tables.last_epochs(study.rows)
            accuracy = numbers(rows, "accuracy")
            best = accuracy >= accuracy.max() - study.rule.tolerance
            x = np.array(_column(rows, name))
            figures.limit(ax, {"x": study.space[name]})
            ax.scatter(x[~best], accuracy[~best], s=14, color="tab:gray", clip_on=False)
            label = f"within {100 * study.rule.tolerance:g} points of the best"
            ax.scatter(x[best], accuracy[best], s=24, color="tab:red", label=label, clip_on=False)
            figures.label(ax.xaxis)
        ax.set(xlabel=figures.LABELS.get(name, name))
    figure.axes[0].set_ylabel("accuracy")
    if study:
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", frameon=False)
    return figure


def rates(studies: Sequence[Shown | None], settings: Params) -> Figure:
    """Accuracy against learning rate, a curve for each normalization: mean and range of the seeds that learned."""
    figure, panels = _panels(settings.contour, len(studies), 4.5)
    names = {tuple(norm.parameters().items()): name for name, norm in reversed(settings.normalizations.items())}
    for study, ax in zip(studies, panels, strict=True):
        if not study:
            continue
        by_norm: dict[str, list[tuple[float, np.ndarray]]] = {}
        for rows in by_point(study.rows).values():
            curve, parameters = Curves.of(rows), tables.parameters(rows[0])
            norm = {"mean": parameters["mean"], "std": parameters["std"]}
            name = names.get(tuple(norm.items()), f"mean {norm['mean']:g}, std {norm['std']:g}")
            by_norm.setdefault(name, []).append((float(parameters["lr"]), curve.accuracy[:, -1]))
        for number, (name, tried) in enumerate(by_norm.items()):
            learned = [
                (lr, accuracy[accuracy > study.rule.threshold], len(accuracy))
                for lr, accuracy in sorted(tried, key=lambda each: each[0])
            ]
            whole = [(lr, accuracy) for lr, accuracy, seeds in learned if len(accuracy) == seeds]
            ax.plot(
                [lr for lr, _ in whole],
                [accuracy.mean() for _, accuracy in whole],
                color=f"C{number}",
                marker=".",
                label=name,
            )
            for lr, accuracy in whole:
                ax.plot([lr, lr], [accuracy.min(), accuracy.max()], color=f"C{number}", linewidth=0.8)
            some = [(lr, accuracy.mean()) for lr, accuracy, seeds in learned if 0 < len(accuracy) < seeds]
            xs, ys = [lr for lr, _ in some], [mean for _, mean in some]
            ax.scatter(xs, ys, s=30, facecolors="none", edgecolors=f"C{number}")
        first = tables.parameters(study.rows[0])
        ax.set(title=figures.protocol({key: value for key, value in first.items() if key != "lr"}))
        tried_rates = [lr for tried in by_norm.values() for lr, _ in tried]  # also those at which nothing learns
        ax.set(xlabel=figures.LABELS["lr"], xscale="log", xlim=(min(tried_rates) / 1.2, 1.2 * max(tried_rates)))
        figures.label(ax.xaxis)
        figures.legend(ax, below=0.15)
    panels[0].set_ylabel("accuracy: mean and range over seeds")
    best = max((numbers(study.rows, "accuracy").max() for study in studies if study), default=1.0)
    panels[0].set_ylim(best - 0.05, best + 0.002)
    return figure


def cells(studies: Sequence[Shown | None], settings: Params) -> Figure:
    """A cell for each normalization of a grid: its difference from the reference where all seeds learn."""
    stds = [{each["parameters"]["std"] for each in study.metrics.values()} for study in studies if study]
    figure, panels = _panels(settings.contour, len(studies), 6, shared=all(each == stds[0] for each in stds))
    for study, ax in zip(studies, panels, strict=True):
        if not study:
            continue
        points = study.metrics
        _cells(ax, points, study.rule.reference, settings)
        first = next(iter(points.values()))
        n = first["n"]
        ax.set(title=f"{figures.protocol(first['parameters'])}, {n} seed{'s' if n > 1 else ''}")
        ax.set(xlabel=figures.LABELS["mean"])
    panels[0].set_ylabel(figures.LABELS["std"])
    colors = ScalarMappable(COSTS, settings.contour.colormap)
    figure.colorbar(colors, ax=panels, extend="both", label="test accuracy: difference from the reference, points")
    marks = {label: mark for ax in panels for mark, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=5, frameon=False)
    return figure


def _cells(ax: Axes, points: Mapping[str, Any], reference: str, settings: Params) -> None:
    at = {(each["parameters"]["mean"], each["parameters"]["std"]): (name, each) for name, each in points.items()}
    norms = {name: settings.normalizations[name] for name in figures.MARKED if name in settings.normalizations}
    marked = {(*norm.mean, *norm.std): {name: norm} for name, norm in norms.items()}
    means, stds = (np.unique([point[axis] for point in at]) for axis in (0, 1))
    x, y = _edges(means), np.exp(_edges(np.log(stds)))
    ax.set_xscale("asinh", linear_width=LINEAR)
    ax.set(yscale="log", xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    centres = LINEAR * np.sinh((np.arcsinh(x[1:] / LINEAR) + np.arcsinh(x[:-1] / LINEAR)) / 2)  # as they are seen
    costs = np.full((len(stds), len(means)), np.nan)
    for (mean, std), (name, each) in at.items():
        row, column = np.searchsorted(stds, std), np.searchsorted(means, mean)
        whole = each["learned"] == each["n"]
        known = 0.0 if name == reference else np.nan  # nan: there is nothing to compare it with
        difference = 100 * each["difference"]["mean"] if "difference" in each else known
        costs[row, column] = difference if whole else np.nan
        text = f"{each['learned']} of {each['n']}\nlearn" if each["learned"] else "×"
        if whole and np.isfinite(difference):
            text = f"{difference:+.1f}"
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "textcoords": "offset points"}
        ax.annotate(
            text,
            (centres[column], std),
            (0, -13 if (mean, std) in marked else 0),
            color="white" if whole and COSTS(difference) < 0.6 else "black",
            **style,
        )
        figures.mark(ax, marked.get((mean, std), {}), size=110)
    grey = colormaps[settings.contour.colormap].with_extremes(bad="0.88")  # where not all seeds learn
    ax.pcolormesh(x, y, costs, norm=COSTS, cmap=grey, edgecolors="white", linewidth=0.5)
    ax.set_xticks(means, [f"{tick:g}" for tick in means], rotation=45)
    ax.set_xticks([], minor=True)
    ax.set_yticks(stds, ["1/255" if np.isclose(tick, 1 / 255, rtol=1e-3) else f"{tick:g}" for tick in stds])
    ax.set_yticks([], minor=True)


def _edges(values: np.ndarray) -> np.ndarray:
    """Those of cells around values: in the middle between neighbours, and as far beyond the first and the last."""
    if len(values) == 1:
        return np.array([values[0] - 0.5, values[0] + 0.5])
    middles = (values[1:] + values[:-1]) / 2
    return np.concatenate([[2 * values[0] - middles[0]], middles, [2 * values[-1] - middles[-1]]])


def epochs(studies: Sequence[Shown | None], settings: Params) -> Figure:
    """Above, accuracy after each epoch, mean and range over seeds; below, the difference from the reference, mean and
    interval. Seeds that have not learned at the end are left out, and counted."""
    figure = Figure(figsize=(1 + 6 * len(studies), 8), layout="constrained")
    panels = figure.subplots(2, len(studies), sharex=True, sharey="row", height_ratios=(3, 2), squeeze=False)
    lowest = 1.0
    for study, above, below in zip(studies, *panels, strict=True):
        if not study:
            continue
        of, rule = curves(study.rows), study.rule
        for number, (point, curve) in enumerate(of.items()):
            learned = curve.accuracy[:, -1] > rule.threshold
            if not learned.any():
                continue
            color, steps, shown = f"C{number}", np.arange(1, curve.accuracy.shape[1] + 1), curve.accuracy[learned]
            band: dict[str, Any] = {"color": color, "alpha": 0.15, "linewidth": 0}
            count = f"{learned.sum()} of {len(learned)}" if not learned.all() else len(learned)
            above.plot(
                steps,
                shown.mean(axis=0),
                color=color,
                marker=".",
                label=f"{point} ({count} seed{'s' if len(learned) > 1 else ''})",
            )
            above.fill_between(steps, shown.min(axis=0), shown.max(axis=0), **band)
            lowest = min(lowest, shown.mean(axis=0).min())
            if point != rule.reference and rule.reference in of:
                reference = of[rule.reference]
                reference = reference.part(reference.accuracy[:, -1] > rule.threshold)
                difference = _differences(curve.part(learned), reference)
                if not len(difference):
                    continue
                steps = steps[: difference.shape[1]]
                below.plot(steps, difference.mean(axis=0), color=color, marker=".")
                if len(difference) > 1:
                    below.fill_between(steps, *interval(difference.T, rule.confidence), **band)
        below.axhline(0, color="C0", linewidth=1)
        for end in (-1, 1):
            label = f"the margin, ±{100 * rule.margin:g} points" if end > 0 else ""
            below.axhline(100 * end * rule.margin, color="black", linewidth=0.8, linestyle="dotted", label=label)
        above.set(title=figures.protocol(tables.parameters(study.rows[0])))
        below.set(xlabel="epoch")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        for ax in (above, below):
            if ax.get_legend_handles_labels()[0]:
                ax.legend(frameon=False, loc="lower right")
    panels[0, 0].set_ylabel("test accuracy:\nmean and range over seeds")
    panels[0, 0].set_ylim(bottom=max(panels[0, 0].get_ylim()[0], lowest - 0.02))
    panels[1, 0].set_yscale("symlog", linthresh=1)  # tenths of a point show, beside the wide interval of few seeds
    panels[1, 0].yaxis.set_major_formatter(ScalarFormatter())
    panels[1, 0].set_ylabel("difference from the reference,\npoints: mean and interval")
    return figure


def _differences(curve: Curves, reference: Curves) -> np.ndarray:
    """In points, (seeds, epochs): at the seeds and after the epochs that both have."""
    own, other = curve.paired(reference)
    both = min(own.accuracy.shape[1], other.accuracy.shape[1])
    return 100 * (own.accuracy[:, :both] - other.accuracy[:, :both])


def _panels(look: Look, count: int, height: float, shared: bool = True) -> tuple[Figure, list[Axes]]:
    """shared: whether they have one vertical axis"""
    figure = Figure(figsize=(look.width * (1 if count == 1 else 1.1), height), layout="constrained")
    return figure, list(figure.subplots(1, count, sharey=shared, squeeze=False)[0])


def _two(study: Shown) -> tuple[tuple[str, str], tuple[Axis, Axis]] | None:
    """The two axes of a search that are free, and where they were searched; None if there are not two."""
    names = free(study.space) if study.space else []
    if len(names) != 2 or not study.space:
        return None
    searched = study.space
    return (names[0], names[1]), (searched[names[0]], searched[names[1]])


def _column(rows: Sequence[Row], name: str) -> list:
    return [tables.value(row[name]) for row in rows]


KINDS: dict[str, Callable[[Sequence[Shown | None], Params], Figure]] = {
    "map": accuracy_maps,
    "axes": axes,
    "rates": rates,
    "cells": cells,
    "epochs": epochs,
}

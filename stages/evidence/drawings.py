"""The kinds of figures: each draws studies from their tables and metrics, most of them a panel for each study."""

import io
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter

from stages.common import files, tables
from stages.common.errors import InputError
from stages.evidence import judgement, law
from stages.evidence.paired import interval, relative_errors
from stages.evidence.words import TREATMENTS, exponent, network, protocol, shared
from stages.settings.params import SWEEP, Params, Rule, Space, free
from stages.settings.params import Figure as Drawn

GOLDEN_RATIO = (1 + math.sqrt(5)) / 2
LABELS = {  # of axes, by the name of the parameter
    "mean": "mean: what is subtracted (pixels lie in [0, 1])",
    "std": "std: what the difference is divided by",
    "lr": "learning rate in the first epoch",
    **{f"{kind}_{color[0]}": f"{kind}, {color}" for kind in ("mean", "std") for color in ("red", "green", "blue")},
}
LEAST = 5e-5  # error that is drawn: that of a perfect trial of 10,000 images counts as half a wrong one
OFFSET = "distance from the mean of the pixels,\nin their standard deviations"
FACTOR = "std, in standard deviations of the pixels"
MARKED = {"standard": "*", "zero_one": "d", "none": "s"}  # normalizations that maps show, and their markers
Pixels = Mapping[str, float]  # mean and std of the data, fractions


class Shown(NamedTuple):
    """A study that is drawn: its table, and what the judge made of it."""

    name: str
    kind: str  # as `judgement.kind` says
    table: pd.DataFrame
    metrics: Mapping[str, Any]  # empty, if it is a search
    rule: Rule
    space: Space  # empty, if it is no search


def make(figure: Drawn, path: Path, settings: Params) -> None:
    """Draws a figure of params.yaml, and saves it."""
    pixels = files.read_json(Path("metrics/statistics.json"))["train"]
    with judgement.whole(f"a table or metrics file of {', '.join(figure.studies)}", "`dvc repro` makes it again"):
        studies = [study for name in figure.studies if (study := _read(name, settings))]
        drawn = draw(figure, studies, settings, pixels)
    save(drawn, path, settings.look.dpi)


def _read(name: str, settings: Params) -> Shown | None:
    """The study, if it has results."""
    study, judged = settings.studies.get(name), Path(f"metrics/studies/{name}.json")
    search = settings.sweep if name == SWEEP else study and study.search
    if not tables.path(name).exists() or not (search or judged.exists()):
        return None
    metrics, space = ({}, search.space) if search else (files.read_json(judged), {})
    return Shown(name, judgement.kind(study, metrics), tables.read(name), metrics, settings.rule.of(name), space)


def draw(figure: Drawn, studies: Sequence[Shown], settings: Params, pixels: Pixels) -> Figure:
    """A figure of these studies; those that it names besides have no results, which its title says.

    raises: InputError if the kind does not suit a study
    """
    kind, look = KINDS[figure.kind], settings.look
    for study in studies:
        if study.kind != kind.of or not kind.suits(study):
            raise InputError(f"params.yaml: {study.name} cannot be drawn as {figure.kind}, which draws {kind.needs}")
    style: Any = {"figure.constrained_layout.use": True, "legend.frameon": False, "image.cmap": look.colormap}
    with matplotlib.rc_context(style):
        drawn = kind.drawn(studies, settings, pixels) if studies else Figure()
    drawn_names = [study.name for study in studies]
    missing = [f"no results of {name}" for name in figure.studies if name not in drawn_names]
    drawn.suptitle("\n".join([figure.title, *missing]))
    for line in missing:
        print(f"{figure.title}: {line}")
    return drawn


# Searches


def accuracy_maps(studies: Sequence[Shown], settings: Params, pixels: Pixels) -> Figure:
    """Trials of searches over pairs of their axes: learned ones in the color of their accuracy, others as crosses.

    The first half of the axes with the second: mean and std, of each channel. One that has no other is both.
    """
    maps = []
    for study in studies:
        axes = free(study.space)
        half = len(axes) // 2
        maps += [(study, pair) for pair in zip(axes[: len(axes) - half], axes[half:], strict=True)]
    figure, panels = _panels(settings, len(maps), settings.look.width / GOLDEN_RATIO, shared=False)
    for (study, names), ax in zip(maps, panels, strict=True):
        trials = tables.last_epochs(study.table)
        for axis, name in zip("xy", names, strict=True):
            searched = study.space[name]
            limits, scale = (searched.low, searched.high), "log" if searched.log else "linear"
            ax.set(**{f"{axis}label": LABELS.get(name, name), f"{axis}scale": scale, f"{axis}lim": limits})
            plain_ticks(getattr(ax, f"{axis}axis"))
        x, y, accuracy = (trials[name].to_numpy(float) for name in (*names, "accuracy"))
        threshold = study.rule.threshold
        learned = accuracy > threshold
        style: dict[str, Any] = {"clip_on": False, "zorder": 2}  # a trial at the edge is whole
        if not learned.all():
            label = f"failed: accuracy up to {threshold:.0%} ({(~learned).sum()})"
            ax.scatter(x[~learned], y[~learned], s=20, c="tab:gray", marker="x", label=label, **style)
        if learned.any():
            # A quarter of the trials may lie below the scale: else a few bad ones would take most of its colors.
            low, high = np.quantile(accuracy[learned], 0.25), accuracy[learned].max()
            style |= {"s": 30, "edgecolors": "black", "linewidths": 0.4, "vmin": low, "vmax": high}
            label = f"{'learned' if threshold else 'trials'} ({learned.sum()})"
            points = ax.scatter(x[learned], y[learned], c=accuracy[learned], label=label, **style)
            figure.colorbar(points, ax=ax, label="test accuracy", extend="min", format=PercentFormatter(1))
        of_lenet = "optimizer" in trials
        if of_lenet and names == ("mean", "std"):
            for name, norm in settings.normalizations.items():
                place, (low, high) = (norm.mean[0], norm.std[0]), np.transpose([ax.get_xlim(), ax.get_ylim()])
                if name in MARKED and np.all((low <= place) & (place <= high)):
                    mark_place(ax, name, place)
            axes_in_stds(ax, pixels)
        best = accuracy.argmax()
        mark_place(ax, f"best: {accuracy[best]:.2%}", (x[best], y[best]))
        legend_below(ax, columns=3 if len(maps) == 1 else 1)
        trained = protocol(tables.parameters(trials)[0], settings) if of_lenet else network(settings, study.name)
        ax.set_title(textwrap.fill(f"{len(trials)} trials, {trained}", 110 // len(maps)))
    return figure


# Points over seeds


def rates(studies: Sequence[Shown], settings: Params, pixels: Pixels) -> Figure:
    """Accuracy against learning rate, a curve for each normalization: mean and range of the seeds.

    Where only some of the seeds learn, a hollow point is their mean.
    """
    figure, panels = _panels(settings, len(studies), 4.5)
    tried = [judgement.point_table(study.metrics, settings.normalizations).sort_values("lr") for study in studies]
    colors = _colors(settings, pd.concat(tried)["normalization"].tolist())
    for study, points, ax in zip(studies, tried, panels, strict=True):
        for name, color in colors.items():
            of_name = points[points["normalization"] == name]
            all_learn, some_learn = of_name.query("learned == n"), of_name.query("0 < learned < n")
            lr, mean = all_learn["lr"], all_learn["accuracy_mean"]
            reach = mean - all_learn["accuracy_min"], all_learn["accuracy_max"] - mean
            ax.errorbar(lr, mean, reach, color=color, marker=".", elinewidth=0.8, label=_described(name, settings))
            ax.plot(some_learn["lr"], some_learn["accuracy_mean"], "o", color=color, markerfacecolor="none")
        if len(points.query("0 < learned < n")):
            ax.errorbar([], [], fmt="o", color="black", mfc="none", label="only some of the seeds learn: their mean")
        low, high = points["lr"].min(), points["lr"].max()  # also those at which nothing learns
        title = f"{_title(study, settings, len(studies))}, {_counted(points['n'].max())}"
        ax.set(xlabel=LABELS["lr"], xscale="log", xlim=(low / 1.2, 1.2 * high), title=title)
        plain_ticks(ax.xaxis)
    top = max(pd.concat(tried)["accuracy_max"].dropna(), default=1.0)
    best = pd.concat(tried).query("learned == n").groupby("normalization")["accuracy_mean"].max()
    bottom = min([top - 0.05, *(best - 0.01)])  # the best point of each is seen
    panels[0].set(ylabel="accuracy: mean and range over seeds", ylim=(bottom, top + 0.002))
    panels[0].yaxis.set_major_formatter(PercentFormatter(1))
    _common_legend(figure, panels)
    return figure


def cells(studies: Sequence[Shown], settings: Params, pixels: Pixels) -> Figure:
    """A cell for each normalization: its difference from the reference where all seeds learn, else how many do."""
    tried = [judgement.point_table(study.metrics, settings.normalizations) for study in studies]
    means, stds = (sorted({*pd.concat(tried)[axis]}) for axis in ("mean", "std"))
    figure, panels = _panels(settings, len(studies), 3.4 + 0.3 * len(stds))
    shades = ScalarMappable(Normalize(-2, 0), matplotlib.colormaps[settings.look.colormap].with_extremes(bad="white"))
    for study, points, ax in zip(studies, tried, panels, strict=True):
        reference = (points["name"] == study.rule.reference) & (points["learned"] == points["n"])
        points["cost"] = 100 * points["difference_mean"].mask(reference, 0.0)
        # Of several points in a cell, such as one for each learning rate, the best is shown.
        best = points.sort_values(["learned", "accuracy_mean"]).drop_duplicates(["mean", "std"], keep="last")
        for cell in best.itertuples():
            x, y, label = means.index(cell.mean), stds.index(cell.std), None
            color: Any = shades.to_rgba(cell.cost)
            if cell.learned < cell.n:
                color, label = ("0.88", "only some of the seeds learn") if cell.learned else ("0.7", "no seed learns")
            ax.bar(x, 1, 1, y - 0.5, color=color, edgecolor="white", label=label)
            if marked := cell.normalization in MARKED:
                mark_place(ax, cell.normalization, (cell.mean, cell.std), (x, y + 0.1))
            text = f"{cell.learned} of {cell.n}" if math.isnan(cell.cost) else f"{cell.cost:+z.1f}"
            text_color = "white" if to_rgb(color)[1] < 0.65 else "black"  # green is most of the brightness
            ax.text(x, y - 0.3 * marked, text, color=text_color, ha="center", va="center", fontsize=8)
        ax.set_xticks(range(len(means)), map(_number, means), rotation=45)
        offsets = [f"{(mean - pixels['mean']) / pixels['std']:+.1f}" for mean in means]
        ax.secondary_xaxis("top", xlabel=OFFSET).set_xticks(range(len(means)), offsets, fontsize=8)
        ax.set(xlabel=LABELS["mean"], xlim=(-0.5, len(means) - 0.5), ylim=(-0.5, len(stds) - 0.5))
        rate = ", each at its best rate" if points["lr"].nunique() > 1 else ""
        ax.set_title(f"{_title(study, settings, len(studies))}, {_counted(points['n'].max())}{rate}")
    panels[0].set_yticks(range(len(stds)), map(_number, stds))
    panels[0].set_ylabel(LABELS["std"])
    factors = [f"{std / pixels['std']:.2g}" for std in stds]
    panels[-1].secondary_yaxis("right", ylabel=FACTOR).set_yticks(range(len(stds)), factors, fontsize=8)
    references = ", ".join(dict.fromkeys(study.rule.reference for study in studies))
    figure.colorbar(shades, ax=panels, extend="both", label=f"test accuracy: difference from {references}, points")
    _common_legend(figure, panels)
    return figure


def epochs(studies: Sequence[Shown], settings: Params, pixels: Pixels) -> Figure:
    """Above, errors after each epoch: mean and range over the seeds; where not all seeds learn, a thin line for each.

    Below, the mean error relative to the reference's and its interval, where all seeds of both learn.
    """
    figure = Figure(figsize=(1 + 6 * len(studies), 8))
    panels = figure.subplots(2, len(studies), sharex=True, sharey="row", height_ratios=(3, 2), squeeze=False)
    colors = _colors(settings, [point for study in studies for point in study.metrics])
    for study, (above, below) in zip(studies, panels.T, strict=True):
        reference, threshold = study.rule.reference, study.rule.threshold
        curves = study.table.pivot(index=["point", "seed"], columns="epoch", values="accuracy")
        for point, color in colors.items():
            if (of := study.metrics.get(point)) is None:
                continue
            curve, count = curves.loc[point].dropna(axis=1), _counted(of["n"])
            errors = 100 * np.maximum(1 - curve, LEAST)
            if of["learned"] < of["n"]:
                lines = above.plot(curve.columns, errors.T, color=color, linewidth=0.8)
                lines[0].set_label(f"{point}: {of['learned']} of {count} learn, a line for each")
                continue
            band: dict[str, Any] = {"color": color, "alpha": 0.15, "linewidth": 0}
            above.plot(curve.columns, errors.mean(), color=color, marker=".", label=f"{point} ({count})")
            above.fill_between(curve.columns, errors.min(), errors.max(), **band)
            if "difference" in of:
                pair = curve.align(curves.loc[reference].dropna(axis=1), join="inner")
                relative = 100 * relative_errors(*(1 - each.to_numpy().T for each in pair))
                below.plot(pair[0].columns, relative.mean(axis=1), color=color, marker=".")
                below.fill_between(pair[0].columns, *interval(relative, study.rule.confidence), **band)
        below.axhline(0, color=colors.get(reference, "black"), linewidth=1)
        lowest = curves.min(axis=1).groupby("point").min()
        highest = max(1 - lowest[lowest > threshold], default=1)
        above.set(title=_title(study, settings, len(studies)), yscale="log")
        above.set_ylim(top=100 * highest * 2)  # dead seeds lie above: the legend counts them
        below.set_xlabel("epoch")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        plain_ticks(above.yaxis)
        above.legend()
    panels[0, 0].set_ylabel("test error, % (log scale):\nmean and range over seeds")
    panels[1, 0].set_ylabel("relative increase in errors, %:\nmean and interval")
    return figure


def seeds(studies: Sequence[Shown], settings: Params, pixels: Pixels) -> Figure:
    """Differences from the reference, a point for each seed, their mean and its interval; grey: of rounding."""
    figure, (ax,) = _panels(settings, 1, 5.5)
    groups: dict[str, np.ndarray] = {}
    for study in studies:
        ended, reference = judgement.ends(study.table), study.rule.reference
        compared = [point for point, each in study.metrics.items() if "difference" in each]
        for point in _colors(settings, compared):
            differences = (ended[point]["accuracy"] - ended[reference]["accuracy"]).dropna()  # of the same seeds
            groups[f"{point} - {reference}\n{study.name}"] = 100 * differences.to_numpy()
    of_rounding = rounding([study.table for study in studies], settings.rule.threshold)
    labels = []
    for place, (name, values) in enumerate((groups | of_rounding).items()):
        count, color = len(values), "tab:gray" if name in of_rounding else "C0"
        ax.scatter(place + np.linspace(-0.3, 0.3, count) * (count > 1), values, s=14, color=color, alpha=0.7)
        labels.append(f"{name}\n{_counted(count)}")
        if count > 1:
            labels[-1] += f", std {values.std(ddof=1):.2f}"
            low, high = interval(values, settings.rule.confidence)
            ax.errorbar(place, (low + high) / 2, (high - low) / 2, color="black", fmt="_", capsize=6)
    ax.set_xticks(range(len(labels)), labels, fontsize=8 if len(labels) < 7 else 6)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_ylabel(f"difference in accuracy, points:\nevery seed; mean and its {settings.rule.confidence:.0%} interval")
    return figure


def rounding(of_studies: Sequence[pd.DataFrame], threshold: float) -> dict[str, np.ndarray]:
    """Differences in accuracy, in points, of the same trial on two kinds of processor, where it learns; by point.

    of_studies: their tables
    """
    ends = [tables.last_epochs(table) for table in of_studies]
    keys = [tuple(sorted(parameters.items())) for table in ends for parameters in tables.parameters(table)]
    trials = pd.concat(ends)[["point", "accuracy", "device"]].assign(parameters=keys)
    trials = trials[trials["accuracy"] > threshold].drop_duplicates(["parameters", "device"], keep="last")
    pairs = trials.merge(trials, on="parameters", suffixes=("", "_other")).query("device < device_other")
    points = 100 * (pairs["accuracy"] - pairs["accuracy_other"])
    by_point = points.groupby(pairs["point"] + ": rounding,\ntwo kinds of processor", sort=False)
    return {name: differences.to_numpy() for name, differences in by_point}


def largest(studies: Sequence[Shown], settings: Params, pixels: Pixels) -> Figure:
    """The largest learning rate at which all seeds learn against 1 + offset^2, a series for each study.

    A bar ends where no seed learns, with a triangle where the grid of rates ends before. Lines are those of the law.
    """
    figure, (ax,) = _panels(settings, 1, 5.5)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="1 + d², d: distance of the inputs' mean from 0, in standard deviations of the pixels",
        ylabel="largest learning rate that works",
    )
    for number, study in enumerate(studies):
        color, tried, offsets = f"C{number}", study.table["lr"], study.metrics["offsets"].values()
        for each in offsets:
            x, works, fails = 1 + each["offset"] ** 2, each.get("all"), each.get("none")
            ends = works or tried.min(), fails or tried.max()
            ax.plot([x, x], ends, color=color, linewidth=1)
            ax.plot(x, ends[0], color=color, marker="o" if works else "v")
            ax.plot(x, ends[1], color=color, marker="_" if fails else "^")
        x = np.array([1, 1 + max(each["offset"] for each in offsets) ** 2])
        rate, fitted = study.metrics.get("rate_at_0", math.nan), study.metrics.get("exponent", {"estimate": math.nan})
        runs = {str(number): {"parameters": each} for number, each in enumerate(tables.parameters(study.table))}
        name = f"{protocol(shared(runs), settings)}: {exponent(study.metrics)}"
        ax.plot(x, rate * x ** -fitted["estimate"], color=color, linewidth=0.8, label=name)
        ax.plot(x, rate * x**-law.EXPONENT, color=color, linestyle="dotted")
    ax.plot([], [], color="black", linestyle="dotted", label=f"theory: exponent {-law.EXPONENT:g}")
    ax.errorbar([], [], [], fmt="o", color="black", lolims=True, label="all seeds learn; the bar ends where none does")
    plain_ticks(ax.xaxis, ax.yaxis)
    legend_below(ax, columns=1)
    return figure


# Trained networks


def networks(studies: Sequence[Shown], settings: Params, pixels: Pixels) -> Figure:
    """Accuracy of trained networks under normalizations, a bar for each treatment, with the interval of its difference
    from the network's own normalization."""
    figure, panels = _panels(settings, len(studies), 4.5, widths=[len(study.table) for study in studies])
    bar_of = "accuracy", "difference_mean", "difference_interval_low", "difference_interval_high"
    for study, ax in zip(studies, panels, strict=True):
        norms = pd.json_normalize([study.metrics["normalizations"][name] for name in study.table["point"]], sep="_")
        labels = {name: label for name, label in TREATMENTS.items() if f"{name}_accuracy" in norms}
        width = 0.8 / len(labels)
        for number, (treatment, label) in enumerate(labels.items()):
            accuracy, mean, low, high = (100 * norms[f"{treatment}_{name}"] for name in bar_of)
            x = np.arange(len(norms)) + (number - (len(labels) - 1) / 2) * width
            reach = np.maximum(0, [mean - low, high - mean])
            bars = ax.bar(x, accuracy, width, label=label, yerr=reach, error_kw={"linewidth": 0.8})
            ax.bar_label(bars, fmt="%.1f", fontsize=6, padding=2)
        ax.set_xticks(range(len(norms)), study.table["point"], rotation=45, ha="right")
        title = f"{network(settings, study.name)}, {study.metrics['images']:,} images"
        ax.set_title(textwrap.fill(title, 80 // len(studies)))
    panels[0].set_ylabel("accuracy, %; whiskers: interval of the\nchange from the unchanged network")
    _common_legend(figure, panels)
    return figure


# What all share


def plain_ticks(*axes: Axis) -> None:
    """Plain numbers along axes; on logarithmic ones at 1, 2 and 5 of every decade, within one at all ticks."""
    for axis in axes:
        axis.set_major_formatter("{x:g}")
        low, high = axis.get_view_interval()
        if axis.get_scale() == "log" and high < 10 * low:
            axis.set_minor_formatter("{x:g}")
        elif axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_minor_locator(NullLocator())


def legend_below(ax: Axes, columns: int) -> None:
    """Below the axes: within them it would hide trials."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=columns)


def _number(number: float) -> str:
    return "1/255" if math.isclose(number, 1 / 255, rel_tol=1e-3) else f"{number:.4g}"


def in_brackets(mean: float, std: float) -> str:
    return f"({_number(mean)}, {_number(std)})"


def mark_place(ax: Axes, name: str, numbers: tuple[float, float], place: tuple[float, float] | None = None) -> None:
    """A normalization by name, mean and std, hollow, so that it hides no trial; place: if it is not at its numbers."""
    style: dict[str, Any] = {"facecolors": "none", "edgecolors": "red", "linewidths": 1.2, "zorder": 3}
    label = f"{name} {in_brackets(*numbers)}"
    ax.scatter(*(place or numbers), s=110, marker=MARKED.get(name, "o"), label=label, **style)


def axes_in_stds(ax: Axes, pixels: Mapping[str, float]) -> None:
    """Second axes over (mean, std), in standard deviations of the pixels."""
    mean, std = pixels["mean"], pixels["std"]
    offset: Any = (lambda x: (x - mean) / std, lambda offset: mean + offset * std)
    factor: Any = (lambda y: y / std, lambda factor: factor * std)
    plain_ticks(ax.secondary_xaxis("top", functions=offset, xlabel=OFFSET).xaxis)
    plain_ticks(ax.secondary_yaxis("right", functions=factor, ylabel=FACTOR).yaxis)


def save(figure: Figure, path: Path, dpi: int) -> None:
    """As PNG, the same bytes for the same picture: without the version of matplotlib."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=dpi, metadata={"Software": None})
    files.write_bytes(path, image.getvalue())


def _title(study: Shown, settings: Params, panels: int) -> str:
    """How the study was trained, in lines that fit above one of so many panels."""
    return textwrap.fill(protocol(shared(study.metrics), settings), 110 // panels)


def _colors(settings: Params, points: Sequence[str]) -> dict[str, str]:
    """A color for each name of a point: normalizations come first, and have the same one in all pictures."""
    numbered = enumerate(dict.fromkeys([*settings.normalizations, *points]))
    return {name: f"C{number % 10}" for number, name in numbered if name in points}


def _described(name: str, settings: Params) -> str:
    """A normalization's name and numbers; of points by another name, the name."""
    norm = settings.normalizations.get(name)
    return f"{name} {in_brackets(norm.mean[0], norm.std[0])}" if norm else name


def _panels(
    settings: Params, count: int, height: float, shared: bool = True, widths: Sequence[int] | None = None
) -> tuple[Figure, list[Axes]]:
    """shared: whether they have one vertical axis; widths: relative to each other"""
    figure = Figure(figsize=(settings.look.width * (1 + 0.15 * (count - 1)), height))
    return figure, list(figure.subplots(1, count, sharey=shared, squeeze=False, width_ratios=widths)[0])


def _common_legend(figure: Figure, panels: Iterable[Axes]) -> None:
    """One below all panels, with each label once."""
    marks = {label: mark for ax in panels for mark, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=5)


def _counted(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


class Kind(NamedTuple):
    """of: what `judgement.kind` says of its studies; suits: whether a study has what it draws, which `needs` says."""

    drawn: Callable[[Sequence[Shown], Params, Pixels], Figure]
    of: str
    needs: str
    suits: Callable[[Shown], bool] = lambda study: True


KINDS = {
    "rates": Kind(rates, "seeds", "points of LeNet over seeds", lambda study: "lr" in study.table),
    "cells": Kind(cells, "seeds", "points over seeds"),
    "law": Kind(largest, "law", "a grid of means and learning rates"),
    "seeds": Kind(seeds, "seeds", "points over seeds"),
    "epochs": Kind(epochs, "seeds", "points over seeds"),
    "networks": Kind(networks, "treatments", "trained networks under normalizations"),
    "map": Kind(accuracy_maps, "search", "searches over one axis or more", lambda study: bool(free(study.space))),
}

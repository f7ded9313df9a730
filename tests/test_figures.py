"""Figures of every kind, from made-up tables: what they show is what the tables say."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import matplotlib
import numpy as np
import pandas as pd
import pytest
from conftest import SETTINGS, refused
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from pydantic import TypeAdapter

from stages.evidence import drawings, judgement, law, words
from stages.evidence.drawings import Shown
from stages.settings import params
from stages.settings.params import Space

pytestmark = pytest.mark.filterwarnings("error")
RULE = SETTINGS.rule.for_study("any")
RANDOM = np.random.default_rng(1)
X, Y = RANDOM.uniform(-3, 3, 60), np.exp(RANDOM.uniform(-2, 2, 60))
PLANE = {"mean": {"low": -4, "high": 4}, "std": {"low": 0.1, "high": 10, "log": True}}
STANDARD = {"mean": 0.1307, "std": 0.3081}
PIXELS = {"mean": 0.13, "std": 0.3}

Values = np.ndarray | Sequence


@pytest.fixture(autouse=True)
def pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgement, "pixels", lambda: PIXELS)


def table(*trials: tuple[str, Mapping[str, Any], Values]) -> pd.DataFrame:
    """The table of trials: the name of the point, the parameters, the accuracy after each epoch."""
    rows = [
        {"trial": number, "point": point, **of_trial, "epoch": epoch, "accuracy": reached, "loss": 0.1, "device": "cpu"}
        for number, (point, of_trial, accuracy) in enumerate(trials)
        for epoch, reached in enumerate(accuracy, 1)
    ]
    return pd.DataFrame(rows).convert_dtypes().astype({"accuracy": float, "loss": float})  # as it is read


def shown(name: str, rows: pd.DataFrame, **metrics: Any) -> Shown:
    said = {"rule": RULE.model_dump(), "network": "LeNet", "trained": words.trained(rows, SETTINGS)}
    return Shown(name, rows, metrics | said)


def over_seeds(points: Mapping[str, tuple[Mapping[str, Any], Values]]) -> Shown:
    """A study of points over seeds; of each its parameters and accuracies, (seeds, epochs) or (seeds,)."""
    trials = [
        (name, {**of_point, "optimizer": "sgd", "epochs": np.size(accuracy), "seed": seed}, np.atleast_1d(accuracy))
        for name, (of_point, over) in points.items()
        for seed, accuracy in enumerate(over)
    ]
    rows = table(*trials)
    return shown("points", rows, kind="seeds", points=judgement.comparison(rows, RULE, images=10_000))


def search(accuracy: Values, space: Mapping[str, Any], columns: Mapping[str, Values], **fixed: str) -> Shown:
    """A search over these columns; accuracy: of each trial after each epoch."""
    trials = zip(*columns.values(), accuracy, strict=True)
    rows = table(*(("", dict(zip(columns, numbers, strict=True)) | fixed, curve) for *numbers, curve in trials))
    space = TypeAdapter(Space).validate_python(space)
    free = [axis for axis in reversed(space) if space[axis].low < space[axis].high]  # JSON has them in any order
    axes = {axis: space[axis].model_dump() for axis in free}
    return shown("search", rows, kind="search", axes=axes)


def of_law(largest: Mapping[float, Sequence[float]]) -> Shown:
    """A study over means and rates: by mean, the largest rate at which each seed learns."""
    study = over_seeds(
        {
            f"{mean} {rate}": ({**STANDARD, "mean": mean, "lr": rate}, np.where(rate <= np.array(of_seeds), 0.95, 0.1))
            for mean, of_seeds in largest.items()
            for rate in (0.001, 0.01, 0.1)
        }
    )
    return shown("offsets", study.table, kind="law", **law.law(study.table, PIXELS, RULE))


def treated() -> Shown:
    """A trained network whose normalizations and treatments have an accuracy of 0.8, on 100 images; its own has 0.9."""
    row: dict[str, Any] = {"mean": 0.5, "std": 0.5, "treated": 2, "epoch": 1, "accuracy_own": 0.9}
    for suffix in ("", "_recalibrated"):
        row |= {f"accuracy{suffix}": 0.8, f"lost{suffix}": 10, f"gained{suffix}": 0}
    rows = pd.DataFrame([{"trial": trial, "point": point} | row for trial, point in enumerate(("own", "zero_one"))])
    return shown("network", rows, kind="treatments", **judgement.treatments(rows, 100, RULE))


SUITABLE = [  # studies, and the kinds of figures that can draw them
    (search([[0.9]] * 3, PLANE, {"mean": X[:3], "std": Y[:3]}), "map"),
    (search([[0.9]] * 3, {"mean": 0, "std": 1}, {"mean": [0] * 3}), "none"),
    (of_law({0.13: [0.1] * 3, -0.5: [0.1] * 3}), "law"),
    (treated(), "networks"),
    (over_seeds({"standard": (STANDARD, [0.9])}), "cells, seeds, epochs"),
    (over_seeds({"standard": ({**STANDARD, "lr": 0.01}, np.full((3, 2), 0.9))}), "rates, cells, seeds, epochs"),
    (over_seeds({"standard": ({**STANDARD, "lr": 0.01}, [0.1])}), "rates, cells, seeds, epochs"),  # learns nothing
]


def drawn(kind: str, *studies: Shown, missing: Sequence[str] = ()) -> tuple[Figure, list[Any]]:
    names = [*(study.name for study in studies), *missing]
    asked = params.Figure(kind=cast(Any, kind), studies=names, title="Title")
    figure = drawings.draw(asked, studies, SETTINGS)
    return figure, cast(list[Any], figure.axes)


def points(ax: Any) -> dict[str, np.ndarray]:
    """The coordinates of all points, by the first word of their label."""
    collections = [each for each in ax.collections if isinstance(each, PathCollection)]
    return {str(each.get_label()).partition(" ")[0]: np.asarray(each.get_offsets()) for each in collections}


def texts(artists: Iterable[Any]) -> list[str]:
    return [artist.get_text() for artist in artists]


# All kinds


@pytest.mark.parametrize("kind", get_args(params.Figure.model_fields["kind"].annotation))
@pytest.mark.parametrize(("study", "suitable"), SUITABLE)
def test_study_is_drawn_as_what_suits_it_and_else_refused_in_one_line(study: Shown, suitable: str, kind: str) -> None:
    if kind in suitable.split(", "):
        figure, _ = drawn(kind, study, missing=["absent"])
        figure.draw_without_rendering()
        assert figure.get_suptitle() == "Title\nno results of absent"
    else:
        wrong = f"params.yaml: {study.name} cannot be drawn as {kind}; accepted: {suitable}"
        assert refused(drawn, kind, study) == wrong


def test_figure_without_any_results_says_so() -> None:
    figure, panels = drawn("map", missing=["absent"])
    assert (figure.get_suptitle(), panels) == ("Title\nno results of absent", [])


def test_title_is_no_formula() -> None:
    figure = drawings.draw(params.Figure(kind="map", studies=["absent"], title="$x$ and $y_{$"), [], SETTINGS)
    figure.draw_without_rendering()


def test_intervals_of_several_confidences_are_named() -> None:
    study = over_seeds({name: ({**STANDARD, "lr": 1.0}, [0.98, 0.97]) for name in ("standard", "other")})
    other = study._replace(metrics={**study.metrics, "rule": {**study.metrics["rule"], "confidence": 0.8}})
    _, (ax,) = drawn("seeds", study, other)
    assert "its 95% or 80% interval" in ax.get_ylabel()


def test_picture_is_always_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        drawings.make(SETTINGS.figures["law"], tmp_path / name, {}, SETTINGS)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


# Searches


def test_map_shows_the_last_epoch_of_every_trial() -> None:
    accuracy = np.where(X < 0, 0.95 + X / 100, 0.1)
    _, (ax, bar) = drawn("map", search(np.stack([accuracy / 2, accuracy], axis=1), PLANE, {"mean": X, "std": Y}))
    shown, xy = points(ax), np.stack([X, Y], axis=1)
    assert shown.keys() == {"learned", "failed:", "best:"}
    np.testing.assert_allclose(shown["learned"], xy[X < 0])
    np.testing.assert_allclose(shown["failed:"], xy[X >= 0])
    np.testing.assert_allclose(shown["best:"], xy[[accuracy.argmax()]])
    assert (ax.get_title(), ax.get_yscale()) == ("60 trials, LeNet", "log")
    assert (ax.get_xlim(), ax.get_ylim()) == ((-4, 4), (0.1, 10))
    (learned,) = (each for each in ax.collections if each.get_array() is not None)
    np.testing.assert_allclose(learned.get_array(), accuracy[X < 0])
    assert bar.get_ylim() == pytest.approx((np.quantile(accuracy[X < 0], 0.25), accuracy.max()))


def test_map_of_lenet_marks_the_normalizations_that_lie_within() -> None:
    _, (ax, *_) = drawn("map", search([[0.9]] * 60, PLANE, {"mean": X, "std": Y}, optimizer="sgd"))
    *names, _ = texts(ax.get_legend().get_texts())
    assert names == ["learned (60)", "standard (0.1307, 0.3081)", "zero_one (0, 1)"]  # none's std is beyond the axes


def test_map_with_a_logarithmic_mean_has_no_axis_of_distances() -> None:
    space = PLANE | {"mean": {"low": 0.01, "high": 0.1, "log": True}}
    study = search([[0.9]] * 3, space, {"mean": [0.02, 0.03, 0.05], "std": Y[:3]}, optimizer="sgd")
    figure, (ax, *_) = drawn("map", study)
    figure.draw_without_rendering()
    assert [child.get_ylabel() for child in ax.child_axes] == [drawings.FACTOR]


@pytest.mark.parametrize(
    ("space", "pairs"),
    [
        ("mean_r mean_g mean_b std_r std_g std_b", ["mean_r std_r", "mean_g std_g", "mean_b std_b"]),
        ("mean std lr", ["mean std", "std lr"]),
    ],
)
def test_each_pair_of_axes_has_its_panel(space: str, pairs: list[str]) -> None:
    columns = {name: RANDOM.uniform(0.3, 0.6, 20) for name in space.split()}
    _, panels = drawn("map", search([[0.9]] * 20, {name: {"low": 0.2, "high": 0.6} for name in columns}, columns))
    for ax, (x, y) in zip(panels[: len(pairs)], map(str.split, pairs), strict=True):
        assert (ax.get_xlabel(), ax.get_ylabel()) == (drawings.LABELS[x], drawings.LABELS[y])
        np.testing.assert_allclose(points(ax)["learned"], np.stack([columns[x], columns[y]], axis=1))


# Points over seeds


def test_curves_of_rates_have_the_mean_and_the_range_of_seeds() -> None:
    values = {0.01: [0.96, 0.97, 0.98], 0.1: [0.9, 0.98, 0.97], 1.0: [0.1, 0.95, 0.97], 10.0: [0.1] * 3}
    tried = {f"lr {lr}": ({**STANDARD, "lr": lr}, over) for lr, over in reversed(values.items())}
    unnamed = {"unnamed": ({"mean": 7, "std": 2.5, "lr": 0.1}, [0.5001, 0.6, 0.7])}
    figure, (ax,) = drawn("rates", over_seeds(tried | unnamed))
    assert (ax.get_title(), ax.get_xscale()) == ("SGD, 1 epoch, 3\u00a0seeds", "log")
    assert ax.get_ylim() == pytest.approx((1.8001 / 3 - 0.05, 0.98 + 0.002))  # the best point of each curve is seen
    (curve, _, (bars,)), (other, _, _) = ax.containers
    assert np.transpose(curve.get_data()) == pytest.approx(np.array([[0.01, 0.97], [0.1, 0.95]]))
    ends = np.array(bars.get_segments())
    assert ends == pytest.approx(np.array([[[0.01, 0.96], [0.01, 0.98]], [[0.1, 0.9], [0.1, 0.98]]]))
    assert np.transpose(other.get_data()) == pytest.approx(np.array([[0.1, 1.8001 / 3]]))
    assert points(ax)["only"] == pytest.approx(np.array([[1, 0.96]]))  # of the two that learned
    names = {"standard (0.1307, 0.3081)", "mean 7, std 2.5", "only some seeds learn: mean of those that do"}
    assert set(texts(figure.legends[0].get_texts())) == names


def grid(costs: Mapping[tuple[float, float], Sequence[float]]) -> Shown:
    """A study over a grid: by mean and std, how many points each seed costs; `nan`: it learns nothing."""
    points = {}
    for (mean, std), of in costs.items():
        name = "standard" if (mean, std) == (0.1307, 0.3081) else f"{mean} {std}"
        points[name] = {"mean": mean, "std": std, "lr": 0.01}, np.nan_to_num(0.98 - np.array(of) / 100, nan=0.1)
    return over_seeds(points)


def cells(ax: Any) -> list[list[str]]:
    """What is written in the cells: by std, from the least, and by mean."""
    written = np.full((len(ax.get_yticks()), len(ax.get_xticks())), "", object)
    for text in ax.texts:
        x, y = text.get_position()
        written[round(y), round(x)] = text.get_text()
    return written.tolist()


NAN = float("nan")
GRID = {
    (0.1307, 1.0): [0.5, 0.7, 0.6],
    (0.0, 1.0): [0.2] * 3,
    (2.0, 1.0): [NAN] * 3,
    (0.1307, 0.3081): [0.0] * 3,
    (0.0, 0.3081): [-0.1, -0.2, 0],
    (2.0, 0.3081): [1, NAN, NAN],
}


def test_cells_have_the_differences_from_the_reference() -> None:
    figure, (three, one, bar) = drawn("cells", grid(GRID), grid({(0.1307, 10.0): [9], (0.1307, 0.3081): [0]}))
    titles = three.get_title(), one.get_title()
    assert titles == tuple(f"SGD, learning rate 0.01, 1 epoch, {seeds}" for seeds in ("3\u00a0seeds", "1\u00a0seed"))
    assert cells(three) == [["+0.1", "+0.0", "1 of 3"], ["-0.2", "-0.6", "0 of 3"], ["", "", ""]]
    assert cells(one) == [["", "+0.0", ""], ["", "", ""], ["", "-9.0", ""]]  # at the same places
    colors = {(patch.get_x() + 0.5, patch.get_y() + 0.5): to_hex(patch.get_facecolor()) for patch in three.patches}
    assert (colors[2, 0], colors[2, 1]) == (to_hex("0.88"), to_hex("0.7"))
    assert colors[1, 1] == to_hex(matplotlib.colormaps["viridis"](1 - 0.6 / 2))
    assert bar.get_ylim() == (-2, 0)
    marks = {"zero_one (0, 1)", "standard (0.1307, 0.3081)", "k of n: only some seeds learn", "0 of n: no seed learns"}
    assert set(texts(figure.legends[0].get_texts())) == marks
    assert points(one).keys() == {"standard"}  # not where another cell would be
    assert texts(three.get_yticklabels()) == ["0.3081", "1", "10"]
    (offset,), (_, factor) = three.child_axes, one.child_axes
    assert texts(offset.get_xticklabels()) == ["-0.4", "+0.0", "+6.2"]
    assert texts(factor.get_yticklabels()) == ["1", "3.3", "33"]


def test_cell_of_several_rates_is_that_of_the_best() -> None:
    tried = {"standard": (0.3081, 0.01, 0.98), "slow": (1, 0.02, 0.96), "good": (1, 0.04, 0.97), "dead": (1, 0.08, 0.1)}
    of = {name: ({"mean": 0.1307, "std": std, "lr": lr}, [reached]) for name, (std, lr, reached) in tried.items()}
    _, (ax, _) = drawn("cells", over_seeds(of))
    assert cells(ax) == [["+0.0"], ["-1.0"]]
    assert ax.get_title() == "SGD, 1 epoch, 1\u00a0seed, each cell at its best rate"


def test_cells_without_a_reference_that_learns_have_no_differences() -> None:
    _, (ax, _) = drawn("cells", grid(GRID | {(0.1307, 0.3081): [0, 0, NAN]}))
    assert cells(ax) == [["3 of 3", "2 of 3", "1 of 3"], ["3 of 3", "3 of 3", "0 of 3"]]


def test_curves_of_epochs_have_errors_and_relative_errors() -> None:
    values = np.random.default_rng(4).normal(0.98, 0.001, (3, 5, 3))  # points, seeds, epochs
    values[2, 3:] = 0.1  # seeds that learn nothing
    names = ("standard", "other", "partly")
    study = over_seeds({name: ({**STANDARD, "lr": 1.0}, values[i]) for i, name in enumerate(names)})
    _, (above, below) = drawn("epochs", study)
    errors = 100 * (1 - values)
    curves = [line.get_ydata() for line in above.lines]
    np.testing.assert_allclose(curves[:2], errors[:2].mean(axis=1))
    np.testing.assert_allclose(curves[2:], np.where(errors[2] < 50, errors[2], NAN))
    bands = [each.get_paths()[0].vertices[:, 1] for each in above.collections]
    assert [(band.min(), band.max()) for band in bands] == [(each.min(), each.max()) for each in errors[:2]]
    labels = texts(above.get_legend().get_texts())
    assert labels == ["standard", "other", "partly: 3 of 5 seeds learn, a line for each"]
    ratio = errors[1].mean(axis=0) / errors[0].mean(axis=0)
    assert below.lines[0].get_ydata() == pytest.approx(100 * (ratio - 1))
    (band,) = below.collections
    ends = [y for x, y in band.get_paths()[0].vertices if x == 3]
    interval = study.points["other"]["difference"]["relative_error"]["interval"]  # tested in test_recomputed.py
    assert (min(ends), max(ends)) == pytest.approx((100 * interval["low"], 100 * interval["high"]))


def test_every_seed_is_a_point_beside_those_of_rounding() -> None:
    ends = {"standard": [0.98, 0.98, 0.97], "zero_one": [0.97, 0.98, 0.96], "dead": [0.1, 0.98, 0.98]}
    study = over_seeds({name: ({**STANDARD, "mean": n}, of) for n, (name, of) in enumerate(ends.items())})
    again = study.table[study.table["accuracy"].isin([0.1, 0.96])].assign(device="gpu", accuracy=0.975)
    alike = study.table.assign(device="alike")  # a kind that rounds as the first one does
    others = (shown(name, rows, kind="seeds", points={}) for name, rows in (("again", again), ("alike", alike)))
    _, (ax,) = drawn("seeds", study, *others)
    dots = [np.asarray(each.get_offsets()) for each in ax.collections if isinstance(each, PathCollection)]
    assert [each[:, 1].tolist() for each in dots] == [pytest.approx([-1, 0, -1]), pytest.approx([-1.5])]
    labels = texts(ax.get_xticklabels())
    assert labels[0] == "zero_one (1, 0.3081)\nminus standard\nin study points\n3 seeds, SD 0.58"
    assert labels[1].startswith("zero_one on two")


def test_interval_of_a_point_is_the_judged_one() -> None:
    ends = {"standard": [0.98, 0.97, 0.96], "other": [0.97, 0.96, 0.95]}  # equal differences
    study = over_seeds({name: ({**STANDARD, "mean": n}, of) for n, (name, of) in enumerate(ends.items())})
    _, (ax,) = drawn("seeds", study)
    ((bar,),) = (container[2] for container in ax.containers)
    judged = study.points["other"]["difference"]["interval"]
    assert bar.get_segments()[0][:, 1] == pytest.approx([100 * judged["low"], 100 * judged["high"]])
    assert judged["low"] < judged["high"]


def test_fewer_images_than_all_are_named_whatever_the_settings() -> None:
    rows = table(("", {**STANDARD, "optimizer": "sgd", "lr": 0.1, "epochs": 1, "train_images": 6000}, [0.9]))
    settings = SETTINGS.model_copy(update={"data": params.Data(train_images=6000, test_images=100)})
    assert words.trained(rows, settings) == "SGD, learning rate 0.1, 1 epoch, 6,000 images"


def test_law_has_the_largest_rates_and_its_exponent() -> None:
    study = of_law({0.13: [0.1, 0.01], -0.17: [0.01, 0.01], -0.77: [0, 0.001]})
    _, (ax,) = drawn("law", study)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    single = [line for line in ax.lines if len(line.get_xdata()) == 1]
    expected = [(1, 0.01), (1, 0.1), (2, 0.01), (2, 0.1), (10, 0.001), (10, 0.01)]
    assert np.array([line.get_xydata()[0] for line in single]) == pytest.approx(np.array(expected))
    assert [line.get_marker() for line in single] == ["_", "^", "_", "_", "v", "_"]
    legend = texts(ax.get_legend().get_texts())
    assert legend[:2] == [f"SGD, 1 epoch: {words.exponent(study.metrics)}", "theory: exponent -1"]


def test_bars_of_networks_have_their_accuracy_and_the_interval_of_the_difference() -> None:
    study = treated()
    figure, (ax,) = drawn("networks", study)
    heights = [bar.get_height() for container in ax.containers for bar in getattr(container, "patches", [])]
    assert heights == pytest.approx([80] * 4)
    assert texts(figure.legends[0].get_texts()) == ["as is", "recalibrated"]
    interval = study.metrics["normalizations"]["own"]["as_is"]["difference"]["interval"]
    bars = next(each for each in ax.containers if not hasattr(each, "patches"))
    (low, high) = bars[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((90 + 100 * interval["low"], 90 + 100 * interval["high"]))

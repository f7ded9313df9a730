"""Figures of every kind, from made-up tables: what they show is what the tables say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from conftest import ROOT
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.figure import Figure
from pydantic import TypeAdapter
from scipy import stats

from stages.common.errors import InputError
from stages.evidence import drawings, figures, judgement, law, words
from stages.evidence.drawings import KINDS, Shown
from stages.settings import params
from stages.settings.params import Space

pytestmark = pytest.mark.filterwarnings("error")
SETTINGS = params.load(ROOT / "params.yaml")
RULE = SETTINGS.rule.of("any")
RANDOM = np.random.default_rng(1)
X, Y = RANDOM.uniform(-3, 3, 60), np.exp(RANDOM.uniform(-2, 2, 60))
PLANE = {"mean": {"low": -4, "high": 4}, "std": {"low": 0.1, "high": 10, "log": True}}
STANDARD = {"mean": 0.1307, "std": 0.3081}
PIXELS = {"mean": 0.13, "std": 0.3}
SGD = {"optimizer": "sgd", "epochs": 1}

Row = dict[str, str]
Values = np.ndarray | Sequence


def table(*trials: tuple[str, Mapping[str, Any], Values]) -> list[Row]:
    """The rows of trials: the name of the point, the parameters, the accuracy after each epoch."""
    return [
        {"trial": str(number), "point": point}
        | {name: str(value) for name, value in of_trial.items()}
        | {"epoch": str(epoch), "accuracy": repr(float(reached)), "loss": "0.1", "device": "cpu"}
        for number, (point, of_trial, accuracy) in enumerate(trials)
        for epoch, reached in enumerate(accuracy, 1)
    ]


def over_seeds(points: Mapping[str, tuple[Mapping[str, Any], Values]]) -> Shown:
    """A study of points over seeds; of each its parameters and accuracies, (seeds, epochs)."""
    rows = table(
        *(
            (name, {**of_point, **SGD, "epochs": len(accuracy), "seed": seed}, accuracy)
            for name, (of_point, over) in points.items()
            for seed, accuracy in enumerate(np.asarray(over))
        )
    )
    return Shown("points", "seeds", rows, judgement.comparison(rows, RULE, images=10_000), RULE, {})


def search(accuracy: Values, space: Mapping[str, Any], columns: Mapping[str, Values], lenet: bool = False) -> Shown:
    """A search over these columns; accuracy: of each trial, or of each trial after each epoch."""
    trials = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    curves = np.reshape(accuracy, (len(trials), -1))
    rows = table(*(("", parameters, curve) for parameters, curve in zip(trials, curves, strict=True)))
    return Shown("search", "search", rows, {}, RULE, TypeAdapter(Space).validate_python(space), lenet)


def of_law(largest: Mapping[float, Sequence[float]], rates: Sequence[float]) -> Shown:
    """A study over means and rates: by mean, the largest rate at which each seed learns."""
    trials = [
        (
            f"{mean} {rate}",
            {"mean": mean, "std": 0.3, "optimizer": "sgd", "lr": rate, "epochs": 1, "seed": seed},
            accuracy,
        )
        for mean, of_seeds in largest.items()
        for rate in rates
        for seed, most in enumerate(of_seeds)
        for accuracy in [[0.95 if rate <= most else 0.1]]
    ]
    rows = table(*trials)
    return Shown("offsets", "law", rows, law.law(rows, PIXELS, RULE), RULE, {})


def treated(accuracy: float) -> Shown:
    """A trained network whose normalizations and treatments have that accuracy, on 100 images; its own has 0.9."""
    lost, gained = (str(max(0, round(sign * (90 - 100 * accuracy)))) for sign in (1, -1))
    rows = [
        {"trial": str(trial), "point": point, "mean": "0.5", "std": "0.5", "treated": "2", "epoch": "1"}
        | {"accuracy": str(accuracy), "accuracy_own": "0.9", "accuracy_recalibrated": str(accuracy), "loss": "0.1"}
        | {f"{kind}{suffix}": n for kind, n in (("lost", lost), ("gained", gained)) for suffix in ("", "_recalibrated")}
        for trial, point in enumerate(("own", "zero_one"))
    ]
    return Shown("network", "treatments", rows, judgement.treatments(rows, 100, RULE), RULE, {})


def made(kind: str, accuracy: float, count: int) -> Shown:
    """A study for a figure of that kind, all of whose trials end with that accuracy; count: of trials, or of seeds."""
    if kind in ("map", "axes"):
        return search([accuracy] * count, PLANE, {"mean": X[:count], "std": Y[:count]})
    if kind == "law":
        return of_law({mean: [accuracy > 0.5] * count for mean in (0.13, -0.5)}, [0.01, 0.1])
    if kind == "networks":
        return treated(accuracy)
    norms = {"standard": STANDARD, "zero_one": {"mean": 0.0, "std": 1.0}}
    return over_seeds({name: ({**norm, "lr": 0.01}, np.full((count, 2), accuracy)) for name, norm in norms.items()})


def drawn(kind: str, *studies: Shown | None) -> tuple[Figure, list[Any]]:
    shown = {f"study_{number}": each for number, each in enumerate(studies)}
    asked = params.Figure(kind=cast(Any, kind), studies=list(shown), title="Title")
    figure = drawings.draw(asked, shown, SETTINGS, PIXELS)
    return figure, cast(list[Any], figure.axes)


def points(ax: Any) -> dict[str, np.ndarray]:
    """The coordinates of all points, by the first word of their label."""
    collections = [each for each in ax.collections if isinstance(each, PathCollection)]
    return {str(each.get_label()).partition(" ")[0]: np.asarray(each.get_offsets()) for each in collections}


# All kinds


@pytest.mark.parametrize("kind", KINDS)  # of all dead, all equal and few: test_entries.py
def test_figure_is_always_the_same_bytes(kind: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        figure, panels = drawn(kind, made(kind, 0.9, 3))
        figures.save(figure, tmp_path / name, 50)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert figure.get_suptitle() == "Title"
    assert not [text for ax in panels for text in ax.texts if "no results" in text.get_text()]


@pytest.mark.parametrize("kind", KINDS)
def test_study_that_is_not_there_is_named_in_its_panel(kind: str, tmp_path: Path) -> None:
    study = made(kind, 0.9, 3)
    for studies in ([None], [None, study], [study, None]) if kind != "axes" else ([None],):
        figure, panels = drawn(kind, *studies)
        figures.save(figure, tmp_path / "figure.png", 50)
        said = [text.get_text() for ax in panels for text in ax.texts if "no results" in text.get_text()]
        assert said == [f"no results of study_{number}" for number, each in enumerate(studies) if each is None]
        if not KINDS[kind].panels:
            continue
        for each, ax in zip(studies, panels, strict=False):
            assert bool(ax.collections or ax.lines or ax.patches) == bool(each)
            assert any("no results" in text.get_text() for text in ax.texts) != bool(each)
        legends = [*figure.legends, *(ax.get_legend() for ax in panels if ax.get_legend())]
        assert sum(len(legend.get_texts()) for legend in legends) > 0 or studies == [None] or kind == "seeds"


RESNET = Shown("resnet", "seeds", [], {"standard": {"parameters": STANDARD}}, RULE, {}, lenet=False)


@pytest.mark.parametrize("kind", KINDS)
def test_study_that_a_kind_of_figure_cannot_draw_is_one_line(kind: str) -> None:
    of_line = search([0.9] * 3, {"mean": {"low": -4, "high": 4}, "std": 1}, {"mean": [0, 1, 2]})
    others = {"seeds": made("rates", 0.9, 3), "law": made("law", 0.9, 3), "treatments": treated(0.8), "search": of_line}
    wrong = [study for of, study in others.items() if of != KINDS[kind].of]
    wrong += {"map": [of_line], "axes": [], "networks": [], "law": [], "seeds": []}.get(kind, [RESNET])
    for study in wrong:
        with pytest.raises(InputError, match=rf"^params.yaml: study_0 cannot be drawn as kind {kind}, which draws .*$"):
            drawn(kind, study)


# Searches


def test_map_shows_the_last_epoch_of_every_trial() -> None:
    accuracy = np.where(X < 0, 0.95 + X / 100, 0.1)
    _, (ax, bar) = drawn("map", search(np.stack([accuracy / 2, accuracy], axis=1), PLANE, {"mean": X, "std": Y}))
    shown, xy = points(ax), np.stack([X, Y], axis=1)
    assert shown.keys() == {"learned", "accuracy"}
    np.testing.assert_allclose(shown["learned"], xy[X < 0])
    np.testing.assert_allclose(shown["accuracy"], xy[X >= 0])
    assert (ax.get_title(), ax.get_xlim(), ax.get_ylim(), ax.get_yscale()) == ("60 trials", (-4, 4), (0.1, 10), "log")
    (learned,) = (each for each in ax.collections if each.get_array() is not None)
    np.testing.assert_allclose(learned.get_array(), accuracy[X < 0])
    assert bar.get_ylim() == pytest.approx((np.quantile(accuracy[X < 0], 0.1), accuracy.max()))


def test_maps_have_axes_and_marks_of_their_own() -> None:
    rates = {"mean": {"low": 1, "high": 2}, "std": 0.5, "lr": {"low": 0.2, "high": 1}}
    marked = search([0.9] * 60, PLANE, {"mean": X, "std": Y}, lenet=True)
    other = search([0.9, 0.95], rates, {"mean": [1, 2], "lr": [0.5, 0.7]})
    _, (one, another, *_) = drawn("map", marked, other)
    assert (one.get_ylim(), one.get_yscale(), another.get_ylim(), another.get_yscale()) == (
        *((0.1, 10), "log"),
        *((0.2, 1), "linear"),
    )
    assert points(another)["learned"].tolist() == [[1, 0.5], [2, 0.7]]
    names = [text.get_text() for text in one.get_legend().get_texts()]
    assert names == ["learned (60)", "standard (0.1307, 0.3081)", "zero_one (0, 1)"]  # none's std is beyond the axes


def test_each_axis_has_its_panel_and_the_good_trials_are_red() -> None:
    names = [f"{kind}_{channel}" for kind in ("mean", "std") for channel in "rgb"]
    columns = {name: RANDOM.uniform(0.3, 0.6, 20) for name in names}
    accuracy = np.linspace(0.9, 0.99, 20)
    space: dict[str, Any] = {name: {"low": 0.2, "high": 0.6} for name in names} | {"std_g": 0.4, "std_b": 0.4}
    figure, panels = drawn("axes", search(accuracy, space, columns))
    assert [ax.get_xlabel() for ax in panels if ax.get_visible()] == [figures.LABELS[name] for name in names[:4]]
    for ax, name in zip(panels, names[:4], strict=False):
        grey, red = (np.asarray(each.get_offsets()) for each in ax.collections)
        good = accuracy >= 0.99 - RULE.tolerance
        np.testing.assert_allclose(red, np.stack([columns[name], accuracy], axis=1)[good])
        np.testing.assert_allclose(grey, np.stack([columns[name], accuracy], axis=1)[~good])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["within 0.5 points of the best"]


# Points over seeds


def test_curves_of_rates_have_the_mean_and_the_range_of_seeds() -> None:
    values = {0.01: [0.96, 0.97, 0.98], 0.1: [0.9, 0.98, 0.97], 1.0: [0.1, 0.95, 0.97], 10.0: [0.1] * 3}
    tried: dict[str, Any] = {
        f"lr {lr}": ({**STANDARD, "lr": lr}, np.reshape(over, (3, 1))) for lr, over in reversed(values.items())
    }
    unnamed = {"unnamed": ({"mean": 7, "std": 2.5, "lr": 0.1}, [[0.5001], [0.6], [0.7]])}
    figure, (ax,) = drawn("rates", over_seeds(tried | unnamed))
    assert (ax.get_title(), ax.get_xscale()) == ("sgd, 1 epoch", "log")
    (curve, _, (bars,)), (other, _, _), _ = ax.containers
    assert np.transpose(curve.get_data()) == pytest.approx(np.array([[0.01, 0.97], [0.1, 0.95]]))
    ends = np.array(bars.get_segments())
    assert ends == pytest.approx(np.array([[[0.01, 0.96], [0.01, 0.98]], [[0.1, 0.9], [0.1, 0.98]]]))
    assert np.transpose(other.get_data()) == pytest.approx(np.array([[0.1, 1.8001 / 3]]))
    hollow, none = (line for line in ax.lines if line.get_marker() == "o" and line.get_color() != "black")
    assert np.transpose(hollow.get_data()) == pytest.approx(np.array([[1, 0.96]]))  # of the two that learned
    assert (hollow.get_markerfacecolor(), len(none.get_xdata())) == ("none", 0)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["standard", "mean 7, std 2.5", "only some of the seeds learn: their mean"]


@pytest.mark.parametrize("accuracy", [0.6, 0.99])
def test_best_rate_is_near_the_upper_end(accuracy: float) -> None:
    low, high = drawn("rates", made("rates", accuracy, 1))[1][0].get_ylim()
    assert low < accuracy < high < accuracy + 0.01


def grid(costs: Mapping[float, Mapping[float, Sequence[float]]]) -> Shown:
    """A study over a grid: by std and mean, how many points each seed costs; `nan`: it learns nothing."""
    of = {
        "standard" if (mean, std) == (0.1307, 0.3081) else f"mean {mean}, std {std}": (
            {"mean": mean, "std": std, "lr": 0.01},
            np.nan_to_num(0.98 - np.reshape(each, (-1, 1)) / 100, nan=0.1),
        )
        for std, row in costs.items()
        for mean, each in row.items()
    }
    return over_seeds(of)


def cells(ax: Any) -> tuple[list[list[str]], np.ndarray]:
    """What is written in cells, and the numbers of their colours, both row by row, by std and mean."""
    mesh, _ = (each for each in ax.collections if isinstance(each, QuadMesh))
    numbers: np.ndarray = np.ma.filled(np.ma.asarray(mesh.get_array()).astype(float), np.nan)
    at = sorted((text.xy[1], text.xy[0], text.get_text()) for text in ax.texts)
    written = np.reshape(np.array([text for *_, text in at], dtype=object), numbers.shape).tolist()
    for std, mean, _ in at:
        _, (left, right) = ax.get_ylim(), ax.get_xlim()
        assert left < mean < right
        assert ax.get_ylim()[0] < std < ax.get_ylim()[1]
    return written, numbers


NAN = float("nan")
GRID: dict[float, dict[float, list[float]]] = {
    1.0: {0.1307: [0.5, 0.7, 0.6], 0: [0.2] * 3, 2: [NAN] * 3},
    0.3081: {0.1307: [0] * 3, 0: [-0.1, -0.2, 0], 2: [1, NAN, NAN]},
}


def test_cells_have_the_differences_from_the_reference() -> None:
    figure, (three, one, bar) = drawn("cells", grid(GRID), grid({10.0: {0.1307: [9]}, 0.3081: {0.1307: [0]}}))
    assert three.get_title() == one.get_title() == "sgd, learning rate 0.01, 1 epoch"
    written, numbers = cells(three)
    assert written == [["+0.1", "+0.0", "1 of 3"], ["-0.2", "-0.6", "0 of 3"]]
    assert numbers == pytest.approx(np.array([[0.1, 0, NAN], [-0.2, -0.6, NAN]]), nan_ok=True)
    written, numbers = cells(one)
    assert written == [["+0.0"], ["-9.0"]]
    assert numbers == pytest.approx(np.array([[0], [-9]]))
    for ax, stds in ((three, ["0.3081", "1"]), (one, ["0.3081", "10"])):
        assert [label.get_text() for label in ax.get_yticklabels()] == stds
    assert bar.get_ylim() == (-2, 0)
    marks = [text.get_text() for text in figure.legends[0].get_texts()]
    some, none = "only some of the seeds learn", "no seed learns"
    assert set(marks) == {"zero_one (0, 1)", "standard (0.1307, 0.3081)", some, none}
    assert points(one).keys() == {"standard"}  # not where another cell would be
    _, greys = (each for each in three.collections if isinstance(each, QuadMesh))
    assert np.ma.filled(np.ma.asarray(greys.get_array()).astype(float), NAN) == pytest.approx(
        np.array([[NAN, NAN, 0], [NAN, NAN, 1]]), nan_ok=True
    )
    offset, factor = three.child_axes
    assert [label.get_text() for label in offset.get_xticklabels()] == ["-0.4", "+0.0", "+6.2"]
    assert [label.get_text() for label in factor.get_yticklabels()] == ["1", "3.3"]


def test_cell_of_several_rates_is_that_of_the_best() -> None:
    tried = {"standard": (0.3081, 0.01, 0.98), "slow": (1, 0.02, 0.96), "good": (1, 0.04, 0.97), "dead": (1, 0.08, 0.1)}
    study = over_seeds(
        {name: ({"mean": 0.1307, "std": std, "lr": lr}, [[accuracy]]) for name, (std, lr, accuracy) in tried.items()}
    )
    assert cells(drawn("cells", study)[1][0])[0] == [["+0.0"], ["-1.0"]]


def test_cells_without_a_reference_that_learns_have_no_differences() -> None:
    dead = GRID | {0.3081: {**GRID[0.3081], 0.1307: [0, 0, NAN]}}
    written, numbers = cells(drawn("cells", grid(dead))[1][0])
    assert written == [["3 of 3", "2 of 3", "1 of 3"], ["3 of 3", "3 of 3", "0 of 3"]]
    assert np.isnan(numbers).all()


def test_curves_of_epochs_have_errors_and_relative_errors() -> None:
    values = np.random.default_rng(4).normal(0.98, 0.001, (3, 5, 3))  # points, seeds, epochs
    values[2, 3:] = 0.1  # seeds that learn nothing
    names = ("standard", "other", "partly")
    study = over_seeds({name: ({**STANDARD, "lr": 1.0}, values[i]) for i, name in enumerate(names)})
    for above, below in np.reshape(drawn("epochs", study, study)[1], (2, 2)).T:
        errors = 100 * (1 - values)
        means, thin = above.lines[:2], above.lines[2:]
        for line, expected in zip(means, errors, strict=False):
            assert line.get_ydata() == pytest.approx(expected.mean(axis=0))
        bands = [each.get_paths()[0].vertices for each in above.collections]
        for band, expected in zip(bands, errors[:2], strict=True):  # and none over the seeds of which some die
            assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((expected.min(), expected.max()))
        assert np.array([line.get_ydata() for line in thin]) == pytest.approx(errors[2])
        labels = [text.get_text() for text in above.get_legend().get_texts()]
        assert labels == ["standard (5 seeds)", "other (5 seeds)", "partly: 3 of 5 seeds learn, a line for each"]
        ratio = errors[1].mean(axis=0) / errors[0].mean(axis=0)
        assert below.lines[0].get_ydata() == pytest.approx(100 * (ratio - 1))
        (of_difference,) = below.collections
        low, high = delta(errors[1, :, 0], errors[0, :, 0])
        ends = [y for x, y in of_difference.get_paths()[0].vertices if x == 1]
        assert (min(ends), max(ends)) == pytest.approx((100 * low, 100 * high))


def delta(errors: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """The interval of the ratio of means minus 1, by the variances and the covariance."""
    n, ratio = len(errors), errors.mean() / reference.mean()
    (a, ab), (_, b) = np.cov(errors, reference)
    error = np.sqrt((a - 2 * ratio * ab + ratio**2 * b) / n) / reference.mean()
    reach = stats.t.ppf((1 + RULE.confidence) / 2, n - 1) * error
    return ratio - 1 - reach, ratio - 1 + reach


def test_differences_of_epochs_end_with_the_reference() -> None:
    reference, other = ({**STANDARD, "lr": 1.0}, [[0.97]]), ({**STANDARD, "lr": 2.0}, [[0.96, 0.97]])
    _, (above, below) = drawn("epochs", over_seeds({"standard": reference, "other": other}))
    assert list(above.lines[1].get_ydata()) == pytest.approx([4, 3])
    assert below.lines[0].get_ydata() == pytest.approx([100 / 3])


def test_every_seed_is_a_point_beside_those_of_rounding() -> None:
    ends = {"standard": [0.98, 0.98, 0.97], "zero_one": [0.97, 0.98, 0.96], "dead": [0.1, 0.98, 0.98]}
    study = over_seeds(
        {
            name: ({"mean": place, "std": 1, "lr": 1.0}, np.reshape(of, (3, 1)))
            for place, (name, of) in enumerate(ends.items())
        }
    )
    again = [{**row, "device": "gpu", "accuracy": "0.975"} for row in study.rows if row["seed"] == "1"][:1]
    again += [{**row, "device": "gpu", "accuracy": "0.975"} for row in study.rows if row["accuracy"] == "0.1"]
    _, (ax,) = drawn("seeds", study, study._replace(name="again", rows=again, metrics={}))
    shown = [
        np.asarray(each.get_offsets())[:, 1].tolist() for each in ax.collections if isinstance(each, PathCollection)
    ]
    assert shown == [pytest.approx([-1, 0, -1]), pytest.approx([0.5])]
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels[0] == "zero_one - standard\npoints\n3 seeds, std 0.58"
    assert labels[1].startswith("standard: rounding")


def test_law_has_the_largest_rates_and_its_exponent() -> None:
    rates = [0.001, 0.01, 0.1]
    study = of_law({0.13: [0.1, 0.01], -0.17: [0.01, 0.01], -0.77: [0, 0.001]}, rates)
    _, (ax,) = drawn("law", study)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    drawn_ends = [tuple(line.get_data()) for line in ax.lines if len(line.get_xdata()) == 1]
    ends = np.reshape(np.array(drawn_ends, dtype=float), (-1, 2))
    expected = [(1, 0.01), (1, 0.1), (2, 0.01), (2, 0.1), (10, 0.001), (10, 0.01)]
    assert ends == pytest.approx(np.array(expected), rel=1e-9)
    markers = [line.get_marker() for line in ax.lines if len(line.get_xdata()) == 1]
    assert markers == ["o", "^", "o", "_", "v", "_"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        f"offsets: {words.exponent(study.metrics)}",
        "the law: exponent -1",
    ]


def test_bars_of_networks_have_their_accuracy_and_the_interval_of_the_difference() -> None:
    study = treated(0.8)
    figure, (ax,) = drawn("networks", study)
    heights = [bar.get_height() for container in ax.containers for bar in getattr(container, "patches", [])]
    assert heights == pytest.approx([80] * 4)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["as is", "recalibrated"]
    interval = study.metrics["normalizations"]["own"]["as_is"]["difference"]["interval"]
    bars = next(each for each in ax.containers if not hasattr(each, "patches"))
    (low, high) = bars[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((90 + 100 * interval["low"], 90 + 100 * interval["high"]))

"""Maps of accuracy: every trial is there, and nothing where no trial is."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from conftest import ROOT
from matplotlib.collections import Collection, PathCollection, QuadMesh
from scipy import stats

from stages.evidence import curves_figure, figures, plateau_figure
from stages.evidence.boundary import Pixels, Rule
from stages.settings import params
from stages.settings.params import Interval

SETTINGS = params.load(ROOT / "params.yaml")
LOOK = SETTINGS.contour
WITHIN = Interval(low=-4, high=4), Interval(low=0.1, high=10, log=True)
RANDOM = np.random.default_rng(1)
X, Y = RANDOM.uniform(-3, 3, 60), np.exp(RANDOM.uniform(-2, 2, 60))


def points(collection: Collection) -> int:
    return len(np.asarray(collection.get_offsets()))


def test_map_is_interpolated_between_trials_that_learned_and_nowhere_else() -> None:
    accuracy = np.where(X < 0, 0.95 + X / 100, 0.1)
    _, ax = figures.accuracy_map(X, Y, accuracy, LOOK, 0.5, within=WITHIN)
    died, learned = (each for each in ax.collections if isinstance(each, PathCollection))
    assert (points(died), points(learned)) == ((X >= 0).sum(), (X < 0).sum())
    assert (ax.get_xlim(), ax.get_ylim(), ax.get_yscale()) == ((-4, 4), (0.1, 10), "log")
    (surface,) = (each for each in ax.collections if isinstance(each, QuadMesh))
    drawn: np.ndarray = np.ma.filled(np.ma.asarray(surface.get_array()), np.nan)
    shown, xs = np.isfinite(drawn), np.asarray(surface.get_coordinates())[:-1, :-1, 0]
    assert 0.1 < shown.mean() < 0.5
    assert xs[shown].max() < X[X < 0].max() + 0.1
    assert xs[shown].min() > X.min() - 0.1
    assert drawn[shown].min() >= accuracy[X < 0].min() - 1e-9  # no value that no trial has
    assert np.abs(drawn[shown] - (0.95 + xs[shown] / 100)).max() < 0.001


@pytest.mark.parametrize("learn", [0, 1, 2, figures.FEW - 1])
def test_few_trials_are_points_and_no_hills(learn: int, tmp_path: Path) -> None:
    accuracy = np.where(np.arange(60) < learn, 1.0, 0.1)  # also without a spread, and without an error
    figure, ax = figures.accuracy_map(X, Y, accuracy, LOOK, 0.5)
    figures.legend(ax)
    figures.save(figure, tmp_path / "map.png", 50)
    assert not any(isinstance(each, QuadMesh) for each in ax.collections)
    assert sum(map(points, ax.collections)) == 60


def test_nothing_is_interpolated_between_choices_or_along_a_line() -> None:
    choices = ["adadelta", "sgd", "adam"]
    _, ax = figures.accuracy_map(np.repeat(["adam", "sgd"], 30), Y, [0.9] * 60, LOOK, 0.5, within=(choices, WITHIN[1]))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == choices
    assert not any(isinstance(each, QuadMesh) for each in ax.collections)
    _, ax = figures.accuracy_map(np.zeros(60), Y, [0.9] * 60, LOOK, 0.5, within=WITHIN)
    assert not any(isinstance(each, QuadMesh) for each in ax.collections)


def test_search_of_initial_weights_is_points_alone_on_the_scale_of_all_maps() -> None:
    figure, ax = figures.accuracy_map(X, Y, 0.9 + X / 100, LOOK, 0.5, *figures.SCALE, interpolated=False)
    assert not any(isinstance(each, QuadMesh) for each in ax.collections)
    (shown,) = (each for each in ax.collections if isinstance(each, PathCollection) and each.get_array() is not None)
    assert (shown.norm.vmin, shown.norm.vmax) == figures.SCALE
    assert figure.axes[1].get_ylim() == figures.SCALE


def test_marks_are_those_within_the_axes() -> None:
    _, ax = figures.accuracy_map(X, Y, 0.9 + X / 100, LOOK, 0.5, within=WITHIN)
    figures.mark(ax, SETTINGS.normalizations, size=100)
    names = [str(each.get_label()) for each in ax.collections]
    assert [name for name in names if name.partition(" ")[0] in SETTINGS.normalizations] == [
        "standard (0.1307, 0.3081)",
        "zero_one (0, 1)",
    ]


def plateau(seeds: int, **told: object) -> dict:
    """The metrics of a comparison on the plateau's grid: each cell costs as many points as its mean is from 0."""
    entry = SETTINGS.comparisons["plateau"]
    points: dict = {"seeds": seeds}
    for name, parameters in SETTINGS.points(entry).items():
        mean = float(parameters["mean"])
        learned = 0 if mean == 2 else 1 if mean == -2 else seeds
        points[name] = {"parameters": parameters | told, "learned": learned, "accuracy": {"n": seeds}}
        if name != "standard":
            points[name]["difference"] = {"mean": -abs(mean) / 100}
    return points


def test_cells_of_the_plateau_are_drawn_as_they_are() -> None:
    rules = {1: Rule(10, 0.1, 1.2), 2: Rule(11, 0.1, 1.2)}
    entries = [plateau(3), plateau(1, optimizer="sgd", lr=0.01)]
    figure = plateau_figure.draw(entries, SETTINGS, Pixels(0.1307, 0.3081), rules)
    adadelta, sgd = cast(list[Any], figure.axes[:2])
    assert (adadelta.get_title(), sgd.get_title()) == (
        "adadelta, learning rate 1, 1 epoch, 3 seeds",
        "sgd, learning rate 0.01, 1 epoch, 1 seed",
    )
    assert (len(adadelta.lines), len(sgd.lines)) == (6, 0)  # the boundary was measured with the one only
    means = sorted({float(each["parameters"]["mean"]) for each in entries[0].values() if isinstance(each, dict)})
    (cells,) = (each for each in adadelta.collections if isinstance(each, QuadMesh))
    values: np.ndarray = np.ma.filled(np.ma.asarray(cells.get_array()), np.nan).reshape(7, 8)
    expected = [0.0 if mean == 0 else -abs(mean) for mean in means[1:-1]]
    for row in values:
        assert np.isnan(row[[0, -1]]).all()  # not all seeds learned
        assert row[1:-1] == pytest.approx(expected, abs=0.14)  # standard's own cell costs nothing
    written = [text.get_text() for text in adadelta.texts]
    assert (len(written), written.count("×"), written.count("1 of 3")) == (56, 7, 7)
    bold = [text for text in adadelta.texts if text.get_fontweight() == "bold"]
    assert {text.get_text() for text in bold} == {"-0.00", "-0.13", "+0.00"}
    names = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert {"standard (0.1307, 0.3081)", "zero_one (0, 1)", "none (0, 0.003922)"} < names


def test_curves_have_the_mean_and_the_range_of_each_epoch() -> None:
    random = np.random.default_rng(4)
    values = random.normal(0.98, 0.001, (2, 5, 3))  # points, seeds, epochs
    values[1, 4] = 0.1  # a seed that learns nothing
    rows = [
        {
            "seed": str(seed),
            "point": point,
            "epoch": str(epoch + 1),
            "accuracy": str(values[number, seed, epoch]),
            "difference": str(values[number, seed, epoch] - values[0, seed, epoch]),
        }
        for seed in range(5)
        for number, point in enumerate(("standard", "none"))
        for epoch in range(3)
    ]
    figure = curves_figure.draw(["one", "another"], [rows, rows], SETTINGS)
    for above, below in np.reshape(cast(list[Any], figure.axes), (2, 2)).T:
        learned = [values[0], values[1, :4]]
        for line, expected in zip(above.lines, learned, strict=True):
            assert line.get_ydata() == pytest.approx(expected.mean(axis=0))
        bands = [each.get_paths()[0].vertices for each in above.collections]
        for band, expected in zip(bands, learned, strict=True):
            assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((expected.min(), expected.max()))
        labels = [text.get_text() for text in above.get_legend().get_texts()]
        assert labels == ["standard (5 seeds)", "none (4 of 5 seeds)"]
        assert below.lines[0].get_ydata() == pytest.approx(100 * (values[1] - values[0])[:4].mean(axis=0))
        (of_difference,) = below.collections
        low, high = stats.ttest_rel(values[1, :4, 0], values[0, :4, 0]).confidence_interval(0.95)
        ends = [y for x, y in of_difference.get_paths()[0].vertices if x == 1]
        assert (min(ends), max(ends)) == pytest.approx((100 * low, 100 * high))


def test_curves_go_on_where_the_reference_has_ended() -> None:
    told = [("standard", "1", "0.97", "0.0"), ("none", "1", "0.96", "-0.01"), ("none", "2", "0.97", "")]
    rows = [dict(zip(("point", "epoch", "accuracy", "difference"), each, strict=True)) | {"seed": "1"} for each in told]
    above, below = cast(list[Any], curves_figure.draw(["one"], [rows], SETTINGS).axes)
    assert list(above.lines[1].get_ydata()) == [0.96, 0.97]
    assert below.lines[0].get_ydata() == pytest.approx([-1, np.nan], nan_ok=True)


def test_same_picture_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        figure, ax = figures.accuracy_map(X, Y, 0.9 + X / 100, LOOK, 0.5)
        figures.mark(ax, {"standard": params.Norm(mean=(0.1307,), std=(0.3081,))}, size=100)
        figures.save(figure, tmp_path / name, 50)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()

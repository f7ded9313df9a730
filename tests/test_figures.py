"""Maps of accuracy: every trial is there, and nothing where no trial is."""

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from matplotlib.collections import Collection, PathCollection, QuadMesh

from stages.evidence import figures
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


def test_same_picture_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        figure, ax = figures.accuracy_map(X, Y, 0.9 + X / 100, LOOK, 0.5)
        figures.mark(ax, {"standard": params.Norm(mean=(0.1307,), std=(0.3081,))}, size=100)
        figures.save(figure, tmp_path / name, 50)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()

"""Entries of params.yaml that nobody planned for, in YAML alone: results and a report, or one line.

Hypothesis makes the entries; the trials are made up, so nothing trains. Everything else is the project's own: settings,
which trials there are, their tables, the judge, the figures, the report.
"""

import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import KINDS, ROOT
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stages import contour, figures, judge, report, sweep, trials
from stages.common import tables
from stages.common.errors import InputError
from stages.settings import params
from stages.study import runner
from stages.study.design import Planned
from stages.study.proposals import Plan, Points

COMMITTED = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
NORMS = ["standard", "zero_one", "none", "half", "far"]
# How the trials of a study end: all learn, none does, some do, all alike, some diverge.
ENDS = {"learn": (0.95, 0.99), "die": (0.1, 0.11), "mixed": (0.1, 0.99), "alike": (0.9, 0.9), "diverge": (0.1, 0.99)}

fixed, sample, booleans = st.fixed_dictionaries, st.sampled_from, st.booleans()
floats = partial(st.floats, allow_subnormal=False)


def some(names: Sequence[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(sample(names), min_size=1, max_size=4, unique=True)


def optional(**keys: st.SearchStrategy) -> st.SearchStrategy[dict[str, Any]]:
    """Any of these keys."""
    return fixed({}, optional=keys)


rate = sample([1e-7, 0.01, 0.1, 1, 4.0])
overrides = optional(
    epochs=st.integers(1, 3),
    optimizer=sample(["adadelta", "sgd", "adam"]),
    lr=rate,
    held_out=st.integers(1, 10_000),
    shuffle=booleans,
    init=sample(["default", "he_normal"]),
    batch_size=st.integers(1, 300),
    seed=st.integers(0, 3),
    start=sample(NORMS),
)
named: st.SearchStrategy[dict[str, Any]] = st.builds(dict, overrides, normalization=sample(NORMS))
numbered: st.SearchStrategy[dict[str, Any]] = st.builds(dict, overrides, mean=floats(-5, 5), std=floats(1e-3, 5))
names = st.from_regex(r"[a-z][a-z0-9_]{0,7}", fullmatch=True)
rates = st.lists(rate, min_size=1, max_size=3, unique=True)
values = st.lists(floats(0.1, 3), min_size=1, max_size=3, unique=True)
grids = fixed({"normalization": some(NORMS)}, optional={"lr": rates}) | fixed(
    {"mean": values, "std": values}, optional={"lr": rates}
)
points = fixed(
    {"trial": st.just(KINDS["lenet"]), "normalizations": some(NORMS), "seeds": st.integers(1, 3)},
    optional={"points": st.dictionaries(names, named | numbered, max_size=2), "grid": grids, "train": overrides},
)
interval = st.builds(
    lambda low, wide, log: {"low": low, "high": low + wide, "log": log}, floats(0.1, 1), rate, booleans
)
axis = interval | floats(0.1, 5)
space = fixed({"mean": axis, "std": axis}, optional={"lr": axis})
search = fixed({"n_trials": st.integers(1, 9), "sampler": sample(["tpe", "random"]), "space": space})
search = search.map(lambda keys: COMMITTED["sweep"] | keys)
searches = fixed({"trial": st.just(KINDS["lenet"]), "search": search}, optional={"train": overrides})
bordered = fixed({"normalization": sample(NORMS), "border": st.just(0.5)})
scratch = fixed(
    {"trial": st.just(KINDS["resnet"]), "normalizations": some(NORMS), "seeds": st.integers(1, 3)},
    optional={"points": st.dictionaries(names, bordered, max_size=1)},
)
treated = fixed(
    {"trial": st.just(KINDS["resnet_trained"]), "normalizations": some(["own", *NORMS])},
    optional={"treatments": sample([["as_is"], ["as_is", "recalibrated"]])},
)
rule = optional(
    reference=sample([*NORMS, "other"]),
    margin=sample([0.0001, 0.002, 0.5]),
    threshold=sample([0, 0.5, 0.98]),
    tolerance=sample([0, 0.005, 1]),
)


@st.composite
def entries(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, str]]:
    """Sections of params.yaml, and how the trials of each study end."""
    studies = draw(st.dictionaries(names, points | points | searches | scratch | treated, max_size=3))
    known = sample([*studies, "missing"])
    figure_kinds = params.Figure.model_fields["kind"].annotation.__args__  # type: ignore[union-attr]
    figure = st.builds(
        lambda kind, shown: {"kind": kind, "studies": shown, "title": kind},
        sample(figure_kinds),
        st.lists(known, min_size=1, max_size=2, unique=True),
    )
    sections = {
        "studies": studies,
        "figures": draw(st.dictionaries(names, figure, max_size=3)),
        "rule": COMMITTED["rule"]
        | draw(rule)
        | {"studies": {name: draw(rule) for name in draw(st.lists(known, max_size=2)) if name in studies}},
        "report": {
            "answer": [f"{name}: {{{name}.{draw(sample(NORMS))}}}" for name in draw(st.lists(known, max_size=3))],
            "table": draw(st.lists(known, max_size=3)),
            "columns": draw(st.lists(sample(NORMS) | names, max_size=3, unique=True)),
            "headline": [f"{draw(known)}.{draw(sample(NORMS))}"],
        },
        "sweep": COMMITTED["sweep"] | {"n_trials": 6},
        "look": COMMITTED["look"] | {"dpi": 50},
    }
    return sections, {name: draw(sample(list(ENDS))) for name in (*studies, params.SWEEP)}


class MadeUp:
    """In place of `runner.run`'s trials: results that end as `ends` says, on two kinds of device."""

    def __init__(self, ends: dict[str, str]):
        self.ends, self.random = ends, np.random.default_rng(1)

    def run(self, name: str, _: params.Params, plan: Plan, __: type) -> None:
        if isinstance(plan, Points):
            planned = plan.planned
        else:
            axes, count = plan.settings.space.items(), plan.settings.n_trials
            drawn = [{name: self.random.uniform(axis.low, axis.high) for name, axis in axes} for _ in range(count)]
            planned = [Planned("", {**of_trial, **plan.fixed}) for of_trial in drawn]
        tables.write(name, planned, [self.result(name, each) for _, each in planned])

    def result(self, name: str, parameters: dict[str, Any]) -> dict[str, Any]:
        epochs = self.random.uniform(*ENDS[self.ends[name]], parameters.get("epochs", 1)).round(4).tolist()
        losses = [None if self.ends[name] == "diverge" and each < 0.5 else 1 - each for each in epochs]
        last, treated = epochs[-1], parameters.get("treated", 0)
        result: dict[str, Any] = {"accuracy": last, "accuracy_even": last, "accuracy_odd": last, "loss": losses[-1]}
        if "optimizer" in parameters:
            result |= {"accuracy_by_epoch": epochs, "loss_by_epoch": losses}
            result |= {f"{layer}_silent_{when}": 0.1 for layer in ("conv1", "fc1") for when in ("before", "after")}
        elif treated:
            result |= {"accuracy_own": 0.9, "lost": 3, "gained": 1, "folded_difference": 1e-6, "folded_other": 0}
            for treatment in ("recalibrated", "folded")[: treated - 1]:
                result |= {f"accuracy_{treatment}": last, f"lost_{treatment}": 0, f"gained_{treatment}": 0}
        return result | {"device": str(self.random.choice(["cpu one", "cpu two"]))}


def check(sections: dict[str, Any], ends: dict[str, str]) -> None:
    """All stages except those that train, on made-up trials; what is refused is refused in one line."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for name in ("plots/trials", "metrics/studies"):
            Path(name).mkdir(parents=True)
        Path("stages").symlink_to(ROOT / "stages")
        for name in report.SINGLE:
            Path(f"metrics/{name}.json").symlink_to(ROOT / "metrics" / f"{name}.json")
        Path("params.yaml").write_text(yaml.safe_dump(COMMITTED | sections, sort_keys=False), encoding="utf-8")
        if loaded := within_one_line(params.load):
            run_stages(loaded, MadeUp(ends))


def run_stages(loaded: params.Params, made_up: MadeUp) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "run", made_up.run)
        sweep.main(loaded)
        for name in loaded.studies:
            within_one_line(trials.main, loaded, name)
    judge.main(loaded)
    for name in loaded.figures:
        within_one_line(figures.main, loaded, name)
    within_one_line(contour.main, loaded)
    report.main(loaded)
    for path in Path("metrics/studies").glob("*.json"):
        assert "NaN" not in path.read_text(encoding="utf-8"), path
    for path in report.PAGES:
        assert not re.search(r".*\b(nan|None|inf|Undefined)\b.*", path.read_text(encoding="utf-8")), path


def within_one_line(function: Callable, *arguments: Any) -> Any:
    """What the function returns; None if it refuses its input, in one line for each fault."""
    try:
        return function(*arguments)
    except InputError as refused:
        lines = str(refused).splitlines()
    assert lines
    assert all(": " in line and "is damaged" not in line for line in lines), lines  # the made-up tables are whole
    return None


made_the_same_in_every_run = settings(
    deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
)


@pytest.mark.parametrize("count", [15, pytest.param(60, marks=pytest.mark.slow)])
def test_any_entries_end_in_a_report_or_in_one_line(count: int) -> None:
    given_so_many = settings(made_the_same_in_every_run, max_examples=count)
    given_so_many(given(entries())(lambda made: check(*made)))()

"""Where training fails: found where it is known, by seed and over seeds, and whole on any table."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from scipy import optimize, stats

from stages import contour, region
from stages.evidence import boundary, boundary_figure
from stages.evidence.boundary import Pixels, Rule, Trials, agreement, average, by_init, describe, fit, fit_seeds, slope
from stages.settings import params

PIXELS = Pixels(0.13066, 0.308108)
SETTINGS = params.load(ROOT / "params.yaml")
DESIGN = [
    (told["mean"], told["std"])
    for entry in ("boundary", "boundary_wide")
    for told in SETTINGS.points(SETTINGS.comparisons[entry]).values()
]
TRUE = {seed: Rule(threshold, 0.12, 1.25) for seed, threshold in enumerate((9.5, 10, 10.5, 11))}


def made(rules: dict[int, Rule], noise: float = 0.05, design: list = DESIGN) -> Trials:
    """Trials of each seed at the design's points, of which those die that the seed's rule says, up to noise."""
    random, parts = np.random.default_rng(3), []
    mean, std = np.array(design).T
    for seed, rule in rules.items():
        own = Trials(mean, std, np.full(len(mean), seed), np.zeros(len(mean)), np.zeros(len(mean), bool))
        limit = rule.limit(std, mean < PIXELS.mean, PIXELS) * np.exp(random.normal(0, noise, len(mean)))
        dead = own.distance(PIXELS) > limit
        parts.append(own._replace(dead=dead, accuracy=np.where(dead, 0.11, 0.9)))
    return Trials(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def test_rule_is_found_over_seeds_and_by_seed() -> None:
    trials = made(TRUE)
    rules = fit_seeds(trials, PIXELS)
    for seed, rule in rules.items():
        assert rule.threshold == pytest.approx(TRUE[seed].threshold, rel=0.08)
    result = describe(trials, rules, PIXELS, 0.95)
    for name, truth in zip(Rule._fields, (10.25, 0.12, 1.25), strict=True):
        found = result["rule"][name]
        assert found["low"] < truth < found["high"]
    assert result["rule"]["side_factor"]["low"] > 1  # a law, not an accident of a seed
    thresholds = [rule.threshold for rule in rules.values()]  # each is within 8% of the truth, as asserted above
    assert result["seeds_move"] == pytest.approx(max(thresholds) / min(thresholds))
    assert (result["trials"], result["dead"], result["seeds"]) == (360, trials.dead.sum(), 4)


def test_accident_of_one_seed_is_no_law() -> None:
    sides = {0: Rule(10, 0.12, 1.25), 1: Rule(10, 0.12, 0.95), 2: Rule(10, 0.12, 0.9), 3: Rule(10, 0.12, 1.1)}
    factor = describe(trials := made(sides), fit_seeds(trials, PIXELS), PIXELS, 0.95)["rule"]["side_factor"]
    assert factor["low"] < 1 < factor["high"]


def test_intervals_are_those_of_students_t_over_the_seeds() -> None:
    trials = made(TRUE)
    rules = fit_seeds(trials, PIXELS)
    found = describe(trials, rules, PIXELS, 0.95)["rule"]["threshold"]
    logarithms = np.log([rule.threshold for rule in rules.values()])
    low, high = stats.ttest_1samp(logarithms, 0).confidence_interval(0.95)
    assert [found[key] for key in ("value", "low", "high")] == pytest.approx(
        np.exp([logarithms.mean(), low, high]).tolist()
    )


def test_rule_is_that_of_the_likelihood_maximized_directly() -> None:
    trials = made({0: TRUE[0]}, noise=0.1)
    side = np.where(trials.mean < PIXELS.mean, 0.5, -0.5)
    columns = np.column_stack([np.log(trials.distance(PIXELS)), np.log(trials.std / PIXELS.std), side])

    def loss(weights: np.ndarray) -> float:
        margin = np.where(trials.dead, 1, -1) * (columns @ weights[:3] + weights[3])
        return np.logaddexp(0, -margin).sum() + weights[:3] @ weights[:3] / 2 / boundary.REGULARIZATION

    slope, of_std, of_side, constant = optimize.minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-6}).x
    assert fit(trials, PIXELS) == pytest.approx(
        (np.exp(-constant / slope), -of_std / slope, np.exp(-of_side / slope)), rel=1e-3
    )


def test_error_on_an_unseen_seed_is_that_of_the_other_seeds_rule() -> None:
    trials = made(TRUE | {4: Rule(12.5, 0.12, 1.25)})
    rules = fit_seeds(trials, PIXELS)
    errors = describe(trials, rules, PIXELS, 0.95)["errors"]
    by_hand = []
    for seed in TRUE | {4: None}:
        part = trials.part(trials.seed == seed)
        others = [rule for other, rule in rules.items() if other != seed]
        threshold = np.prod([rule.threshold for rule in others]) ** (1 / 4)
        exponent = np.mean([rule.std_exponent for rule in others])
        root = np.prod([rule.side_factor for rule in others]) ** (1 / 8)
        limit = threshold * (part.std / PIXELS.std) ** exponent * np.where(part.mean < PIXELS.mean, root, 1 / root)
        by_hand.append(((np.abs(part.mean - PIXELS.mean) / PIXELS.std > limit) != part.dead).mean())
    assert errors["unseen_seed"] == pytest.approx(np.mean(by_hand))
    assert errors["unseen_seed"] > errors["all_seeds"] > errors["own_seed"] > 0


def test_means_at_which_training_fails_are_those_that_the_rule_says() -> None:
    rule, std = TRUE[1], np.array([0.1, 1, 10])
    for means, step in zip(rule.means(std, PIXELS), (-0.01, 0.01), strict=True):
        nothing = np.zeros(3)
        assert rule.dies(Trials(means + step, std, nothing, nothing, nothing), PIXELS).all()
        assert not rule.dies(Trials(means - step, std, nothing, nothing, nothing), PIXELS).any()
    assert average(TRUE.values()).threshold == pytest.approx((9.5 * 10 * 10.5 * 11) ** 0.25)


def test_slope_compares_trials_near_the_data_with_those_before_the_limit() -> None:
    mean = np.linspace(-6, 6, 121)
    distance = np.abs(mean - PIXELS.mean) / PIXELS.std
    trials = Trials(mean, np.full(121, PIXELS.std), mean * 0, 0.98 - 0.001 * distance, distance > 10)
    rule = Rule(10, 0, 1)
    found = slope(trials, rule, PIXELS)
    near, last = distance <= 2, (distance > 7.5) & (distance <= 10)
    assert found["near"] == {"median": pytest.approx(np.median(trials.accuracy[near])), "n": near.sum()}
    assert found["before_limit"] == {"median": pytest.approx(np.median(trials.accuracy[last])), "n": last.sum()}


def test_full_size_trials_are_compared_with_those_of_the_same_point_and_seed() -> None:
    trials = made(TRUE)
    full = trials.part(np.arange(len(trials.dead)) % 36 == 0)
    assert agreement(trials, full) == {"trials": 10, "agree": 10}
    assert agreement(trials, full._replace(dead=~full.dead)) == {"trials": 10, "agree": 0}
    assert agreement(trials, full._replace(seed=full.seed + 10)) == {"trials": 0, "agree": 0}


def test_initial_weights_are_compared_by_the_share_that_learns() -> None:
    means = (-2.6, 0.1, 0.2, 3.0)  # the second and the third near the data
    learned = {"default": (2, 1, 2, 2), "he_normal": (0, 0, 1, 0), "zero_bias": (2, 2, 1, 2)}  # by seed, of two
    rows = [
        {"seed": f"{seed}", "mean": mean, "std": 1.0, "init": init, "accuracy": f"{0.9 if alive else 0.1}"}
        for init, counts in learned.items()
        for seed, count in enumerate(counts)
        for mean, alive in zip(means, (count > 0, True, True, count > 1), strict=True)
    ]
    found = by_init(rows[::-1], PIXELS, 0.5, 0.95)
    assert {init: (each["trials"], each["learned"]) for init, each in found.items()} == {
        init: (8, sum(counts)) for init, counts in learned.items()
    }
    assert all(each["near"] == {"mean": pytest.approx(0.9), "n": 8} for each in found.values())
    assert "difference" not in found["default"]
    for init in ("he_normal", "zero_bias"):
        shares = [np.array(learned[name]) / 2 for name in (init, "default")]
        test, of = stats.ttest_rel(*shares), found[init]["difference"]
        assert of["mean"] == pytest.approx(np.mean(shares[0] - shares[1]))
        assert (of["interval"]["low"], of["interval"]["high"]) == pytest.approx(tuple(test.confidence_interval(0.95)))
        assert of["p"]["differs"] == pytest.approx(test.pvalue)
    assert (found["he_normal"]["difference"]["differs"], found["zero_bias"]["difference"]["differs"]) == ("yes", "no")
    of_two = by_init([row for row in rows if row["init"] != "default"], PIXELS, 0.5, 0.95)
    assert of_two == {init: {key: found[init][key] for key in ("trials", "learned", "near")} for init in of_two}
    assert set(of_two) == {"he_normal", "zero_bias"}


def test_committed_shares_of_initial_weights_are_those_of_the_table() -> None:
    committed = json.loads((ROOT / "metrics/region.json").read_text())["init"]
    shares: dict[str, dict[str, list[bool]]] = {}
    with (ROOT / "plots/init.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            words = row["point"].replace(",", "").split()  # such as mean 0.1307, std 1, init default
            if abs(float(words[1])) > 1:
                shares.setdefault(words[-1], {}).setdefault(row["seed"], []).append(float(row["accuracy"]) > 0.5)
    by_seed = {init: np.array([np.mean(each) for each in of.values()]) for init, of in shares.items()}
    for init, of in committed.items():
        assert of["learned"] == sum(sum(each) for each in shares[init].values())
        if init != "default":
            test = stats.ttest_rel(by_seed[init], by_seed["default"])
            low, high = test.confidence_interval(0.95)
            assert [of["difference"]["interval"][end] for end in ("low", "high")] == pytest.approx(
                [low, high], abs=2e-6
            )
            assert of["difference"]["p"]["differs"] == pytest.approx(test.pvalue, abs=2e-6)


@pytest.mark.parametrize("died", [0, 1])
def test_without_both_kinds_there_is_no_rule(died: int) -> None:
    trials = made(TRUE)
    trials = trials._replace(dead=np.full(len(trials.dead), bool(died)))
    assert fit_seeds(trials, PIXELS) == {}
    assert describe(trials, {}, PIXELS, 0.95)["rule"] is None
    inside_out = made(TRUE)._replace(dead=~made(TRUE).dead)
    assert fit(inside_out, PIXELS) is None


def lay(folder: Path, trials: Trials, accuracy: list[float]) -> None:
    """Made-up results that the stage reads: of `boundary`, `boundary_wide` (means above 2) and the full-size trials, of
    two kinds of initial weights, and a sweep of these accuracies."""
    shutil.copy(ROOT / "params.yaml", folder)
    for name in ("plots", "metrics"):
        (folder / name).mkdir()
    wide = trials.mean > 2
    for entry, part in (("boundary", ~wide), ("boundary_wide", wide), ("boundary_full", wide | True)):
        columns = trials.part(part)
        points = {f"{m:g}, {s:g}": {"parameters": {"mean": m, "std": s}} for m, s in zip(*columns[:2], strict=True)}
        rows = [f'{t},"{m:g}, {s:g}",{a}' for m, s, t, a in zip(*columns[:4], strict=True)]
        (folder / f"metrics/{entry}.json").write_text(json.dumps(points | {"seeds": 4}))
        (folder / f"plots/{entry}.csv").write_text("\n".join(["seed,point,accuracy", *rows]))
    starts = {init: {"parameters": {"mean": 3, "std": 1, "init": init}} for init in ("default", "zero_bias")}
    (folder / "metrics/init.json").write_text(json.dumps(starts | {"seeds": 1}))
    (folder / "plots/init.csv").write_text("seed,point,accuracy\n1,default,0.1\n1,zero_bias,0.9\n")
    of_sweep = [f"{n},{n - 3},1,{each},0.5" for n, each in enumerate(accuracy)]
    (folder / "plots/sweep.csv").write_text("\n".join(["number,mean,std,accuracy,conv2_silent_after", *of_sweep]))
    (folder / "metrics/statistics.json").write_text(json.dumps({"train": PIXELS._asdict()}))


@pytest.mark.parametrize("accuracy", [[0.1, 0.97, 0.98, 0.98, 0.1], [0.98], [0.1]], ids=str)
@pytest.mark.parametrize("seeds", [4, 1, 0])
def test_stage_says_what_it_can_and_repeats_itself(
    seeds: int, accuracy: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = made({seed: TRUE[seed] for seed in range(max(1, seeds))})
    if not seeds:
        trials = trials._replace(accuracy=np.full(len(trials.dead), 0.9))
    lay(tmp_path, trials, accuracy)
    monkeypatch.chdir(tmp_path)
    names = ("metrics/region.json", "plots/region.csv", "plots/region.png", "plots/contour.png")

    def run() -> list[bytes]:
        for stage in (region, contour):
            stage.main(params.load())
        return [Path(name).read_bytes() for name in names]

    written = run()
    metrics = json.loads(written[0])
    assert run() == written
    assert (metrics["rule"] is None) == (seeds == 0)
    assert metrics["sweep"]["learned"] == sum(each > 0.5 for each in accuracy)
    assert metrics["full_size"]["trials"] == len(trials.dead)
    assert {init: each["learned"] for init, each in metrics["init"].items()} == {"default": 0, "zero_bias": 1}
    if seeds == 1:
        assert metrics["rule"]["threshold"]["low"] is None
    pixels, rules = boundary_figure.read()
    assert pixels == PIXELS
    assert len(rules) == seeds

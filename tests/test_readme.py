"""README.md says what the committed results say."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, committed

from stages.settings import params


def metrics(name: str) -> dict[str, Any]:
    return json.loads(committed(f"metrics/{name}.json"))


README = " ".join(committed("README.md").split())
# Of the table of optimizers: what is compared, and the points that have another name there than their normalization.
COLUMNS: tuple[tuple[str, dict[str, str]], ...] = (
    ("one_epoch", {}),
    ("optimizer_sgd", {}),
    ("optimizer_sgd", {name: f"{name}_own_rate" for name in ("none", "wide", "extreme")}),
    ("optimizer_adam", {}),
    ("optimizer_adam", {name: f"{name}_own_rate" for name in ("shifted", "extreme")}),
)
ROWS = {
    "standard": "standard: mean 0.1307, std 0.3081",
    "zero_one": "pixels from 0 to 1: mean 0, std 1",
    "none": "pixels from 0 to 255: none at all",
    "wide": "a tenth of the contrast: mean 0.1307, std 3",
    "shifted": "7 standard deviations off: mean -2, std 0.3081",
    "extreme": "16 standard deviations off: mean 5, std 0.5",
}
ANSWERS = {  # two of them: does it differ from the reference, and by more than the margin?
    ("yes", "yes"): "differs, by more than the margin",
    ("yes", "no"): "differs, by less than the margin",
    ("yes", "open"): "differs; whether by more than the margin is open",
    ("no", "no"): "no difference found, none beyond the margin",
    ("no", "open"): "no difference found; one beyond the margin is not excluded",
}

SETTINGS = yaml.safe_load(committed("params.yaml"))
MARGIN = SETTINGS["rule"]["margin"]
PHOTOGRAPHS = {
    "own": "its own: mean 0.5, std 0.5",
    "torchvision": "torchvision's: mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225",
    "zero_mean": "torchvision's mean alone, std 1",
    "pixels": "mean and std of all pixels of these photographs",
    "zero_one": "pixels from 0 to 1: mean 0, std 1",
    "low": "mean -0.5, std 0.2",
    "bytes": "pixels from 0 to 255: none at all",
}


def accuracy(of: dict) -> str:
    return f"{of['accuracy']['mean']:.4f} ± {of['accuracy']['std']:.4f}"


def points(of: dict) -> str:
    mean, interval = of["difference"]["mean"], of["difference"]["interval"]
    return f"{100 * mean:+.2f} ({100 * interval['low']:+.2f} to {100 * interval['high']:+.2f})"


def change(of: dict) -> str:
    """Of a treatment's accuracy, to one digit: one image of a thousand."""
    mean, interval = of["difference"]["mean"], of["difference"]["interval"]
    return f"{100 * mean:+.1f} ({100 * interval['low']:+.1f} to {100 * interval['high']:+.1f})"


def answered(of: dict) -> str:
    return ANSWERS[of["difference"]["differs"], of["difference"]["exceeds"]]


def cell(entry: str, point: str) -> str:
    """The reference's accuracy; of others the difference from it, bold if beyond the margin, or how many seeds learned
    where not all did."""
    of = metrics(entry)
    if point not in of:
        return ""
    count, n = of[point]["learned"], of[point]["accuracy"]["n"]
    if count < n:
        return f"**learns with {count} of {n} seeds**"
    if "difference" not in of[point]:
        return accuracy(of[point])
    mark = "**" if of[point]["difference"]["exceeds"] == "yes" else ""
    fewer = f", {n} seeds" if n < of["seeds"] else ""
    return f"{mark}{points(of[point])}{mark}{fewer}"


def row(name: str) -> str:
    return f"| {' | '.join((ROWS[name], *(cell(entry, other.get(name, name)) for entry, other in COLUMNS)))} |"


@pytest.mark.parametrize("name", ROWS)
def test_table_of_optimizers_is_that_of_the_metrics(name: str) -> None:
    assert " ".join(row(name).split()) in README


@pytest.mark.parametrize(
    ("label", "entry", "other"),
    [
        ("LeNet, Adadelta, 1 epoch, {} seeds", *COLUMNS[0]),
        ("LeNet, Adadelta, 14 epochs, {} seeds", "epochs", {}),
        ("LeNet, SGD at 0.01, 1 epoch, {} seeds", *COLUMNS[1]),
        ("LeNet, SGD at 0.01, 14 epochs, {} seeds", "epochs_sgd", {}),
        ("LeNet, SGD, best rate for each, 1 epoch, {} seeds", *COLUMNS[2]),
    ],
)
def test_first_table_is_that_of_the_metrics(label: str, entry: str, other: dict[str, str]) -> None:
    cells = [cell(entry, other.get(name, name)) for name in ("standard", "zero_one", "none")]
    assert f"| {label.format(metrics(entry)['seeds'])} | {' | '.join(cells)} |" in README
    if not other:  # the report has one learning rate for each optimizer
        assert f" | {' | '.join(cells)} |" in committed("report.md")
    assert f", {metrics(entry)['standard']['parameters']['epochs']} epoch" in label
    assert f"not all seeds learn (accuracy above {SETTINGS['region']['threshold']})" in README


def test_downloaded_network_in_the_first_table_is_that_of_the_metrics() -> None:
    normalizations = metrics("imagenet_treatments")["normalizations"]
    own, *others = (normalizations[name]["as_is"] for name in ("own", "zero_one", "bytes"))
    assert all(of["difference"]["interval"]["high"] < -MARGIN for of in others)
    cells = (f"{own['accuracy']:.3f} (its own)", *(f"**{change(of)}**" for of in others))
    assert f"| EfficientNet-Lite0, downloaded | {' | '.join(cells)} |" in README


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "region",
            "Adadelta, 1 epoch of 12,000 images, {trials} trials around the boundary, {seeds} seeds). Training fails "
            "where the mean lies further from the pixels' than {rule[threshold][value]:.1f} of their standard "
            "deviations (95% interval {rule[threshold][low]:.1f} to {rule[threshold][high]:.1f})",
        ),
        ("region", "the seed moves that boundary by a factor of {seeds_move:.1f}"),
        (
            "region",
            "Other initial weights are not found to move it ({seeds} seeds, which find large moves only): around it, "
            "{init[default][learned]} of {init[default][trials]} trials learn with the default, "
            "{init[he_normal][learned]} with He-normal ones, "
            "{init[zero_bias][learned]} with zero biases.",
        ),
        ("region", "In the search, {sweep[dead]} of {sweep[trials]} trials learn nothing."),
        ("revival", "{learned} of {evaluations} trials that died learn"),
        (
            "awake",
            "of the {evaluations} nearest to the data, trained for 14 epochs (1 seed), {learned} learns.",
        ),
        (
            "sweep",
            "The best of {completed} trials** ([map](plots/contour.png)), mean {best[mean]:.2f} and std "
            "{best[std]:.2f}, has {best[accuracy]:.4f}",
        ),
        ("sweep", "measured on the other, the best trial has {best[held_out]:.4f}"),
        ("sweep", "the committed sweep has {completed}"),
        ("baseline", "single training runs here {accuracy:.4f}"),
        ("zero_one", "and {accuracy:.4f}. Figures are"),
        (
            "imagenet_sweep",
            "over {completed} normalizations, one mean from -0.5 to 1.5 and one std from 0.2 to 0.6 for all channels, "
            "as is from {accuracies[accuracy][min]:.3f} to {accuracies[accuracy][max]:.3f}, recalibrated from "
            "{accuracies[accuracy_recalibrated][min]:.3f} to {accuracies[accuracy_recalibrated][max]:.3f}",
        ),
        ("resnet", "trained here on digits ({accuracy:.4f} under its own normalization)"),
    ],
)
def test_figures_are_those_of_the_metrics(name: str, said: str) -> None:
    assert said.format(**metrics(name)) in README


def test_caption_of_the_map_is_that_of_the_metrics() -> None:
    counts = []
    for entry in ("plateau", "plateau_sgd"):
        cells = [of for of in metrics(entry).values() if isinstance(of, dict) and "difference" in of]
        costs = [-of["difference"]["mean"] for of in cells]
        dead, some = (sum(of["learned"] in which for of in cells) for which in ([0], range(1, metrics(entry)["seeds"])))
        counts.append([sum(cost < MARGIN for cost in costs), sum(cost < 0.01 for cost in costs), dead, some])
        assert len(cells) == 55
    said = (
        "the mean of {} seeds with Adadelta, of {} with SGD. Of 55 other normalizations, with Adadelta {} cost less "
        "than 0.2 points, {} less than 1, {} learn nothing, and {} learn with some seeds only; with SGD at 0.01 {} "
        "cost less than 0.2 points, {} less than 1, and {} learn nothing."
    )
    seeds = (metrics(entry)["seeds"] for entry in ("plateau", "plateau_sgd"))
    assert said.format(*seeds, *counts[0], *counts[1]) in README
    spread = [100 * metrics(name)["zero_one"]["difference"]["std"] for name in ("one_epoch", "optimizer_sgd")]
    assert "deviation of {:.2f} points with Adadelta, of {:.2f} with SGD.".format(*spread) in README


def test_processors_are_those_that_the_results_come_from() -> None:
    listed = subprocess.run(["git", "ls-files", "data/machine"], cwd=ROOT, capture_output=True, text=True, check=True)
    devices = {Path(path).stem: json.loads(committed(path))["device"] for path in listed.stdout.split()}
    others = {name for name, device in devices.items() if not device.startswith("cpu AMD EPYC AVX512")}
    studies = {"awake", "epochs", "epochs_sgd", "init", "plateau", "plateau_sgd"}
    assert others == studies | {"baseline", "zero_one", "resnet", "resnet_treatments"}
    assert all(devices[name].startswith("cpu Intel(R) Xeon(R)") for name in others)
    assert devices["one_epoch"].startswith("cpu AMD EPYC AVX512, cpu Intel(R) Xeon(R)")
    said = (
        "those of the first picture's cells, of 14 epochs, of other initial weights, of all but the first twelve "
        "seeds with Adadelta after 1 epoch, and of what every clone trains again (single training runs, the ResNet-18 "
        "of the table) from an Intel Xeon (AVX-512)."
    )
    assert said in README


SENTENCES = (  # of comparisons over seeds
    (
        "one_epoch",
        "With Adadelta the accuracy changes by {zero_one[points]} points after 1 epoch ({seeds} seeds): more than "
        "chance, less than 0.2.",
    ),
    ("epochs", "less than 0.2. After 14 ({seeds} seeds) no difference is found, {zero_one[points]}."),
    ("one_epoch", "With Adadelta the difference is {none[points]} after 1 epoch ({none[n]} seeds),"),
    ("epochs", "seeds), {none[points]} after 14 ({seeds} seeds)."),
    (
        "epochs",
        "14 epochs). With Adadelta ({seeds} seeds) the difference of pixels from 0 to 1 goes from {zero_one[first]} "
        "points after the first epoch to {zero_one[last]} after the last, where it is not shown, but shown to be "
        "within 0.2 points; that of pixels from 0 to 255 from {none[first]} to {none[last]}, which is more "
        "than chance.",
    ),
    ("one_epoch", "| Adadelta, {seeds} seeds |"),
    (
        "optimizer_sgd",
        "With SGD it changes by {zero_one[points]} after 1 epoch ({seeds} seeds), by",
    ),
    (
        "optimizer_sgd",
        "(1 epoch, {seeds} seeds), {none[learned]} of {seeds} seeds learn, and",
    ),
    ("epochs_sgd", "by {zero_one[points]} after 14 ({seeds} seeds): little, but more than chance."),
    ("epochs_sgd", "seeds learn, and {none[learned]} of {seeds} in 14 epochs;"),
    (
        "epochs_sgd",
        "With SGD at 0.01 ({seeds} seeds) that of pixels from 0 to 1 goes from {zero_one[first]} to {zero_one[last]}, "
        "more than chance: it becomes small, but is still there.",
    ),
    (
        "optimizer_sgd",
        "at 0.001 all do after 1 epoch ({seeds} seeds), at a difference of {none_own_rate[points]} points.",
    ),
    ("optimizer_sgd", "| SGD, {seeds} seeds |"),
    ("optimizer_adam", "| Adam, {seeds} seeds |"),
    (
        "start",
        "From the standard's own initial function (1 epoch, {seeds} seeds), pixels from 0 to 1 are at "
        "{zero_one_from_standard[points]} points, pixels from 0 to 255 at {none_from_standard[points]}.",
    ),
    ("best", "At {seeds} new seeds it is at {best[points]} points from the standard values"),
)


@pytest.mark.parametrize(("name", "said"), SENTENCES)
def test_sentences_on_comparisons_are_those_of_the_metrics(name: str, said: str) -> None:
    told = {}
    for point, of in metrics(name).items():
        told[point] = of
        if point != "seeds":
            told[point] = of | {"n": of["accuracy"]["n"]} | ({"points": points(of)} if "difference" in of else {})
            by_epoch = [f"{100 * each['difference']:+.2f}" for each in of.get("by_epoch", {}).values()]
            told[point] |= {"first": by_epoch[0], "last": by_epoch[-1]} if by_epoch else {}
    assert said.format(**told) in README


def test_what_is_said_of_differences_is_what_the_rule_finds() -> None:
    after_one = metrics("one_epoch")["zero_one"]["difference"]
    assert (after_one["differs"], after_one["exceeds"]) == ("yes", "no")
    found = {name: metrics("epochs")[name]["difference"] for name in ("zero_one", "none")}
    assert (found["zero_one"]["differs"], found["zero_one"]["exceeds"]) == ("no", "no")
    assert found["none"]["differs"] == "yes"
    assert metrics("epochs_sgd")["zero_one"]["difference"]["differs"] == "yes"


def test_figures_of_resnet_are_those_of_the_metrics() -> None:
    for key, of in metrics("resnet_treatments")["normalizations"].items():
        if key == "own":
            continue
        cells = (of[treatment]["accuracy"] for treatment in ("as_is", "recalibrated", "folded", "fine_tuned"))
        name = ", ".join(f"{key} {value:g}" for key, value in of["normalization"].items())
        assert f"| {name} | {' | '.join(f'{cell:.4f}' for cell in cells)} |" in README
    scratch = metrics("resnet_scratch")
    assert f"{scratch['seeds']} seeds: {accuracy(scratch['standard'])} with the standard values" in README
    for name, label in (
        ("zero_one", "with mean 0, std 1"),
        ("extreme", "with mean 5, std 0.5"),
        ("extreme_border", ""),
        ("extreme_recalibrated", ""),
    ):
        of = scratch[name]
        assert " ".join(f"{accuracy(of)} {label} ({answered(of)})".split()) in README


def test_figures_of_imagenet_are_those_of_the_metrics() -> None:
    treated = metrics("imagenet_treatments")
    assert f"on {treated['images']:,} photographs" in README
    changes = {}
    for name, label in PHOTOGRAPHS.items():
        of = treated["normalizations"][name]
        as_is, recalibrated, folded = (of[each]["accuracy"] for each in ("as_is", "recalibrated", "folded"))
        changes[name] = change(of["as_is"])
        changed = f" {changes[name]}" if name != "own" else ""
        assert f"| {label} | {as_is:.3f} |{changed} | {recalibrated:.3f} | {folded:.3f} |" in README
    said = (
        "changes by {} points under the numbers that everyone copies, by {} on pixels from 0 to 255 (1,000 photographs)"
    )
    assert said.format(changes["torchvision"], changes["bytes"]) in README
    channels = metrics("imagenet")["channels"]
    for kind, said in (("std", "({} here)"), ("image_std", "own ({})")):
        assert said.format(", ".join(f"{channels[color][kind]:.3f}" for color in ("red", "green", "blue"))) in README


def test_mean_and_std_of_the_photographs_are_those_measured() -> None:
    pixels = params.load(ROOT / "params.yaml").normalizations["pixels"]
    channels = metrics("imagenet")["channels"]
    for kind, numbers in pixels:
        for number, color in zip(numbers, ("red", "green", "blue"), strict=True):
            assert abs(number - channels[color][kind]) < 0.0006


def test_shares_of_good_trials_are_those_of_the_simulation() -> None:
    rows = (line.strip("| ").split(" | ") for line in committed("metrics/batches.md").splitlines() if "±" in line)
    good = {batch: 100 * float(share.partition(" ")[0]) for batch, _, share, _ in rows}
    said = "{:.0f}% of its trials come within 0.005 of the best, with batches of 4 {:.0f}%, of 64 {:.0f}%"
    assert said.format(*(good[batch] for batch in ("8", "4", "64"))) in README


def test_figures_of_a_gpu_are_those_measured() -> None:
    lines = committed("metrics/gpu.md").splitlines()
    rows = dict(line.strip("| ").split(" | ", 1) for line in lines if line.startswith("| "))
    epoch, drawing = (
        rows[name].partition(",")[0]
        for name in (
            "ours, the first run with a seed",
            "of the first run: drawing its random numbers, on the processor",
        )
    )
    eager, graph = (rows[name].partition(" ")[0] for name in ("as it is", "that as a CUDA graph"))
    one, four = (int(rows[count].partition(" ")[0]) for count in ("1", "4"))
    assert f"they do {four:,} trials an hour, and one at a time {one:,}, where all have one seed" in README
    assert f"The first run with a seed takes {epoch} s, of which {drawing} go to its random numbers" in README
    assert f"A step takes {eager} ms, most of it to launch its kernels: as a CUDA graph it takes {graph}." in README
    assert all(row.rpartition(" | ")[2] == "yes" for name, row in rows.items() if name in ("adadelta", "sgd", "adam"))


def test_report_is_made_of_the_committed_metrics(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stages import report

    (tmp_path / "metrics").mkdir()
    listed = subprocess.run(["git", "ls-files", "metrics/*.json"], cwd=ROOT, capture_output=True, text=True, check=True)
    for path in listed.stdout.split():
        (tmp_path / path).write_text(committed(path))
    (tmp_path / "params.yaml").write_text(committed("params.yaml"))
    monkeypatch.setattr(report, "TEMPLATE", ROOT / report.TEMPLATE)
    monkeypatch.chdir(tmp_path)
    report.main(params.load())
    assert (tmp_path / "report.md").read_text() == committed("report.md")
    assert (tmp_path / "summary.json").read_text() == committed("summary.json")


def test_comparison_that_is_shown_can_be_added() -> None:
    shown = committed("README.md").split("```yaml\n")[1].partition("```")[0]
    content = yaml.safe_load(committed("params.yaml"))
    content["comparisons"] |= yaml.safe_load(shown)
    settings = params.Params.model_validate(content)
    assert set(settings.points(settings.comparisons["large_batches"])) == {"standard", "zero_one", "none"}


def test_folders_are_those_of_stages() -> None:
    shown = {line.split("`")[1] for line in committed("README.md").splitlines() if line.startswith("| `stages/")}
    folders = {f"stages/{path.name}/" for path in (ROOT / "stages").iterdir() if (path / "__init__.py").exists()}
    assert shown - {"stages/*.py"} == folders


def test_commands_are_those_of_the_makefile() -> None:
    targets = {line.partition(":")[0] for line in (ROOT / "Makefile").read_text().splitlines()}
    for command in ("repro", "test"):
        assert f"make {command}" in README
        assert command in targets

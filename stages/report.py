"""Stage `report`: the results on one page, report.md, and those that one compares, summary.json.

Both are made of the metrics files alone.
"""

from pathlib import Path
from typing import Any

import jinja2

from stages.common import files
from stages.settings.params import Params

METRICS = Path("metrics")
TEMPLATE = Path("stages/report.md.jinja")
REPORT = Path("report.md")
SUMMARY = Path("summary.json")
FEW = 10  # points of a comparison that a table can show; a grid has more, and is a picture


def main(settings: Params) -> None:
    metrics = {path.stem: files.read_json(path) for path in sorted(METRICS.glob("*.json"))}
    comparisons = {name: metrics[name] for name in settings.comparisons if name in metrics and told(metrics[name])}
    # A number that a metrics file lacks is an error, not an empty place on the page.
    page = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    page.filters |= {function.__name__: function for function in (compared, number, numbers, points)}
    text = page.from_string(TEMPLATE.read_text()).render(metrics | {"comparisons": comparisons})
    files.write_bytes(REPORT, (text.strip() + "\n").encode())
    files.write_json(SUMMARY, summary(metrics, comparisons))
    print(f"{REPORT}, {SUMMARY}: from {len(metrics)} files in {METRICS}")


def told(comparison: dict[str, Any]) -> bool:
    """Whether something is compared in it, and few points are."""
    points = [of for of in comparison.values() if isinstance(of, dict)]
    return len(points) <= FEW and any("difference" in of for of in points)


def summary(metrics: dict[str, Any], comparisons: dict[str, Any]) -> dict[str, Any]:
    """The figures that tell experiments apart, few enough for one line: `dvc exp show` has a column for each.

    Accuracies, and of each comparison the mean differences in percentage points; rounded, so that `dvc metrics diff`
    shows no noise.
    """
    differences = {
        name: {
            point: round(100 * of["difference"]["mean"], 2)
            for point, of in comparison.items()
            if point != "seeds" and "difference" in of
        }
        for name, comparison in comparisons.items()
    }
    return {
        "baseline": metrics["baseline"]["accuracy"],
        "zero_one": metrics["zero_one"]["accuracy"],
        "sweep": metrics["sweep"]["best"]["accuracy"],
        **differences,
        "resnet": treated(metrics["resnet_treatments"]["normalizations"]),
        "imagenet": treated(metrics["imagenet_treatments"]["normalizations"]),
    }


def treated(normalizations: dict[str, Any]) -> dict[str, float]:
    """A trained network's accuracy under its own normalization, and the mean of those under the others."""
    others = [each for name, each in normalizations.items() if name != "own"]
    means = {name: sum(each[name]["accuracy"] for each in others) / len(others) for name in ("as_is", "recalibrated")}
    own = normalizations["own"]["as_is"]["accuracy"]
    return {name: round(value, 4) for name, value in ({"own": own} | means).items()}


def points(difference: dict) -> str:
    """A mean difference of accuracies and its interval, in percentage points."""
    interval = difference["interval"]
    between = f" ({100 * interval['low']:+.2f} to {100 * interval['high']:+.2f})" if interval else ""
    return f"{100 * difference['mean']:+.2f}{between}"


def number(value: float | None) -> str:
    """Four digits, or none where the value is not defined."""
    return "" if value is None else f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"


def numbers(parameters: dict[str, Any]) -> str:
    """Parameters by name, such as: mean 0.1307, std 0.3081."""
    return ", ".join(
        f"{name} {value if isinstance(value, str) else f'{value:.4g}'}" for name, value in parameters.items()
    )


def compared(comparison: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The points of a comparison, the reference first, each with `told`, the parameters that not all of them share."""
    points = {
        name: {"difference": None, "loss_difference": None, "by_epoch": None} | comparison[name]
        for name in comparison
        if name != "seeds"
    }
    shared = set.intersection(*(set(point["parameters"].items()) for point in points.values()))
    for point in points.values():
        point["told"] = {key: value for key, value in point["parameters"].items() if (key, value) not in shared}
    return dict(sorted(points.items(), key=lambda item: item[1]["difference"] is not None))

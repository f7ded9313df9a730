"""Stage `report`: the results on one page, report.md, and the headline figures, summary.json.

Both are made of the metrics files alone. No study is named here: params.yaml says what is shown where.
"""

from pathlib import Path
from typing import Any

import jinja2

from stages.common import files
from stages.evidence import judgement, words
from stages.settings.params import SWEEP, Params, Study

TEMPLATE = Path("stages/report.md.jinja")
REPORT = Path("report.md")
SUMMARY = Path("summary.json")
README = Path("README.md")  # whose results, between two marks, are those of the report
MARKS = "<!-- results -->", "<!-- /results -->"
KINDS = ("comparison", "grid", "law", "search", "again", "treatments", "photographs")  # sections of the page
FEW = 10  # points of a comparison that a table can show; a grid has more, and is a picture
SINGLE = ("baseline", "fold", "resnet", "statistics", "zero_one")  # stages whose metrics it reads


def main(settings: Params) -> None:
    metrics = {name: files.read_json(Path(f"metrics/{name}.json")) for name in SINGLE}
    judged = {path.stem: files.read_json(path) for path in sorted(Path("metrics/studies").glob("*.json"))}
    studies = {name: judged[name] for name in (SWEEP, *settings.studies) if name in judged}
    kinds: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for name, of in studies.items():
        kinds[_kind(settings.studies.get(name), of)][name] = of
    # A number that a metrics file lacks is an error, not an empty place on the page.
    page = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    filters = described, number, numbers, only, partly, points, relative, words.exponent
    page.filters |= {function.__name__: function for function in filters}
    page.filters["protocol"] = lambda comparison: protocol(comparison, settings)
    known = metrics | kinds | {"rules": {name: settings.rule.of(name) for name in studies}, "settings": settings}
    with judgement.whole("a file in metrics", "`dvc repro` makes it again"):
        try:
            text = page.from_string(TEMPLATE.read_text(encoding="utf-8")).render(known)
        except jinja2.UndefinedError as error:
            raise LookupError(error) from error
    files.write_bytes(REPORT, (text.strip() + "\n").encode())
    if README.exists():
        files.write_bytes(README, with_results(README.read_text(encoding="utf-8"), text).encode())
    files.write_json(SUMMARY, summary(settings, kinds["comparison"]))
    print(f"{REPORT}, {SUMMARY}: from {len(metrics) + len(studies)} files in metrics")


def with_results(readme: str, report: str) -> str:
    """The README with the part of the report between the marks."""
    begin, end = MARKS
    if begin not in readme or end not in readme:
        return readme
    before, _, rest = readme.partition(begin)
    return before + begin + report.partition(begin)[2].partition(end)[0] + end + rest.partition(end)[2]


def _kind(study: Study | None, metrics: dict[str, Any]) -> str:
    kind = judgement.kind(study)
    if kind == "seeds":
        return "law" if "offsets" in metrics else "comparison" if len(metrics) <= FEW else "grid"
    return kind


def summary(settings: Params, comparisons: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The differences that params.yaml names, in percentage points: those that tell experiments apart at a glance."""
    headline: dict[str, dict[str, float]] = {}
    for study, point in (named.split(".") for named in settings.report.headline):
        if "difference" in (of := comparisons.get(study, {}).get(point, {})):
            headline.setdefault(study, {})[point] = round(100 * of["difference"]["mean"], 2)
    return headline


def points(difference: dict) -> str:
    """A mean difference of accuracies and its interval, in percentage points."""
    interval = difference["interval"]
    between = f" ({100 * interval['low']:+.2f} to {100 * interval['high']:+.2f})" if interval else ""
    return f"{100 * difference['mean']:+.2f}{between}"


def relative(difference: dict) -> str:
    """By how much the errors are more than the reference's, in % of those, and the interval."""
    if (error := difference.get("relative_error")) is None:
        return ""
    interval = error["interval"]
    between = f" ({100 * interval['low']:+.0f} to {100 * interval['high']:+.0f})" if interval else ""
    return f"{100 * error['mean']:+.0f}%{between}"


def number(value: float | None) -> str:
    """Four digits, or none where the value is not defined."""
    return "" if value is None else f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"


def numbers(parameters: dict[str, Any]) -> str:
    """Parameters by name, such as: mean 0.1307, std 0.3081."""
    return ", ".join(
        f"{name} {f'{value:.4g}' if isinstance(value, float) else value}" for name, value in parameters.items()
    )


def described(comparison: dict[str, Any], reference: str) -> dict[str, dict[str, Any]]:
    """The points of a comparison, the reference first, each with `differing`: the parameters that not all share."""
    shared = words.shared(comparison)
    return {
        name: of | {"differing": {key: value for key, value in of["parameters"].items() if key not in shared}}
        for name, of in sorted(comparison.items(), key=lambda item: item[0] != reference)
    }


def protocol(comparison: dict[str, Any], settings: Params) -> str:
    """How the training runs of a comparison were trained, where all points share it."""
    shared = words.shared(comparison)
    own_rates = ", own learning rates" if "optimizer" in shared and "lr" not in shared else ""
    return words.protocol(shared, settings) + own_rates


def partly(comparison: dict[str, Any]) -> int:
    """How many points learn with some of their seeds only."""
    return sum(0 < of["learned"] < of["n"] for of in comparison.values())


def only(comparison: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The points of these names."""
    return {name: of for name, of in comparison.items() if name in names}

"""Stage `report`: the results on one page, report.md, and the headline figures, summary.json.

Both are made of the metrics files alone. No study is named here: params.yaml says what is shown where.
"""

import re
from pathlib import Path
from typing import Any

import jinja2

from stages.common import files
from stages.evidence import judgement, words
from stages.settings.params import SWEEP, Params

TEMPLATE = Path("stages/report.md.jinja")
REPORT = Path("report.md")
SUMMARY = Path("summary.json")
README = Path("README.md")
RESULTS = re.compile(r"(?<=<!-- results -->).*(?=<!-- /results -->)", re.DOTALL)  # README's are those of the report
KINDS = ("comparison", "grid", "law", "search", "again", "treatments", "photographs")  # sections of the page
FEW = 10  # points of a comparison that a table can show; a grid has more, and is a picture
SINGLE = ("baseline", "fold", "resnet", "statistics", "zero_one")  # stages whose metrics it reads


def main(settings: Params) -> None:
    metrics = {name: files.read_json(Path(f"metrics/{name}.json")) for name in SINGLE}
    judged = {path.stem: files.read_json(path) for path in Path("metrics/studies").glob("*.json")}
    studies = {name: judged[name] for name in (SWEEP, *settings.studies) if name in judged}
    kinds: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for name, of in studies.items():
        kind = judgement.kind(settings.studies.get(name), of)
        if kind == "seeds":
            kind = "comparison" if len(of) <= FEW else "grid"
        kinds[kind][name] = of
    # A number that a metrics file lacks is an error, not an empty place on the page.
    page = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    page.filters |= {"exponent": words.exponent, "protocol": words.protocol, "shared": words.shared}
    rules = {name: settings.rule.of(name) for name in studies}
    with judgement.whole("a file in metrics", "`dvc repro` makes it again"):
        try:
            template = page.from_string(TEMPLATE.read_text(encoding="utf-8"))
            text = template.render(metrics | kinds, rules=rules, settings=settings)
        except jinja2.UndefinedError as error:
            raise LookupError(error) from error
    files.write_bytes(REPORT, (text.strip() + "\n").encode())
    if README.exists():
        results = RESULTS.findall(text)
        files.write_bytes(README, RESULTS.sub(lambda _: results[0], README.read_text(encoding="utf-8")).encode())
    files.write_json(SUMMARY, summary(settings, kinds["comparison"]))
    print(f"{REPORT}, {SUMMARY}: from {len(metrics) + len(studies)} files in metrics")


def summary(settings: Params, comparisons: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The differences that params.yaml names, in percentage points: those that tell experiments apart at a glance."""
    headline: dict[str, dict[str, float]] = {}
    for study, point in (named.split(".") for named in settings.report.headline):
        if "difference" in (of := comparisons.get(study, {}).get(point, {})):
            headline.setdefault(study, {})[point] = round(100 * of["difference"]["mean"], 2)
    return headline

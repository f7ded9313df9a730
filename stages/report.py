"""Stage `report`: the metrics in words and tables, report.md and appendix.md, and the headline ones in summary.json."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from stages.common import files
from stages.evidence import judgement, words
from stages.settings.params import Params

TEMPLATES = Path("stages/templates")
PAGES = (Path("report.md"), Path("appendix.md"))
SUMMARY = Path("summary.json")
README = Path("README.md")
RESULTS = re.compile(r"(?<=<!-- results -->\n).*(?=<!-- /results -->)", re.DOTALL)  # the answer, in README
KINDS = ("comparison", "grid", "law", "search", "treatments", "photographs")  # how studies are shown
FEW = 10  # points over seeds that a table can show
SINGLE = ("fold", "statistics")  # stages whose metrics it reads
NAMED = re.compile(r"\{((\w+)\.\w+)\}")  # a point of a study, in a sentence of the answer


def main(settings: Params) -> None:
    metrics = {name: files.read_json(Path(f"metrics/{name}.json")) for name in SINGLE}
    kinds: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    headline: dict[str, dict[str, float]] = {}
    points: dict[str, Any] = {}
    with files.whole("a file in metrics"):
        for study, of in judgement.read(settings.studies).items():
            kind = of["kind"]
            if kind == "seeds":
                kind = "comparison" if len(of["points"]) <= FEW else "grid"
            kinds[kind][study] = of
            if kind == "comparison":
                said = {point: each for point, each in of["points"].items() if "difference" in each or fails(each)}
                points |= {f"{study}.{point}": each for point, each in said.items()}
            if kind == "treatments":
                points |= {f"{study}.{norm}": each["as_is"] for norm, each in of["normalizations"].items()}
        for name in settings.report.headline:
            if "difference" in points.get(name, {}):
                study, point = name.split(".")
                headline.setdefault(study, {})[point] = round(100 * points[name]["difference"]["mean"], 2)
        try:
            texts = pages(settings, metrics, kinds, points)
        except jinja2.UndefinedError as error:
            raise LookupError(error) from error
    named = [name for name, _ in NAMED.findall(" ".join(settings.report.answer))]
    asked = [*settings.report.table, *settings.report.columns, *settings.report.headline, *named]
    shown = {*kinds["comparison"], *kinds["treatments"], *points, *(name.partition(".")[2] for name in points)}
    for missing in [name for name in dict.fromkeys(asked) if name not in shown]:
        print(f"report: nothing to say of {missing}: left out")
    for path in PAGES:
        files.write_bytes(path, texts[path.name].encode())
    if README.exists():
        text = RESULTS.sub(lambda _: f"\n{texts['answer.md']}\n", README.read_text(encoding="utf-8"))
        files.write_bytes(README, text.encode())
    files.write_json(SUMMARY, headline)
    print(f"{README}, {', '.join(map(str, PAGES))}, {SUMMARY}: made from metrics")


def pages(settings: Params, metrics: Mapping, kinds: Mapping, points: Mapping) -> dict[str, str]:
    """The text of each template, by name.

    points: by STUDY.POINT, those of which there is something to say; a sentence that names another one is left out
    raises: UndefinedError for a number that the metrics lack: never an empty place on a page
    """
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.loader = jinja2.FileSystemLoader(TEMPLATES)
    environment.filters["thousands"] = "{:,}".format
    difference = environment.get_template("macros.jinja").module.in_words  # type: ignore[attr-defined]
    values: dict[str, Any] = {
        **metrics,
        **kinds,
        "settings": settings,
        "words": words,
        "best_rates": [row for name, of in kinds["grid"].items() for row in best_rates(settings, name, of["points"])],
        "some_learn": lambda points: sum(fails(each) and each["learned"] > 0 for each in points.values()),
        "sentences": [
            NAMED.sub(lambda found: difference(points[found[1]], found[2] in settings.report.table).strip(), sentence)
            for sentence in settings.report.answer
            if points.keys() >= {name for name, _ in NAMED.findall(sentence)}
        ],
    }
    names = "answer.md", *(path.name for path in PAGES)
    texts = {name: environment.get_template(f"{name}.jinja").render(values) for name in names}
    return {name: re.sub(r"\n{3,}", "\n\n", text).strip() + "\n" for name, text in texts.items()}


def fails(point: Mapping[str, Any]) -> bool:
    """Whether seeds do not learn at a point."""
    return point["learned"] < point["n"]


def best_rates(settings: Params, study: str, points: Mapping[str, Any]) -> list[tuple]:
    """For each normalization of a grid of learning rates: the study, its best point and the next best."""
    tried = judgement.point_table(points, settings)
    if not tried["normalization"].isin(list(settings.normalizations)).all():  # a map
        return []
    tried = tried.query("learned == n").dropna(subset=["lr"])
    by_normalization = tried.sort_values(["accuracy_mean", "lr"], ascending=False).groupby("normalization")
    return [(study, *each.head(2).to_dict("records")) for _, each in by_normalization if len(each) > 1]

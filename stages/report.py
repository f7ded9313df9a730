"""Stage `report`: the results in report.md, all tables in appendix.md, and the headline figures in summary.json.

All are made of the metrics files alone. No study is named here: params.yaml says what is shown where.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from stages.common import files
from stages.evidence import judgement, words
from stages.settings.params import SWEEP, Params

TEMPLATES = Path("stages/templates")
PAGES = (Path("report.md"), Path("appendix.md"))
SUMMARY = Path("summary.json")
README = Path("README.md")
RESULTS = re.compile(r"(?<=<!-- results -->\n).*(?=<!-- /results -->)", re.DOTALL)  # the answer, in README
KINDS = ("comparison", "grid", "law", "search", "again", "treatments", "photographs")  # how studies are shown
LABELS = {"as_is": "as is", "recalibrated": "recalibrated", "folded": "folded", "fine_tuned": "fine-tuned"}
FEW = 10  # points of a comparison that a table can show; a grid has more, and is a picture
SINGLE = ("baseline", "fold", "resnet", "statistics", "zero_one")  # stages whose metrics it reads
NAMED = re.compile(r"\{(\w+)\.(\w+)\}")  # a point of a study, in a sentence of the answer


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
    with judgement.whole("a file in metrics", "`dvc repro` makes it again"):
        texts = pages(settings, metrics, kinds)
        headline = summary(settings, kinds["comparison"])
    for path in PAGES:
        files.write_bytes(path, texts[path.name].encode())
    if README.exists():
        text = RESULTS.sub(lambda _: f"\n{texts['answer.md']}\n", README.read_text(encoding="utf-8"))
        files.write_bytes(README, text.encode())
    files.write_json(SUMMARY, headline)
    print(f"{', '.join(map(str, PAGES))}, {SUMMARY}: from {len(metrics) + len(studies)} files in metrics")


def pages(settings: Params, metrics: Mapping[str, Any], kinds: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The text of each template, by name.

    raises: LookupError for a number that the metrics lack: never an empty place on a page
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES, encoding="utf-8"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"exponent": words.exponent, "shared": words.shared, "trained": words.trained}
    names = [name for of in kinds.values() for name in of]
    values: dict[str, Any] = {
        **metrics,
        **kinds,
        "settings": settings,
        "labels": LABELS,
        "rules": {name: settings.rule.of(name) for name in names},
        "networks": {name: network(settings, name) for name in names},
        "best_rates": [row for name, of in kinds["grid"].items() for row in best_rates(settings, name, of)],
        "some_learn": lambda of: sum(0 < each["learned"] < each["n"] for each in of.values()),
        "sentences": sentences(settings.report.answer, kinds),
    }
    texts = {}
    try:
        for name in ("answer.md", *(path.name for path in PAGES)):
            text = environment.get_template(f"{name}.jinja").render(values)
            texts[name] = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
            values["answer"] = texts["answer.md"].strip()
    except jinja2.UndefinedError as error:
        raise LookupError(error) from error
    return texts


def sentences(answer: Sequence[str], kinds: Mapping[str, Mapping[str, Any]]) -> list[list[tuple[str, dict | None]]]:
    """Each sentence in pieces: text, and the metrics of the point that stands after it; None at the end.

    A sentence that names a point without metrics is left out.
    """
    points = {(study, point): each for study, of in kinds["comparison"].items() for point, each in of.items()}
    for study, of in kinds["treatments"].items():
        points |= {(study, norm): each["as_is"] for norm, each in of["normalizations"].items()}
    complete = []
    for sentence in answer:
        texts, named = NAMED.split(sentence)[::3], NAMED.findall(sentence)
        if all(name in points for name in named):
            complete.append(list(zip(texts, [*(points[name] for name in named), None], strict=True)))
    return complete


def network(settings: Params, study: str) -> str:
    """The network of a study, by its name."""
    section = settings.studies[study].trial.settings if study in settings.studies else "train"
    return "LeNet" if section == "train" else str(getattr(settings, section).arch)


def best_rates(settings: Params, study: str, points: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each normalization of a grid of learning rates: the best rate, and by how much the next best is worse."""
    known = {tuple(norm.parameters().values()): name for name, norm in settings.normalizations.items()}
    rates: dict[str, list[tuple[float, float]]] = {}
    for each in points.values():
        given = each["parameters"]
        name = known.get((given.get("mean"), given.get("std")))
        if name and "lr" in given and each["learned"] == each["n"]:
            rates.setdefault(name, []).append((each["accuracy"]["mean"], given["lr"]))
    best = {name: sorted(of, reverse=True)[:2] for name, of in rates.items() if len(of) > 1}
    return [
        {"study": study, "name": name, "lr": lr, "accuracy": top, "next_lr": next_lr, "lower_by": top - second}
        for name, ((top, lr), (second, next_lr)) in best.items()
    ]


def summary(settings: Params, comparisons: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The differences that params.yaml names, in percentage points: those that tell experiments apart at a glance."""
    headline: dict[str, dict[str, float]] = {}
    for study, point in (named.split(".") for named in settings.report.headline):
        if "difference" in (of := comparisons.get(study, {}).get(point, {})):
            headline.setdefault(study, {})[point] = round(100 * of["difference"]["mean"], 2)
    return headline

"""The pages of results are made of the metrics, and say only what settings and metrics say."""

import json
import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, committed, set_params

from stages import report
from stages.settings import params

ZERO_ONE = json.loads(committed("metrics/studies/one_epoch.json"))["zero_one"]
WRITTEN = ("README.md", *map(str, report.PAGES), str(report.SUMMARY))


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the committed metrics and settings."""
    (tmp_path / "metrics/studies").mkdir(parents=True)
    names = ("sweep", *yaml.safe_load(committed("params.yaml"))["studies"])
    metrics = (*(f"metrics/{name}.json" for name in report.SINGLE), *(f"metrics/studies/{name}.json" for name in names))
    for path in (*metrics, "params.yaml", "README.md"):
        (tmp_path / path).write_text(committed(path))
    monkeypatch.setattr(report, "TEMPLATES", ROOT / report.TEMPLATES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change(**keys: object) -> params.Params:
    """The settings with other values, by their dotted keys with __ for each dot."""
    set_params(Path(), {key.replace("__", "."): value for key, value in keys.items()})
    return params.load()


def change_zero_one(results: Path, **changed: object) -> None:
    """Changes the metrics of a point of one_epoch; None: lacks them."""
    path = results / "metrics/studies/one_epoch.json"
    metrics = json.loads(path.read_text())
    zero_one = metrics["zero_one"] | changed
    metrics["zero_one"] = {name: value for name, value in zero_one.items() if value is not None}
    path.write_text(json.dumps(metrics))


def test_results_are_made_of_the_committed_metrics(results: Path) -> None:
    report.main(params.load())
    assert [path for path in WRITTEN if (results / path).read_text() != committed(path)] == []


def test_pages_follow_the_settings(results: Path) -> None:
    report.main(change(data__test_images=400, train__batch_size=256, rule__margin=0.003, train__shuffle=True))
    page = Path("report.md").read_text()
    for said in ("400 test images", "batches of 256", "differ by less than 0.3 points"):
        assert said in page
    assert "order of the file" not in page


@pytest.mark.parametrize(
    ("differs", "exceeds", "said"),
    [
        ("yes", "yes", "differs by more than 0.2"),
        ("yes", "no", "differs by less than 0.2"),
        ("yes", "open", "differs"),
        ("no", "no", "equivalent within ±0.2"),
        ("no", "open", "no difference found"),
        ("open", "open", "one pair: not testable"),
    ],
)
def test_table_says_what_the_rule_says(results: Path, differs: str, exceeds: str, said: str) -> None:
    answer = {"differs": differs, "exceeds": exceeds, "mean": -0.0123, "interval": {"low": -0.03, "high": 0.01}}
    change_zero_one(results, difference=ZERO_ONE["difference"] | answer)
    report.main(params.load())
    rows = [line for line in Path("appendix.md").read_text().splitlines() if line.startswith("| zero_one (mean 0")]
    assert f"| {100 * ZERO_ONE['accuracy']['mean']:.2f} ± " in rows[0]
    assert "| -1.23 (-3.00 to +1.00) |" in rows[0]
    assert rows[0].endswith(f"| {said} |")


def test_links_of_the_pages_lead_somewhere() -> None:
    links = [link for path in report.PAGES for link in re.findall(r"\]\(([^)]+)\)", (ROOT / path).read_text())]
    assert [link for link in links if not link.startswith("https://") and not (ROOT / link).exists()] == []


def test_answer_leaves_out_what_has_no_results(results: Path) -> None:
    answer = ["from 0 to 1: {one_epoch.zero_one}.", "a study that is not there: {other.zero_one}."]
    report.main(change(report__answer=answer, report__table=["other", "one_epoch"]))
    page = Path("README.md").read_text()
    assert "- from 0 to 1: -" in page
    assert "not there" not in page
    assert page.count("| LeNet, ") == 1


def test_seeds_that_do_not_all_learn_have_no_difference(results: Path) -> None:
    change_zero_one(results, learned=3, n=5, difference=None, loss_difference=None)
    report.main(change(report__answer=["pixels: {one_epoch.zero_one}."], report__table=["one_epoch"]))
    assert "- pixels: 3 of 5 training runs learn." in Path("README.md").read_text()
    assert "| 3 of 5 learn |" in Path("README.md").read_text()


def test_no_row_of_the_appendix_averages_seeds_that_learned_with_others() -> None:
    sections = re.findall(r"^### (\w+): (.*?)(?=^##)", committed("appendix.md"), re.M | re.S)
    partly = 0
    for name, section in sections:
        metrics = json.loads(committed(f"metrics/studies/{name}.json"))
        for row in re.findall(r"^\| (\w+ .*)", section, re.M):
            of = metrics.get(row.split()[0], {})
            if of.get("learned", 0) < of.get("n", 0):
                partly += 1
                assert f"({of['learned']} of {of['n']} learn)" in row if of["learned"] else "none learns" in row
                assert row.endswith("| | | | |")
    assert partly > 1


def test_missing_number_is_an_error(results: Path) -> None:
    (results / "metrics/statistics.json").write_text("{}")
    with pytest.raises(Exception, match="metrics: is damaged"):
        report.main(params.load())
    assert not Path("report.md").exists()

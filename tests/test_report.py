"""The pages of results are made of the metrics, and say only what settings and metrics say."""

import json
import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, committed, set_params

from stages import report
from stages.settings import params

WRITTEN = ("README.md", *map(str, report.PAGES), str(report.SUMMARY))


@pytest.fixture
def results(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the committed metrics and settings."""
    Path("metrics/studies").mkdir(parents=True)
    names = ("sweep", *yaml.safe_load(committed("params.yaml"))["studies"])
    metrics = (*(f"metrics/{name}.json" for name in report.SINGLE), *(f"metrics/studies/{name}.json" for name in names))
    for path in (*metrics, "params.yaml", "README.md"):
        Path(path).write_text(committed(path))
    monkeypatch.setattr(report, "TEMPLATES", ROOT / report.TEMPLATES)
    return here


def change(**keys: object) -> params.Params:
    """The settings with other values, by their dotted keys with __ for each dot."""
    set_params(Path(), {key.replace("__", "."): value for key, value in keys.items()})
    return params.load()


def test_results_are_made_of_the_committed_metrics(results: Path) -> None:
    report.main(params.load())
    assert [path for path in WRITTEN if (results / path).read_text() != committed(path)] == []


def test_pages_follow_the_settings(results: Path) -> None:
    report.main(change(data__test_images=400, train__batch_size=256, rule__margin=0.003, train__shuffle=True))
    page = Path("report.md").read_text()
    for said in ("400 test images", "batches of 256", "0.3 points or more"):
        assert said in page
    assert "order of the file" not in page


def test_column_that_no_study_has_is_said_to_be_left_out(results: Path, capsys: pytest.CaptureFixture) -> None:
    report.main(change(report__columns=["none", "mien"]))
    assert "report: nothing to say of mien: left out" in capsys.readouterr().out


def test_single_pair_is_not_testable(results: Path) -> None:
    path = results / "metrics/studies/one_epoch.json"
    metrics = json.loads(path.read_text())
    metrics["points"]["zero_one"]["difference"] |= {
        "differs": "open",
        "exceeds": "open",
        "mean": -0.0123,
        "interval": None,
    }
    path.write_text(json.dumps(metrics))
    report.main(params.load())
    row = next(line for line in Path("appendix.md").read_text().splitlines() if line.startswith("| zero_one (mean 0"))
    assert "| -1.23 |" in row
    assert row.endswith("| one pair: not testable |")


def test_points_of_which_only_some_seeds_learn_have_no_difference() -> None:
    rows = re.findall(r"^.*(?:\d learn\)|none learns).*$", committed("appendix.md"), re.M)
    assert rows
    assert [row for row in rows if "".join(row.split("|")[5:]).strip()] == []


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in map(committed, map(str, report.PAGES)):
        links = [link for link in re.findall(r"\]\(([^)]+)\)", page) if not link.startswith("https://")]
        anchors = {f"#{heading.lower().replace(' ', '-')}" for heading in re.findall("^#+ (.*)$", page, re.M)}
        assert [link for link in links if link not in anchors and not (ROOT / link).exists()] == []


def test_answer_leaves_out_what_has_no_results(results: Path) -> None:
    answer = ["from 0 to 1: {one_epoch.zero_one}.", "a study that is not there: {other.zero_one}."]
    answer += ["the reference, which is not there either: {one_epoch.standard}."]
    report.main(change(report__answer=answer, report__table=["other", "one_epoch"]))
    page = Path("README.md").read_text()
    assert "- from 0 to 1: -" in page
    assert "not there" not in page
    assert page.count("| LeNet, ") == 1


def test_missing_number_is_an_error(results: Path) -> None:
    (results / "metrics/statistics.json").write_text("{}")
    with pytest.raises(Exception, match="metrics: is damaged"):
        report.main(params.load())
    assert not Path("report.md").exists()

"""The pages of results are made of the metrics, and say only what settings and metrics say."""

import json
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, committed

from stages import report
from stages.settings import params

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


def change(results: Path, **keys: object) -> params.Params:
    """The settings with other values, by their dotted keys with __ for each dot."""
    content = yaml.safe_load((results / "params.yaml").read_text())
    for key, value in keys.items():
        section = content
        *sections, last = key.split("__")
        for part in sections:
            section = section[part]
        section[last] = value
    return params.Params.model_validate(content)


def test_results_are_made_of_the_committed_metrics(results: Path) -> None:
    report.main(params.load())
    assert [path for path in WRITTEN if (results / path).read_text() != committed(path)] == []


def test_pages_follow_the_settings(results: Path) -> None:
    report.main(change(results, data__test_images=400, train__batch_size=256, rule__margin=0.003, train__shuffle=True))
    page = Path("report.md").read_text()
    for said in ("400 test images", "batches of 256", "below 0.3 points"):
        assert said in page
    assert "order of the file" not in page


def test_answer_leaves_out_what_has_no_results(results: Path) -> None:
    answer = ["from 0 to 1: {one_epoch.zero_one}.", "a study that is not there: {other.zero_one}."]
    report.main(change(results, report__answer=answer, report__table=["other", "one_epoch"]))
    page = Path("README.md").read_text()
    assert "- from 0 to 1: -" in page
    assert "not there" not in page
    assert page.count("| LeNet, ") == 1


def test_seeds_that_do_not_all_learn_have_no_difference(results: Path) -> None:
    path = results / "metrics/studies/one_epoch.json"
    metrics = json.loads(path.read_text())
    metrics["zero_one"] |= {"learned": 3, "n": 5}
    for outcome in ("difference", "loss_difference"):
        del metrics["zero_one"][outcome]
    path.write_text(json.dumps(metrics))
    report.main(change(results, report__answer=["pixels: {one_epoch.zero_one}."], report__table=["one_epoch"]))
    assert "- pixels: 3 of 5 training runs learn." in Path("README.md").read_text()
    assert "| 3 of 5 seeds learn |" in Path("README.md").read_text()


def test_missing_number_is_an_error(results: Path) -> None:
    path = results / "metrics/statistics.json"
    path.write_text("{}")
    with pytest.raises(Exception, match="metrics: is damaged"):
        report.main(params.load())
    assert not Path("report.md").exists()

"""README.md says what the committed results say."""

import json
import subprocess

import pytest
from conftest import ROOT


def committed(path: str) -> str:
    """The file in the last commit: the one in the folder may be an experiment's."""
    shown = subprocess.run(["git", "show", f"HEAD:{path}"], cwd=ROOT, capture_output=True, text=True, check=True)
    return shown.stdout


README = " ".join(committed("README.md").split())


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("baseline", "| standard: mean 0.1307, std 0.3081 | {accuracy:.4f} | {loss:.4f} |"),
        ("zero_one", "| as they are: mean 0, std 1 | {accuracy:.4f} | {loss:.4f} |"),
        (
            "sweep",
            "| best of {completed} trials: mean {best[mean]:.2f}, std {best[std]:.2f} | {best[accuracy]:.4f} | |",
        ),
        ("sweep", "{good[count]} of {completed} trials come within half a percentage point of the best"),
        ("sweep", "means from {good[mean][min]:.1f} to {good[mean][max]:.1f}"),
        ("sweep", "standard deviations from {good[std][min]:.1f} to {good[std][max]:.1f}"),
        ("sweep", "{failed} of {completed} trials do not learn"),
        ("sweep", "it reaches {best[held_out]:.4f}"),
    ],
)
def test_figures_are_those_of_the_metrics(name: str, row: str) -> None:
    metrics = json.loads(committed(f"metrics/{name}.json"))
    failed = metrics.get("completed", 0) - metrics.get("learned", 0)
    assert row.format(**metrics, failed=failed) in README


def test_commands_are_those_of_the_makefile() -> None:
    targets = {line.partition(":")[0] for line in (ROOT / "Makefile").read_text().splitlines()}
    for command in ("repro", "test"):
        assert f"make {command}" in README
        assert command in targets

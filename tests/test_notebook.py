"""explore.ipynb: opens the results of the pipeline, and changes none."""

import nbformat
import pytest
from conftest import ROOT, Clone
from nbclient import NotebookClient


def page() -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "explore.ipynb", as_version=4)


def test_outputs_are_not_committed() -> None:
    cells = [cell for cell in page().cells if cell.cell_type == "code"]
    assert [cell.source for cell in cells if cell.outputs or cell.execution_count] == []


@pytest.mark.slow
def test_notebook_runs_from_top_to_bottom_and_writes_nothing(finished: Clone) -> None:
    executed = NotebookClient(page(), timeout=300, resources={"metadata": {"path": str(finished.folder)}}).execute()
    outputs = [output for cell in executed.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    printed = "".join(output.get("text", "") for output in outputs)
    assert "6 trials, of which" in printed
    assert "yours: accuracy 0." in printed
    assert finished.run("git", "status", "--porcelain").stdout == ""

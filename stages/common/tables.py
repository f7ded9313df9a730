"""Tables of trials, plots/trials/NAME.csv: a row for each trial and epoch, with all parameters and outcomes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.common import files
from stages.common.files import Exact

if TYPE_CHECKING:
    import pandas as pd  # takes half a second, and every study imports this module

FOLDER = Path("plots/trials")
# The columns of every table. `str`, as a point may be named `null` or `inf`.
TYPES = {"trial": "Int64", "point": str, "epoch": "Int64", "accuracy": float, "loss": float, "device": str}


def path(study: str) -> Path:
    return FOLDER / f"{study}.csv"


def write(study: str, trials: Sequence[tuple[str, Mapping]], results: Sequence[Mapping]) -> None:
    """Writes the table of a study; element i of both arguments belongs to trial i.

    trials:  the name of the point, empty in a search, and the parameters
    results: as `fingerprint.Trial` returns them; values by epoch become rows, the last of which has all other values
    """
    rows = []
    for number, ((point, of_trial), last) in enumerate(zip(trials, results, strict=True)):
        accuracies = last.get("accuracy_by_epoch") or [last["accuracy"]]
        losses = last.get("loss_by_epoch") or [last["loss"]]
        first = {name: repr(value) if isinstance(value, float) else value for name, value in of_trial.items()}
        for epoch, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), 1):
            outcomes = last if epoch == len(accuracies) else {"accuracy": accuracy, "loss": loss}
            rows.append({"trial": number, "point": point, **first, "epoch": epoch, **outcomes})
    named = dict.fromkeys(name for _, of_trial in trials for name in of_trial)
    of_results = {name for result in results for name in result if not name.endswith("_by_epoch")}
    columns = ["trial", "point", *named, "epoch", *sorted(of_results - {"seconds"}, key=_order)]  # seconds vary
    files.write_csv(path(study), columns, ([row.get(column) for column in columns] for row in rows))


def read(study: str) -> "pd.DataFrame":
    """The table of a study, NA where a trial has no value; raises: InputError if it is damaged"""
    import pandas as pd

    file = path(study)
    with files.whole(file):
        table = pd.read_csv(file, dtype=TYPES, dtype_backend="numpy_nullable", keep_default_na=False, na_values=[""])
        ends = last_epochs(table)[["accuracy", "device"]]
        # A truncated line lacks the device, the last column.
        if not TYPES.keys() <= {*table} or ends.empty or ends.isna().any(axis=None):
            raise ValueError("no whole table of trials")
        if not table["accuracy"].between(0, 1).all():
            raise ValueError("accuracies must be from 0 to 1")
        return table


def last_epochs(table: "pd.DataFrame") -> "pd.DataFrame":
    """The row of each trial's last epoch, in order."""
    return table.drop_duplicates("trial", keep="last")


def parameters(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """The parameters of each row's trial, as they were given to `write`."""
    named = table.loc[:, "point":"epoch"].iloc[:, 1:-1]
    return [
        {name: Exact(value) if isinstance(value, float) else value for name, value in row.items() if value is not None}
        for row in named.to_dict("records")
    ]


def _order(name: str) -> tuple:
    """The order of columns: accuracies, losses, values before training, values after training, device."""
    return name == "device", not name.startswith("accuracy"), not name.startswith("loss"), name.endswith("_after"), name

"""Stage `report`: the results on one page, report.md, from the metrics files alone."""

import json
from pathlib import Path

import jinja2

from stages import outputs

METRICS = Path("metrics")
TEMPLATE = Path("stages/report.md.jinja")
REPORT = Path("report.md")


def main() -> None:
    metrics = {path.stem: json.loads(path.read_text()) for path in sorted(METRICS.glob("*.json"))}
    # What a metrics file lacks is an error, not an empty place on the page.
    page = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    page.filters |= {"points": points, "number": number, "normalization": normalization}
    text = page.from_string(TEMPLATE.read_text()).render(metrics)
    outputs.write_bytes(REPORT, (text.strip() + "\n").encode())
    print(f"{REPORT}: from {len(metrics)} files in {METRICS}")


def points(difference: dict) -> str:
    """A mean difference of accuracies and its interval, in percentage points."""
    interval = difference["interval"]
    between = f" ({100 * interval['low']:+.2f} to {100 * interval['high']:+.2f})" if interval else ""
    return f"{100 * difference['mean']:+.2f}{between}"


def number(value: float | None) -> str:
    """Four digits, or none where the value is not defined."""
    return "" if value is None else f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"


def normalization(of: dict) -> str:
    """Its numbers, but for what else a training is told."""
    return ", ".join(f"{name} {value:.4g}" for name, value in of["normalization"].items() if name != "epochs")


if __name__ == "__main__":
    main()

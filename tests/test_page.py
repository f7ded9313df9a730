"""The page of `dvc plots show` in a browser without network: what a person sees of it."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from conftest import ROOT, Clone

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTH = 900
# What is asked of the page, ten seconds after it was loaded.
QUESTIONS = """<script>
setTimeout(() => {
    const all = (selector) => [...document.querySelectorAll(selector)];
    const top = (element) => element.getBoundingClientRect().top;
    document.title = "answers: " + JSON.stringify({
        charts: all(".vega-embed svg.marks").filter((chart) => chart.querySelector("path")).length,
        pictures: all("img").filter((picture) => picture.naturalWidth).length,
        right: Math.max(...all("img").map((picture) => picture.getBoundingClientRect().right)),
        first: all("body > div").sort((a, b) => top(a) - top(b))[0].id,
        undefined: document.body.innerText.includes("undefined"),
        cells: document.querySelectorAll("#Confusion_matrix__baseline .mark-text.role-mark text").length,
    });
}, 10000);
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome here")
def test_every_chart_is_drawn_without_network_or_the_page_says_why(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone")  # the committed results, under plots and templates as they stand
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone.folder)], check=True)
    for name in (".dvc/config", ".dvc/plots.html", "Makefile", "dvc.yaml"):
        shutil.copy(ROOT / name, clone.folder / name)
    shutil.copytree(ROOT / ".dvc/plots", clone.folder / ".dvc/plots", dirs_exist_ok=True)
    page = clone.folder / "dvc_plots/index.html"

    clone.dvc("plots", "show")
    assert answers(page)["charts"] == 0
    assert "#Trials_of_the_sweep: not drawn, as Vega is missing: type make setup" in opened(page)

    clone.run("make", "--old-file=.venv/ready", "dvc_plots/vega.js")
    shown = json.loads(clone.dvc("plots", "show", "--json"))["data"]
    clone.dvc("plots", "show")
    seen = answers(page)
    assert seen["charts"] == sum(plots[0]["type"] == "vega" for plots in shown.values()) > 5
    assert seen["pictures"] == sum(plots[0]["type"] == "image" for plots in shown.values()) > 4
    assert seen["right"] <= WIDTH
    assert seen["first"] == "plots_contour_png"
    assert not seen["undefined"]
    table = (clone.folder / "plots/baseline/predictions.csv").read_text().split()[1:]
    assert seen["cells"] == len(set(table))


def answers(page: Path) -> dict:
    page.write_text(page.read_text().replace("</body>", f"{QUESTIONS}</body>"))
    answered = re.search(r"<title>answers: (.*?)</title>", opened(page))
    assert answered is not None
    return json.loads(unescape(answered[1]))


def opened(page: Path) -> str:
    """The page as the browser has it in the end."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={WIDTH},1000"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=30000", "--dump-dom"]
    assert BROWSER is not None
    ran = subprocess.run([BROWSER, *options, page.as_uri()], capture_output=True, text=True, timeout=300, check=True)
    return ran.stdout

"""README.md and docs/ name files, stages, settings and commands that exist; README shows the results of the report."""

import re

import yaml
from conftest import ROOT, committed

from stages.settings import params
from stages.study import design

PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
README = PAGES[ROOT / "README.md"]
BY_HAND = "\n".join([re.sub("<!-- results -->.*<!-- /results -->", "", README, flags=re.S), *list(PAGES.values())[1:]])
SETTINGS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
NAMES = {  # of stages, with NAME for any entry of a section
    f"{stage}@{name}" if name else stage
    for stage, of in STAGES.items()
    for name in (["NAME", *SETTINGS[of["foreach"][2:-1]]] if "foreach" in of else [None])
}
EXAMPLE = "".join(re.findall(r"```yaml\n(.*?)```", BY_HAND, re.S))
CODE = re.findall(r"`([^`\n]+)`", BY_HAND.replace("```", ""))
COMMANDS = [line.strip().partition("  # ")[0] for line in BY_HAND.splitlines() if line.startswith("    ")]
COMMANDS += [code for code in CODE if " " in code]
MAKE = {target for command in COMMANDS for target in re.findall(r"^make ([a-z]+)", command)}


def test_pages_are_short() -> None:
    assert max(map(len, BY_HAND.splitlines())) <= 120
    assert len(README.splitlines()) <= 180
    assert [path for path, text in PAGES.items() if text != README and len(text.splitlines()) > 70] == []


def test_every_page_is_linked_from_readme() -> None:
    assert [name for path in PAGES if (name := f"docs/{path.name}") not in README and path.name != "README.md"] == []


def test_links_lead_somewhere() -> None:
    links = [(path.parent, link) for path, text in PAGES.items() for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    links = [(folder, link) for folder, link in links if not link.startswith("https://")]
    assert len(links) > 10
    assert [link for folder, link in links if not (folder / link.partition("#")[0]).exists()] == []


def test_files_that_are_named_are_there() -> None:
    """Of data/ and plots/ those that a fresh clone lacks are results of stages."""
    outs = {next(iter(out)) for stage in STAGES.values() for out in stage.get("do", stage).get("outs", [])}
    folders = {f"{path.name}/" for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."}
    named = [code for code in CODE if " " not in code and any(code.startswith(folder) for folder in folders)]
    assert len(named) > 10
    patterns = {name: re.sub("NAME|<[a-z]+>", "*", name).rstrip("/") for name in named}
    assert [name for name, at in patterns.items() if not list(ROOT.glob(at)) and not {at, name} & outs] == []


def test_stages_that_are_named_are_there() -> None:
    example = {f"trials@{name}" for name in yaml.safe_load(re.sub(r"\*", "", EXAMPLE)) or ()}
    rows = re.findall(r"^\| (`.*?) \|", BY_HAND.partition("| stage |")[2].partition("\n\n")[0], re.M)
    assert {name for row in rows for name in re.findall("`(.*?)`", row)} == {
        f"{name}@NAME" if "foreach" in of else name for name, of in STAGES.items()
    }
    for command in COMMANDS:
        if found := re.match(r"(?:[A-Z_]+=\S+ )?dvc (?:repro|exp run)(.*)", command):
            words = re.sub(r"(-S|--set-param) ('[^']*'|\S+)|--?[a-z]+", "", found[1]).split()
            assert set(words) <= NAMES | example, command
        if found := re.match(r"python -m stages(?:\.| )([a-z_]+)", command):
            assert found[1] in STAGES, command


def test_settings_that_are_named_are_there() -> None:
    keys = {key for command in COMMANDS for key in re.findall(r"-S '?([a-z_0-9.]+)=", command)}
    dotted = {code for code in CODE if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", code) and not (ROOT / code).exists()}
    keys |= {code for code in dotted if code.partition(".")[0] in SETTINGS}  # others are Python's
    assert len(keys) > 3
    for key in keys:
        section = SETTINGS
        for part in key.split("."):
            assert part in section, key
            section = section[part]


def test_commands_are_those_of_the_makefile() -> None:
    targets = {line.partition(":")[0] for line in (ROOT / "Makefile").read_text().splitlines()}
    assert {"repro", "test"} <= MAKE <= targets


def test_folders_are_those_of_stages() -> None:
    shown = {line.split("`")[1] for line in README.splitlines() if line.startswith("| `stages/")}
    folders = {f"stages/{path.name}/" for path in (ROOT / "stages").iterdir() if path.is_dir() and path.name[0] != "_"}
    assert shown - {"stages/*.py"} == folders


def test_study_that_is_shown_can_be_added() -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text().replace("\nstudies:\n", f"\nstudies:\n{EXAMPLE}", 1))
    settings = params.Params.model_validate(content)
    (name,) = settings.studies.keys() - SETTINGS["studies"] - {params.SWEEP}
    study = settings.studies[name]
    assert set(design.points(settings, study)) >= {"standard", *study.normalizations}


def test_pixels_of_the_photographs_have_the_mean_and_std_that_are_measured() -> None:
    channels = yaml.safe_load(committed("metrics/studies/imagenet.json"))["channels"]
    for kind, numbers in params.load(ROOT / "params.yaml").normalizations["photographs"]:
        for number, color in zip(numbers, ("red", "green", "blue"), strict=True):
            assert abs(number - channels[color][kind]) < 0.0006


def test_differences_that_the_answer_calls_the_worst_are_the_worst() -> None:
    answer = SETTINGS["report"]["answer"][0]
    assert "are {own_rate_adam.none} each, for raw bytes with Adam and for pixels from 0 to 1 with SGD" in answer
    points = {
        (study, point): round(100 * each["difference"]["mean"], 2)
        for study in SETTINGS["studies"]
        if study.startswith("own_rate_")
        for point, each in yaml.safe_load(committed(f"metrics/studies/{study}.json"))["points"].items()
        if "difference" in each
    }
    assert len(points) == 9
    assert min(points.values()) > -0.5  # "less than half a point"
    worst = [name for name, points_lost in points.items() if points_lost == min(points.values())]
    assert worst == [("own_rate_sgd", "zero_one"), ("own_rate_adam", "none")]

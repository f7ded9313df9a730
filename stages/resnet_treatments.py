"""Stage `resnet_treatments`: what a change of normalization costs a trained ResNet, and what brings it back."""

from pathlib import Path

from stages import outputs, params, study, trials
from stages.resnet_evaluation import Treated, numbers
from stages.treatments import TREATMENTS, Normalization


def main() -> None:
    settings = params.load()
    norms = [numbers(Normalization.of(norm)) for norm in settings.resnet.others]
    points: trials.Points = [{**norm, "treated": len(TREATMENTS)} for norm in norms]
    results = study.results(trials.run("resnet_treatments", settings, points, Treated))
    rows, figures = [], {}
    for norm, result in zip(norms, results, strict=True):
        name = ", ".join(f"{key} {value:g}" for key, value in norm.items())
        accuracy = {"as_is": result["accuracy"]} | {each: result[f"accuracy_{each}"] for each in TREATMENTS[1:]}
        rows += [(name, treatment, accuracy[treatment]) for treatment in TREATMENTS]
        figures[name] = accuracy | {key: result[key] for key in ("folded_difference", "folded_other")}
    outputs.write_csv(Path("plots/resnet_treatments.csv"), ("normalization", "treatment", "accuracy"), rows)
    outputs.write_json(
        Path("metrics/resnet_treatments.json"), {"own": results[0]["accuracy_own"], "normalizations": figures}
    )


if __name__ == "__main__":
    main()

"""Stage `resnet_treatments`: what a change of normalization costs a trained ResNet, and what brings it back."""

from pathlib import Path
from typing import Any

from stages.common import files
from stages.settings.params import Params
from stages.study import runner, store
from stages.study.proposals import Points
from stages.vision.treatments import TREATMENTS
from stages.vision.trial import TreatmentTrial


def main(settings: Params) -> None:
    """Writes the accuracies by normalization and treatment to metrics/ and plots/."""
    norms = {name: settings.normalizations[name].parameters() for name in settings.resnet.others}
    points = Points([{**norm, "treated": len(TREATMENTS)} for norm in norms.values()])
    results = store.results(runner.run("resnet_treatments", settings, points, TreatmentTrial))
    accuracies = dict(zip(norms, map(by_treatment, results), strict=True))
    files.write_csv(
        Path("plots/resnet_treatments.csv"),
        ("normalization", "treatment", "accuracy"),
        ((name, treatment, each[treatment]) for name, each in accuracies.items() for treatment in TREATMENTS),
    )
    files.write_json(
        Path("metrics/resnet_treatments.json"),
        {
            "own": results[0]["accuracy_own"],
            "normalizations": {
                name: accuracies[name]
                | {"normalization": norm}
                | {key: result[key] for key in ("folded_difference", "folded_other")}
                for (name, norm), result in zip(norms.items(), results, strict=True)
            },
        },
    )


def by_treatment(result: dict[str, Any]) -> dict[str, float]:
    """The accuracies of a trial, by the name of the treatment."""
    return {"as_is": result["accuracy"]} | {name: result[f"accuracy_{name}"] for name in TREATMENTS[1:]}

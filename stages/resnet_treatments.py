"""Stage `resnet_treatments`: what another normalization costs a ResNet trained here, and what brings it back."""

from stages.evidence.treated import compare_treatments
from stages.settings.params import Params
from stages.vision.treatments import TREATMENTS
from stages.vision.trial import ResnetTrial


def main(settings: Params) -> None:
    """Writes the accuracies by normalization and treatment to metrics/ and plots/."""
    resnet = settings.resnet
    norms = {"own": resnet.norm} | {name: settings.normalizations[name] for name in resnet.others}
    compare_treatments("resnet_treatments", settings, norms, ResnetTrial, TREATMENTS, resnet.test_images)

"""Stage `imagenet_treatments`: what another normalization costs a published network, and what brings it back."""

from stages.evidence.treated import compare_treatments
from stages.settings.params import Norm, Params
from stages.vision import images, model
from stages.vision.treatments import TREATMENTS
from stages.vision.trial import ImagenetTrial


def main(settings: Params) -> None:
    """Writes the accuracies by normalization and treatment to metrics/ and plots/; fine-tuned only where the data has a
    part to train on."""
    imagenet = settings.imagenet
    own = model.published(imagenet.arch, imagenet.weights).norm
    norms = {"own": Norm(mean=own.mean, std=own.std)}
    norms |= {name: settings.normalizations[name] for name in imagenet.others}
    treatments = TREATMENTS if images.trains(imagenet) else TREATMENTS[:3]
    compare_treatments("imagenet_treatments", settings, norms, ImagenetTrial, treatments, imagenet.test_images)

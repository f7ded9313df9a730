"""Stage `resnet`: trains the ResNet on digits that the study `resnet_treatments` tests."""

from pathlib import Path

from stages.common import files
from stages.common.device import describe, prepare
from stages.settings import progress
from stages.settings.params import Params
from stages.vision import images, treatments
from stages.vision.trial import MODEL, measured


def main(settings: Params) -> None:
    resnet, device = settings.resnet, prepare(settings.run.device)
    data = images.digits(resnet)
    print(f"resnet: training {resnet.arch} on {resnet.train_images:,} images on {describe(device)}", flush=True)
    total = resnet.train.epochs * sum(map(len, treatments.batches(data.train_labels, resnet.batch_size)))
    with progress.bar("resnet", total, "images", log_seconds=10) as bar:
        network = treatments.scratch(data, resnet, resnet.norm, resnet.seed, device, progress=bar.update)
    logits = treatments.logits(network, data.test_images, resnet.norm, resnet.batch_size)
    result = measured(logits, data.test_labels, device)
    files.write_model(MODEL, network)
    files.write_json(Path("metrics/resnet.json"), {name: result[name] for name in ("accuracy", "loss")})
    files.write_machine(Path("data/machine/resnet.json"), describe(device))
    print(f"resnet: accuracy {result['accuracy']:.4f} on {resnet.test_images:,} images under its own normalization")

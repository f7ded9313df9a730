"""Stage `resnet`: the network that the other ResNet stages are about, trained here or given."""

import io
from itertools import cycle
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from stages.common import files
from stages.common.determinism import fix
from stages.common.device import describe, prepare
from stages.common.normalization import Normalization
from stages.settings import progress
from stages.settings.params import Params, Resnet
from stages.vision import images, model, treatments

COLORS = ("red", "green", "blue")


def main(settings: Params) -> None:
    """Leaves the weights in data/models/resnet.pt; in metrics/resnet.json the accuracy under the network's own
    normalization, and mean and std of the data's channels alongside it."""
    resnet, device = settings.resnet, prepare(settings.run.device)
    fix(resnet.threads)
    state = model.read(resnet.arch, resnet.weights)
    data = images.load(resnet)
    norm = Normalization(resnet.norm.mean, resnet.norm.std)
    if state is None:
        network = trained(data, resnet, norm, device)
        state = {name: part.cpu().contiguous() for name, part in network.state_dict().items()}
    else:
        network = model.build(resnet.arch, state, data.classes, resnet.seed).to(device)
    logits = treatments.logits(network, data.val.images, norm)
    accuracy = treatments.accuracy(logits, data.val.labels)
    weights = io.BytesIO()
    torch.save(dict(state), weights)
    files.write_bytes(Path("data/models/resnet.pt"), weights.getvalue())
    files.write_machine(Path("data/machine/resnet.json"), describe(device))
    files.write_json(
        Path("metrics/resnet.json"),
        {
            "network": resnet.arch,
            "weights": resnet.weights or "trained here",
            "accuracy": accuracy,
            "loss": F.cross_entropy(logits.double(), data.val.labels).item(),
            "images": {"train": len(data.train.labels), "test": len(data.val.labels)},
            "channels": channels(images.statistics(data.train.images), norm),
        },
    )
    print(f"resnet: accuracy {accuracy:.4f} on {len(data.val.labels):,} images under its own normalization")


def trained(data: images.Images, resnet: Resnet, norm: Normalization, device: torch.device) -> nn.Module:
    count = len(data.train.labels)
    print(f"resnet: training {resnet.arch} on {count:,} images on {describe(device)}", flush=True)
    total = resnet.train.epochs * sum(map(len, treatments.batches(data.train.labels, resnet.batch_size)))
    with progress.bar("resnet", total, "images", log_seconds=10) as bar:
        return treatments.scratch(data, resnet, norm, resnet.seed, device, lambda seen: bar.update(seen - bar.n))


def channels(data: Normalization, own: Normalization) -> dict[str, dict[str, float]]:
    """data: mean and std of each channel of the training images; own: those that the network is given"""
    numbers = zip(COLORS, *data, cycle(own.mean), cycle(own.std), strict=False)
    return {
        color: {"mean": mean, "std": std, "own_mean": own_mean, "own_std": own_std}
        for color, mean, std, own_mean, own_std in numbers
    }

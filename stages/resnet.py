"""Stage `resnet`: the network that the other ResNet stages are about, trained here or given."""

import io
from pathlib import Path

import torch
import torch.nn.functional as F

from stages import device, images, network, outputs, params, progress, treatments
from stages.treatments import Normalization


def main() -> None:
    """Leaves the weights in data/models/resnet.pt; in metrics/resnet.json the accuracy under the network's own
    normalization, and mean and std of the data's channels beside it."""
    settings = params.load()
    wanted = settings.resnet
    place = device.prepare(settings.run.device)
    state = network.read(wanted.arch, wanted.weights)
    data = images.load(wanted)
    norm = Normalization.of(wanted.norm)
    if state is None:
        total = wanted.train.epochs * (len(data.train.labels) // wanted.batch_size * wanted.batch_size)
        print(
            f"resnet: training {wanted.arch} on {len(data.train.labels):,} images on {device.describe(place)}",
            flush=True,
        )
        with progress.bar("resnet", total, "images", log_seconds=10) as bar:
            model = treatments.scratch(data, wanted, norm, wanted.seed, place, lambda seen: bar.update(seen - bar.n))
        state = {name: part.cpu().contiguous() for name, part in model.state_dict().items()}
    else:
        model = network.build(wanted.arch, state, data.classes, wanted.seed).to(place)
    logits = treatments.logits(model, data.val.images, norm)
    accuracy, loss = treatments.accuracy(logits, data.val.labels), F.cross_entropy(logits.double(), data.val.labels)
    mean, std = images.statistics(data.train.images)
    weights = io.BytesIO()
    torch.save(dict(state), weights)
    outputs.write_bytes(Path("data/models/resnet.pt"), weights.getvalue())
    outputs.write_machine(Path("data/machine/resnet.json"), device.describe(place))
    outputs.write_json(
        Path("metrics/resnet.json"),
        {
            "network": wanted.arch,
            "weights": wanted.weights or "trained here",
            "accuracy": accuracy,
            "loss": loss.item(),
            "images": {"train": len(data.train.labels), "test": len(data.val.labels)},
            "channels": {
                name: {"mean": mean[index], "std": std[index], "own_mean": norm.mean[index], "own_std": norm.std[index]}
                for index, name in enumerate(("red", "green", "blue"))
            },
        },
    )
    print(f"resnet: accuracy {accuracy:.4f} on {len(data.val.labels):,} images under its own normalization")


if __name__ == "__main__":
    main()

"""One training that is reported in full: what the stages `baseline` and `zero_one` share."""

import io
from pathlib import Path

import torch

from stages import device, mnist, outputs, progress
from stages.params import Params
from stages.training import Normalization, evaluate

CURVE_POINTS = 50  # of the learning curve, in each epoch


def report(name: str, norm: Normalization, settings: Params) -> None:
    """Trains and tests a network under `norm` and writes

    metrics/{name}.json:             accuracy and loss on the test images
    data/models/{name}.pt:           the weights (state dict)
    plots/{name}/learning_curve.csv: training loss against images seen
    plots/{name}/predictions.csv:    actual and predicted digit of every test image
    data/machine/{name}.json:        what it ran on
    """
    place = device.prepare(settings.run.device)
    data = mnist.load(settings.data.train_images, settings.data.test_images).to(place)
    total = settings.data.train_images * settings.train.epochs
    print(f"{name}: mean {norm.mean:g}, std {norm.std:g}, {total:,} images on {device.describe(place)}", flush=True)
    with progress.bar(name, total, "images", log_seconds=10) as bar:
        model, losses, test = evaluate(norm, settings.train, data, progress=lambda seen: bar.update(seen - bar.n))
    weights = io.BytesIO()
    torch.save({key: value.cpu().contiguous() for key, value in model.state_dict().items()}, weights)
    outputs.write_bytes(Path(f"data/models/{name}.pt"), weights.getvalue())
    outputs.write_csv(Path(f"plots/{name}/learning_curve.csv"), ("images", "loss"), _curve(losses, settings))
    outputs.write_csv(
        Path(f"plots/{name}/predictions.csv"),
        ("actual", "predicted"),
        zip(data.test_labels.tolist(), test.predicted.tolist(), strict=True),
    )
    outputs.write_machine(Path(f"data/machine/{name}.json"), device.describe(place))
    outputs.write_json(Path(f"metrics/{name}.json"), {"accuracy": test.accuracy, "loss": test.loss})
    print(f"{name}: accuracy {test.accuracy:.4f}, loss {test.loss:.4f} on {len(test.predicted):,} test images")


def _curve(losses: torch.Tensor, settings: Params) -> list[tuple[int, float]]:
    """(images seen, mean loss of the steps since the point before)."""
    epoch = len(losses) // settings.train.epochs
    images, size = settings.data.train_images, settings.train.batch_size
    points = []
    for number, of_epoch in enumerate(losses.double().split(epoch)):
        seen = number * images
        for part in of_epoch.tensor_split(min(CURVE_POINTS, epoch)):
            seen = min(seen + len(part) * size, (number + 1) * images)
            points.append((seen, part.mean().item()))
    return points

"""The notebook's own network and loop, after its protocol: what the project's are compared with."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import datasets, transforms

ADADELTA = partial(torch.optim.Adadelta, lr=1.0)


class Net(nn.Module):
    """LeNet as the PyTorch examples write it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        x = F.relu(x)
        x = self.conv2(x)
        x = F.relu(x)
        x = F.max_pool2d(x, 2)
        x = self.dropout1(x)
        x = torch.flatten(x, 1)
        x = self.fc1(x)
        x = F.relu(x)
        x = self.dropout2(x)
        x = self.fc2(x)
        return F.log_softmax(x, dim=1)


def load(folder: Path, mean: float, std: float, train: bool) -> datasets.MNIST:
    """torchvision's data set on the four files in `folder`, normalized an image at a time."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((mean,), (std,))])
    with tempfile.TemporaryDirectory() as root:
        raw = Path(root, "MNIST", "raw")
        raw.parent.mkdir()
        raw.symlink_to(folder.resolve())
        return datasets.MNIST(root, train=train, transform=transform)


def train(
    dataset: torch.utils.data.Dataset,
    epochs: int = 1,
    shuffle: bool = False,
    seed: int = 1998,
    optimizer_of: Callable[..., torch.optim.Optimizer] = ADADELTA,
    device: torch.device | str = "cpu",
) -> tuple[Net, list[float]]:
    """A trained network and the loss of every step; optimizer_of: the notebook's, or another one."""
    torch.manual_seed(seed)
    loader = torch.utils.data.DataLoader(dataset, batch_size=64, shuffle=shuffle)
    model, losses = Net().to(device), []
    optimizer = optimizer_of(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    for _ in range(epochs):
        model.train()
        for data, target in loader:
            optimizer.zero_grad()
            loss = F.nll_loss(model(data.to(device)), target.to(device))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()
    return model, losses


def test(model: Net, dataset: datasets.MNIST) -> float:
    """Accuracy, a fraction in [0, 1]."""
    model.eval()
    device, correct = model.fc2.weight.device, 0
    with torch.no_grad():
        for data, target in torch.utils.data.DataLoader(dataset, batch_size=1000):
            pred = model(data.to(device)).argmax(dim=1, keepdim=True).cpu()
            correct += pred.eq(target.view_as(pred)).sum().item()
    return correct / len(dataset)

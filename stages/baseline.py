"""Stage `baseline`: LeNet under the normalization `norm` in params.yaml."""

from stages.lenet.once import train_once
from stages.settings.params import Params


def main(settings: Params) -> None:
    train_once("baseline", settings.norm, settings)

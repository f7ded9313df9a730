"""Stage `baseline`: LeNet under the normalization that params.yaml names."""

from stages.common.normalization import Normalization
from stages.lenet.once import train_once
from stages.settings.params import Params


def main(settings: Params) -> None:
    train_once("baseline", Normalization.of(settings.norm.mean, settings.norm.std), settings)

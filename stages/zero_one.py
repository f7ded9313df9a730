"""Stage `zero_one`: LeNet on pixels from 0 to 1 (mean 0, std 1)."""

from stages.common.normalization import Normalization
from stages.lenet.once import train_once
from stages.settings.params import Params


def main(settings: Params) -> None:
    train_once("zero_one", Normalization.of(0.0, 1.0), settings)

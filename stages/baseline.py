"""Stage `baseline`: LeNet under the normalization that params.yaml names."""

from stages.common.normalization import Normalization
from stages.lenet.once import train_once
from stages.settings import params

if __name__ == "__main__":
    settings = params.load()
    train_once("baseline", Normalization.of(settings.norm.mean, settings.norm.std), settings)

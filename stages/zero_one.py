"""Stage `zero_one`: LeNet on pixels as they are, in [0, 1]: mean 0, std 1."""

from stages import experiment, params
from stages.training import Normalization

if __name__ == "__main__":
    experiment.report("zero_one", Normalization(mean=0.0, std=1.0), params.load())

"""Stage `baseline`: LeNet under the normalization that params.yaml names."""

from stages import experiment, params
from stages.training import Normalization

if __name__ == "__main__":
    settings = params.load()
    experiment.report("baseline", Normalization(settings.norm.mean, settings.norm.std), settings)

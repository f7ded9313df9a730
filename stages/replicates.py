"""Stage `replicates`: the normalizations of params.yaml compared over seeds."""

from stages import pairs, params

if __name__ == "__main__":
    settings = params.load()
    wanted = settings.replicates
    pairs.report("replicates", settings, list(wanted.normalizations), wanted.seeds, settings.train.epochs)

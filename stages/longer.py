"""Stage `longer`: does the comparison change when trainings are longer?"""

from stages import pairs, params

if __name__ == "__main__":
    settings = params.load()
    wanted = settings.longer
    pairs.report("longer", settings, wanted.normalizations, wanted.seeds, wanted.epochs)

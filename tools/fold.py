"""Folds the normalization of a trained LeNet into it, so that it takes raw pixels:

python tools/fold.py --model data/models/baseline.pt --mean 0.1307 --std 0.3081
"""

import argparse
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from stages.common import files
from stages.common.errors import InputError, run_main
from stages.common.folding import folded
from stages.common.normalization import Normalization
from stages.fold import MODEL, RAW, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="its weights, a state dict: data/models/baseline.pt")
    parser.add_argument("--mean", type=float, required=True, help="of the normalization that it was trained under")
    parser.add_argument("--std", type=float, required=True, help="of the same, above 0")
    parser.add_argument("--out", type=Path, help="where to write; default: alongside the model, as NAME-folded.pt")
    given = parser.parse_args()
    if not (math.isfinite(given.mean) and math.isfinite(given.std) and given.std > 0):
        raise InputError(f"--mean {given.mean:g} --std {given.std:g}: must be finite, and std above 0")
    model = load(given.model)
    out = given.out or given.model.with_stem(f"{given.model.stem}-folded")
    if out.resolve() in (given.model.resolve(), MODEL.resolve()):
        raise InputError(f"--out {out}: would replace the model; accepted: another file")
    files.write_model(out, folded(model, Normalization.of(given.mean, given.std), RAW))
    print(f"{out}: takes pixels / 255, in [0, 1], and needs no normalization")


if __name__ == "__main__":
    run_main(main)

"""Stage `spheroid-fold@N`: one fold of cross-validation, trained and scored like the split's model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from millrace.errors import UserError
from millrace.settings import Runtime
from millrace.spheroid import model
from millrace.spheroid.evaluate import evaluate_split
from millrace.spheroid.folds import METRICS
from millrace.spheroid.params import Spheroid
from millrace.spheroid.segment import Segmenter
from millrace.spheroid.store import Store
from millrace.spheroid.train import train_on
from millrace.training.engine import Outputs

MODELS = Path("models/spheroid-folds")


def run(params: Spheroid, runtime: Runtime, fold: int) -> None:
    """Test on the images of `fold`, validate on those of the next fold, train on all others.

    Raises:
        UserError: There is no such fold.
    """
    store = Store()
    folds = store.index["fold"].to_numpy()
    count = int(folds.max()) + 1
    if not 0 <= fold < count:
        raise UserError(f"There is no fold {fold}: the prepared data have {count} folds (spheroid.prepare.split.folds)")
    validation_fold = (fold + 1) % count
    test, validation, train = (
        [int(position) for position in np.flatnonzero(chosen)]
        for chosen in (folds == fold, folds == validation_fold, (folds != fold) & (folds != validation_fold))
    )
    folder, metrics = MODELS / str(fold), METRICS / str(fold)
    outputs = Outputs(folder, metrics / "train", Path("runs/spheroid") / f"fold-{fold}")
    if not train_on(store, train, validation, params.train, runtime, outputs):
        return
    network, _ = model.load(folder)
    segmenter = Segmenter(network, params.evaluate, runtime)
    evaluate_split(store, test, validation, segmenter, params.evaluate, metrics, progress=runtime.progress)

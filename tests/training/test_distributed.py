"""Two processes (gloo) train as one does with the same global batch."""

from __future__ import annotations

import json

import pytest
from test_resume import run

PLAIN = {"network": {"normalisation": "layer", "dropout": 0.0}, "training": {"epochs": 3, "schedule": "cosine"}}


def history(folder) -> dict[str, list[float]]:
    curves = {}
    for path in sorted((folder / "metrics/plots/metrics").glob("*.tsv")):
        curves[path.stem] = [float(row.split("\t")[1]) for row in path.read_text().splitlines()[1:]]
    return curves


@pytest.mark.timeout(300)
def test_two_processes_give_the_loss_curve_of_one(tmp_path):
    one = run(tmp_path / "one", PLAIN)
    assert one.returncode == 0, one.stderr
    two = run(tmp_path / "two", PLAIN | {"runtime": {"devices": 2}})
    assert two.returncode == 0, two.stderr
    expected, found = history(tmp_path / "one"), history(tmp_path / "two")
    assert expected.keys() == found.keys()
    assert len(expected["train_loss"]) == 3
    for name, curve in expected.items():
        assert found[name] == pytest.approx(curve, rel=1e-4, abs=2e-6), name
    configs = [json.loads((tmp_path / name / "model/config.json").read_text()) for name in ("one", "two")]
    assert configs[0] == configs[1]


@pytest.mark.timeout(300)
def test_processes_with_unequal_numbers_of_validation_batches_do_not_wait_for_each_other(tmp_path):
    """11 samples in micro-batches of 5: two batches for one process, one for the other; batch norm has buffers."""
    result = run(tmp_path, {"runtime": {"devices": 2}, "training": {"batch_size": 10, "epochs": 2}})
    assert result.returncode == 0, result.stderr
    assert len(history(tmp_path)["val_mse"]) == 2


@pytest.mark.timeout(300)
def test_a_bad_sample_of_one_process_skips_the_step_of_both(tmp_path):
    options = PLAIN | {"runtime": {"devices": 2}, "bad": [5]}
    options["training"] = PLAIN["training"] | {"max_skipped_share": 0.5}
    result = run(tmp_path, options)
    assert result.returncode == 0, result.stderr
    assert history(tmp_path)["skipped_steps"] == [1, 1, 1]
    assert "wave-5" in result.stderr

"""The network: its size, what it may look at, what it repeats."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from keyframes.layouts import NAMES, rhythm
from millrace.keyframes.attention import sinusoids
from millrace.keyframes.data import as_sample
from millrace.keyframes.masking import forecast_target
from millrace.keyframes.model import MultiTrackTransformer, described
from millrace.keyframes.normalisation import Normalisation
from millrace.keyframes.params import Model
from millrace.keyframes.recall import diagonals, lag_features, nearest_known

KINDS = (
    Model(width=16, heads=2, layers=2, feedforward=16),
    Model(width=16, heads=2, layers=1, feedforward=16, recall=False),
    Model(attention="time", width=16, heads=2, layers=1, feedforward=16),
    Model(attention="time", width=16, heads=2, layers=2, feedforward=16, recall=False),
)
KIND = pytest.mark.parametrize("settings", KINDS, ids=lambda each: f"{each.attention}-{each.recall}")
NORMALISATION = Normalisation(NAMES, (140.0, *[0.0] * 6), (30.0, *[1.0] * 6))


def network(settings: Model) -> MultiTrackTransformer:
    torch.manual_seed(0)
    return MultiTrackTransformer(settings, len(NAMES), 40).eval()


def window(rows: int = 40, horizon: int = 8, objective: str = "forecast") -> dict[str, Tensor]:
    """One window of a layout that repeats itself every 12 rows, of 40 with padding."""
    cells = rhythm(rows, 12)
    sample = as_sample(cells, forecast_target(rows, cells.shape[1], horizon), 40, NORMALISATION, objective)
    return {name: each[None] for name, each in sample["input"].items()}


def parameters(settings: Model) -> int:
    return sum(each.numel() for each in MultiTrackTransformer(settings, 7, 100).parameters())


@pytest.mark.parametrize(
    ("width", "layers", "feedforward", "expected"),
    [(128, 2, 256, 309_651), (256, 4, 512, 2_230_547), (256, 4, 1024, 3_281_171), (256, 6, 1024, 4_860_691)],
)
def test_the_source_systems_networks_are_reproduced(width, layers, feedforward, expected):
    settings = Model(
        attention="time", recall=False, width=width, heads=8, layers=layers, feedforward=feedforward, dropout=0.1
    )
    assert parameters(settings) == expected


@KIND
def test_every_cell_gets_nine_heads(settings):
    heads = network(settings)(window())
    assert heads.active.shape == (1, 40, 20, 2)
    assert heads.asset.shape == (1, 40, 20, 10)
    assert heads.numbers.shape == (1, 40, 20, 7)


@KIND
def test_what_is_to_be_forecast_has_no_influence(settings):
    """The forecast is causal: whatever stands in the unknown rows, and in the padding, the output is the same."""
    first, second = window(36), window(36)
    second["cells"] = second["cells"].clone()
    second["cells"][0, 28:, :, 0] = 1
    second["cells"][0, 28:, :, 1:] = 3
    model = network(settings)
    for one, other in zip(model(first), model(second), strict=True):
        assert torch.equal(one[:, :36], other[:, :36])


@KIND
def test_what_is_known_has_influence(settings):
    first, second = window(), window()
    second["cells"] = second["cells"].clone()
    second["cells"][0, 30, 1, 3] += 1
    model = network(settings)
    assert any(
        not torch.equal(one[:, 32:], other[:, 32:]) for one, other in zip(model(first), model(second), strict=True)
    )


@KIND
def test_a_window_is_predicted_alike_alone_and_among_others(settings):
    alone, other = window(30), window()
    together = {name: torch.cat([alone[name], other[name]]) for name in alone}
    model = network(settings)
    for one, both in zip(model(alone), model(together), strict=True):
        # Rows that are asked for in the other window only may be mixed with copies too.
        torch.testing.assert_close(both[:1, 22:30], one[:, 22:30], atol=1e-5, rtol=1e-4)


@KIND
def test_maps_say_what_is_looked_at(settings):
    maps = network(settings).maps(window(36))
    shapes = {name: tuple(each.shape) for name, each in maps.items()}
    assert shapes["layer 1, along time"] == (40, 40)
    assert ("layer 1, across tracks" in shapes) == (settings.attention == "time_and_tracks")
    assert ("copied from" in shapes) == settings.recall
    for name, each in maps.items():
        torch.testing.assert_close(each.sum(-1), torch.ones(each.shape[:-1]), msg=name)
    assert not maps["layer 1, along time"][:, 36:].any()
    if settings.recall:
        assert shapes["copied from"] == (20, 8, 40)
        assert not maps["copied from"][..., 28:].any()


def test_with_nothing_known_there_is_an_answer_all_the_same():
    empty = window()
    empty["known"] = torch.zeros_like(empty["known"])
    for each in network(KINDS[0])(empty):
        assert torch.isfinite(each).all()


def test_recall_copies_what_the_trusted_lag_shows():
    model = network(KINDS[0])
    period = 12
    with torch.no_grad():
        for layer in (model.recall.query, model.recall.key, model.recall.nearest):
            for each in layer.parameters():
                each.zero_()
        model.copy.weight.zero_()
        model.copy.bias.fill_(50)  # nothing but the copy counts
    # A trust that is all on one lag.
    lags = torch.arange(-39, 40)
    model.recall.trust = torch.nn.Module()
    model.recall.trust.forward = lambda features: torch.where(lags == period, 200.0, 0.0).expand(1, 20, -1)[..., None]
    given = window()
    heads = model(given)
    truth = given["cells"][0, 32:]
    assert torch.equal(heads.active[0, 32:].argmax(-1) > 0, truth[..., 0] > 0)
    shown = truth[..., 0] > 0
    assert torch.equal(heads.asset[0, 32:].argmax(-1)[shown], truth[..., 1][shown].long())
    torch.testing.assert_close(heads.numbers[0, 32:][shown], truth[..., 2:][shown], atol=1e-5, rtol=1e-5)


def test_diagonals_are_sums_over_equal_lags():
    pairs = torch.randn(2, 3, 7, 7)
    expected = torch.stack([torch.diagonal(pairs, -lag, -2, -1).sum(-1) for lag in range(7)], -1)
    torch.testing.assert_close(diagonals(pairs), expected)


def test_features_of_a_lag_show_the_period():
    cells = torch.from_numpy(rhythm(60, 12)).transpose(0, 1)[None]
    content = torch.cat([cells[..., :1], cells[..., 2:3] / 100 * cells[..., :1]], -1)
    features = lag_features(content, torch.ones(content.shape[:3], dtype=torch.bool))
    agreement = features[0, 1, 60:, 0]  # track V2, positive lags from 1 on, mean distance
    assert agreement[:30].argmin() + 1 in (12, 24)
    assert features[0, 1, 59 - 12, -1] == -1
    torch.testing.assert_close(features[0, 1, 59 - 12, :-1], features[0, 1, 59 + 12, :-1])


def test_nearest_known_is_the_last_one_before():
    known = torch.tensor([[[True, False, True, False, False]]])
    found = nearest_known(known)[0, 0]
    assert found.argmax(-1)[1:].tolist() == [0, 0, 2, 2]
    assert found.sum(-1).tolist() == [0, 1, 1, 1, 1]
    after = nearest_known(known.flip(2)).flip(2, 3)[0, 0]
    assert after.sum(-1).tolist() == [1, 1, 0, 0, 0]
    assert after.argmax(-1)[:2].tolist() == [2, 2]


def test_events_count_from_the_last_change():
    given = window(40, 8)
    features = described(given["cells"], given["known"])
    changed, since = features[0, :, 1, -4], features[0, :, 1, -3]
    assert changed[:32].nonzero().flatten().tolist() == [6, 12, 18, 24, 30]
    torch.testing.assert_close(since[6:12], torch.log1p(torch.arange(6.0)) / 4)
    assert not changed[32:].any()


def test_positions_differ_and_are_bounded():
    positions = sinusoids(50, 8)
    assert positions.abs().max() <= 1
    assert len(torch.unique(positions, dim=0)) == 50

"""Stage `keyframes-windows`: the table of timelines to windows, split by video and ready to be trained on."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd

from millrace.errors import UserError
from millrace.files import whole_folder, write_csv, write_json
from millrace.keyframes.near_duplicates import near_duplicates
from millrace.keyframes.normalisation import ACTIVE, ASSET, NUMBERS, Cells, Normalisation, empty_cell, typical_row
from millrace.keyframes.params import ASSETS, Keyframes
from millrace.keyframes.params import Windows as Settings
from millrace.keyframes.parse import METRICS, TABLE, TIMELINES, VIDEOS
from millrace.keyframes.table import CELL, TRACKS
from millrace.keyframes.window_store import INDEX, META, ROWS, WINDOWS, window_starts
from millrace.keyframes.window_store import VIDEOS as SPLIT_VIDEOS
from millrace.settings import Runtime
from millrace.splitting import SIDES, connected, deal

log = logging.getLogger(__name__)
FAR_FROM_ASKED = 0.1


def run(params: Keyframes, runtime: Runtime) -> None:
    """Write `data/prepared/keyframes/windows` and `metrics/keyframes/windows.json`, `windows/pairs.csv`.

    Raises:
        UserError: There are fewer independent videos than sides, or no clip in the training videos.
    """
    settings = params.windows
    if not (TIMELINES / TABLE).is_file():
        raise UserError(f"{TIMELINES} holds no table. Run `dvc repro keyframes-parse`.")
    try:
        videos = pd.read_parquet(TIMELINES / VIDEOS)
        parameters, rows = cells_of(pd.read_parquet(TIMELINES / TABLE))
        if len(rows) != videos["rows"].sum() or not rows.size:
            raise ValueError(f"{len(rows)} rows, and {videos['rows'].sum()} of videos")
        if not np.isfinite(rows).all() or not np.isin(rows[..., ASSET], range(ASSETS)).all():
            raise ValueError("a cell is no number, or of no asset class")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{TIMELINES} is damaged ({error}). Run `dvc repro --force keyframes-parse`.") from None
    videos["start"] = np.r_[0, np.cumsum(videos["rows"])[:-1]]
    by_video = np.split(rows, videos["start"].to_numpy()[1:])
    pairs = pd.DataFrame(near_duplicates(by_video, settings.near_duplicates), columns=["first", "second", "share"])
    videos["split"] = split_of(videos, pairs, settings)
    training = np.concatenate([each for each, side in zip(by_video, videos["split"], strict=True) if side == "train"])
    normalisation = Normalisation.fit(parameters, training[training[..., ACTIVE] > 0])
    index = index_of(videos, settings)
    with whole_folder(WINDOWS) as folder:
        np.save(folder / ROWS, rows)
        videos.to_parquet(folder / SPLIT_VIDEOS, index=False)
        index.to_parquet(folder / INDEX, index=False)
        meta = {
            "length": settings.length,
            "overlap": settings.overlap,
            "rate": params.parse.rate,
            "normalisation": normalisation.as_dict(),
            "typical_row": typical_row(training, empty_cell(parameters)).tolist(),
        }
        write_json(folder / META, meta)
    with whole_folder(METRICS / "windows") as folder:
        names = videos["video_id"]
        pairs["first"], pairs["second"] = pairs["first"].map(names), pairs["second"].map(names)
        write_csv(folder / "pairs.csv", pairs)
    write_json(METRICS / "windows.json", summary(videos, index, by_video, pairs, normalisation))


def cells_of(table: pd.DataFrame) -> tuple[tuple[str, ...], Cells]:
    """Names of the parameters, and all rows as cells (rows, TRACKS, features) in the order of `table.CELL`."""
    names = [name for name in CELL if f"target_v1_{name}" in table]
    columns = [f"target_v{track}_{name}" for track in range(1, TRACKS + 1) for name in names]
    rows = table[columns].to_numpy(np.float32).reshape(-1, TRACKS, len(names))
    return tuple(names[NUMBERS:]), rows


def split_of(videos: pd.DataFrame, pairs: pd.DataFrame, settings: Settings) -> pd.Series[str]:
    """Side of each video; near-duplicates and the sequences of one file stay together.

    Raises:
        UserError: There are fewer independent videos than sides.
    """
    keys: list[list[tuple[str, Any]]] = [[("file", file)] for file in videos["file"]]
    for number, (first, second) in enumerate(zip(pairs["first"], pairs["second"], strict=True)):
        keys[first].append(("pair", number))
        keys[second].append(("pair", number))
    units = pd.Series(connected(keys), index=videos.index)
    sizes = videos["rows"].groupby(units).sum()
    counts = dict(zip(map(int, sizes.index), map(int, sizes), strict=True))
    shares = settings.split.shares
    if len(sizes) < len(shares):
        raise UserError(
            f"{len(videos)} videos form {len(sizes)} independent units (those of one file and near-duplicates stay "
            f"together): too few for {' + '.join(shares)}. Add timelines, or set a share of keyframes.windows.split "
            "to 0"
        )
    order = np.random.default_rng(settings.split.seed).permutation(list(counts))
    dealt = deal(order.tolist(), counts, shares)
    split = units.map(dealt)
    for side, share in videos["rows"].groupby(split).sum().div(videos["rows"].sum()).items():
        if abs(share - shares[str(side)]) > FAR_FROM_ASKED:
            log.warning(
                "%s gets %.0f %% of the rows instead of %.0f %%: the largest group of videos that stay together has "
                "%d of %d",
                side,
                100 * share,
                100 * shares[str(side)],
                units.value_counts().max(),
                len(videos),
            )
    return split


def index_of(videos: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """A row a window: `video` (position), `split`, `first` row in the video, `rows` without padding."""
    found = [
        (video, side, first, min(settings.length, rows - first))
        for video, (side, rows) in enumerate(zip(videos["split"], videos["rows"], strict=True))
        for first in window_starts(rows, settings.length, settings.overlap)
    ]
    return pd.DataFrame(found, columns=["video", "split", "first", "rows"])


def summary(
    videos: pd.DataFrame, index: pd.DataFrame, by_video: list[Cells], pairs: pd.DataFrame, normalisation: Normalisation
) -> dict[str, Any]:
    """Counts of each side, and what the numbers were normalised by."""
    sides = {}
    for side in SIDES:
        cells = [each for each, own in zip(by_video, videos["split"], strict=True) if own == side]
        windows = index[index["split"] == side]
        active = [float((each[..., ACTIVE] > 0).sum()) for each in cells]
        changes = [int((each[1:] != each[:-1]).any(axis=2).sum()) for each in cells]
        places = sum(each.shape[0] * each.shape[1] for each in cells)
        sides[side] = {
            "videos": len(cells),
            "rows": sum(map(len, cells)),
            "windows": len(windows),
            "active_share": sum(active) / places if places else None,
            "changed_share": sum(changes) / places if places else None,
        }
    by_name = zip(normalisation.parameters, normalisation.mean, normalisation.spread, strict=True)
    return {
        **sides,
        "near_duplicate_pairs": len(pairs),
        "normalisation": {name: {"mean": mean, "spread": spread} for name, mean, spread in by_name},
    }

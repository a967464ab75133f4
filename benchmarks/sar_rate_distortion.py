"""Rate points against JPEG 2000 and other codecs on real radar files, from whole files, band by band.

    PYTHONPATH=src python benchmarks/sar_rate_distortion.py --amplitude grd/*.tiff --decibel rtc/*.tif --out runs/real

Prints a table in Markdown; `--out` gets evaluate.json, all points and pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from millrace.compression.decibels import Scaling, Values
from millrace.compression.evaluate import score, write_details
from millrace.compression.fill import fill
from millrace.compression.measure import measure_band
from millrace.compression.params import Evaluate
from millrace.compression.rate_distortion import MODEL, Case
from millrace.compression.raw import read_normalised
from millrace.compression.targets import RatePoints
from millrace.files import write_json
from millrace.imagery.raster import Raster
from millrace.settings import Runtime

KINDS: tuple[Values, ...] = ("amplitude", "power", "decibel")
MAX_PIXELS = 10**9


def cases_of(path: Path, kind: Values, bits: int) -> Iterator[Case]:
    """The bands of a file, clipped at their 1 and 99 percentiles."""
    with Raster(path, max_pixels=MAX_PIXELS) as raster:
        for band in raster.metadata.image_bands:
            measured = measure_band(raster, band, kind)
            values, valid = read_normalised(raster, band, Scaling(measured.low, measured.high, kind))
            name, ends = f"{path.name}#{band}", (measured.low, measured.high)
            yield Case.of(name, fill(values, valid), valid, ends, bits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=Path, nargs="*", default=[], help=f"rasters of {kind}")
    parser.add_argument("--model", type=Path, default=Path("models/compression"), help="folder of rate points")
    parser.add_argument("--bits", type=int, choices=(8, 16), default=8)
    parser.add_argument("--multipliers", type=float, nargs="*", default=[], help="further points of the model's curve")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    settings = Evaluate(bits=options.bits, multipliers=tuple(options.multipliers), examples=50)
    cases = [case for kind in KINDS for path in getattr(options, kind) for case in cases_of(path, kind, options.bits)]
    result = score(cases, options.model, None, settings, Runtime(progress=False))
    write_details(result, cases, RatePoints(options.model), settings, options.out)
    summary = result.summary()
    write_json(options.out / "evaluate.json", summary)

    own = result.differences[result.differences["codec"] == MODEL]
    print("| image | BD-rate against JPEG 2000 | BD-PSNR | BD-rate by MS-SSIM |\n| --- | --- | --- | --- |")
    for row in own.itertuples():
        print(
            f"| {row.image} | {row.bd_rate_percent:+.1f} % | {row.bd_psnr_db:+.2f} dB "
            f"| {row.bd_rate_ms_ssim_percent:+.1f} % |"
        )
    print(
        f"| mean of {summary['images']} | {summary['bd_rate_jpeg2000_percent']:+.1f} % "
        f"| {summary['bd_psnr_jpeg2000_db']:+.2f} dB | {summary['bd_rate_jpeg2000_ms_ssim_percent']:+.1f} % |\n"
    )
    peers = summary["peers_bd_rate_jpeg2000_percent"]
    print("Peers, BD-rate against JPEG 2000:", ", ".join(f"{name} {value:+.1f} %" for name, value in peers.items()))
    print("\n| point | bits per pixel | PSNR | SSIM | MS-SSIM | ENL ratio | EPI |\n|" + 7 * " --- |")
    for codec, points in summary["points"].items():
        if codec in (MODEL, "jpeg2000"):
            for name, row in points.items():
                print(
                    f"| {codec} {name} | {row['bits_per_pixel']:.3f} | {row['psnr_db']:.2f} | {row['ssim']:.3f} "
                    f"| {row['ms_ssim']:.4f} | {row['enl_ratio']:.2f} | {row['epi']:.3f} |"
                )


if __name__ == "__main__":
    main()

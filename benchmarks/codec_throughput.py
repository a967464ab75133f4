"""How fast images are encoded and decoded by our codec, by the usual ones, and by CompressAI's factorised model.

    python benchmarks/codec_throughput.py [--images DIR] [--model DIR] [--quality 2] [--repetitions 5]
    python benchmarks/codec_throughput.py --memory [--side 10000] [--model DIR]

Images of 8 bits: the prepared test scenes (`dvc repro compression-prepare` first), or the first bands of rasters in a
folder, in decibels between their 1 and 99 percentiles. Our codec runs at one rate point, and on each image the others
at the quality nearest to its size, which is searched beforehand. Everything is done in memory, from pixels to a whole
file or codestream and back. Megabytes are those of the pixels: as many as megapixels. Median of the repetitions, which
go through all codecs in alternating order; wall time.

JPEG 2000 is OpenJPEG by Pillow, decoded by imagecodecs; JPEG is sequential with optimised tables, WebP of the slowest
method from three equal channels, JPEG XL of default effort. Of these, JPEG XL takes threads both ways and JPEG 2000 to
decode. CompressAI (`pip install --no-deps compressai` and what it imports; it is not needed) is bmshj2018_factorized at
quality 3 with first and last layer of one channel, and weights that are not trained: its speed hardly depends on them,
its size and its images say nothing.

--memory runs `compress` and `decompress` of a uint16 scene of side x side pixels (a generated one of 1024, repeated),
each in a process of its own, and prints their seconds and peak resident memory (VmHWM).
"""

from __future__ import annotations

import argparse
import bisect
import importlib
import io
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import imagecodecs
import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from PIL import Image
from rasterio.windows import Window
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from millrace.compression import codecs, mrz
from millrace.compression.codec_model import MODELS
from millrace.compression.container import Reader
from millrace.compression.decibels import Scaling, Values
from millrace.compression.header import Header
from millrace.compression.measure import measure_band
from millrace.compression.sample_scene import scene
from millrace.compression.store import PREPARED, Store
from millrace.compression.targets import RatePoint, RatePoints
from millrace.errors import ImageError
from millrace.imagery.raster import SUFFIXES, Raster

Pixels = NDArray[np.uint8]
ROOT = Path(__file__).resolve().parent.parent
SCENE_PX = 1024
MAX_PIXELS = 10**9
COMPRESSAI_QUALITY = 3
COMPRESSAI_MULTIPLE = 16
REFERENCE = "JPEG 2000"
CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, "src")
from millrace.cli import main
start = time.monotonic()
code = main(sys.argv[1:])
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(f"{time.monotonic() - start:.1f} s, peak resident memory {int(peak.split()[1]) / 2**20:.2f} GiB")
sys.exit(code)
"""


@dataclass(frozen=True)
class Peer:
    """A codec in memory.

    Attributes:
        encode: Of an image, with a parameter and a number of threads.
        decode: Of what `encode` gave.
        parameters: In the order of ascending size; None is one that is not searched.
    """

    encode: Callable[[Pixels, Any, int], Any]
    decode: Callable[[Any, int], Pixels]
    parameters: Sequence[Any] = (None,)

    def nearest(self, image: Pixels, size: int) -> Any:
        """The first parameter that makes at least `size` bytes."""
        if len(self.parameters) == 1:
            return self.parameters[0]
        place = bisect.bisect_left(self.parameters, size, key=lambda each: size_of(self.encode(image, each, 1)))
        return self.parameters[min(place, len(self.parameters) - 1)]


def size_of(coded: Any) -> int:
    return len(coded) if isinstance(coded, bytes) else sum(len(text) for text in coded["strings"][0])


def ours(point: RatePoint, multiplier: float) -> Peer:
    scaling = Scaling(0, 255, "linear")

    def encode(image: Pixels, _: None, threads: int) -> bytes:
        height, width = image.shape
        header = Header(width, height, "uint8", "linear", ((0.0, 255.0),), multiplier, point.fingerprint)
        stream = io.BytesIO()

        def rows(first: int, last: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
            return scaling.normalise(image[first:last]), np.ones((last - first, width), bool)

        mrz.encode(stream, header, [rows], point.model, threads)
        return stream.getvalue()

    def decode(file: bytes, threads: int) -> Pixels:
        with Reader(io.BytesIO(file)) as reader:
            strips = [values[0] for values, _ in mrz.decode(reader, point.model, threads)]
        return scaling.denormalise(np.concatenate(strips), "uint8", None)

    return Peer(encode, decode)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def usual() -> dict[str, Peer]:
    return {
        REFERENCE: Peer(
            lambda image, rate, _: codecs.jpeg2000_pillow(image, rate, resolutions=5),
            lambda stream, threads: imagecodecs.jpeg2k_decode(stream, numthreads=threads),
            np.geomspace(0.02, 8, 400).tolist(),
        ),
        "JPEG XL": Peer(
            lambda image, distance, threads: bytes(
                imagecodecs.jpegxl_encode(image, distance=distance, numthreads=threads)
            ),
            lambda stream, threads: imagecodecs.jpegxl_decode(stream, numthreads=threads),
            codecs.JPEGXL_DISTANCES.tolist(),
        ),
        "WebP": Peer(
            lambda image, quality, _: saved(Image.fromarray(image).convert("RGB"), "WEBP", quality=quality, method=6),
            lambda file, _: codecs.decode_webp(file),
            codecs.WEBP_QUALITIES.tolist(),
        ),
        "JPEG": Peer(
            lambda image, quality, _: saved(Image.fromarray(image), "JPEG", quality=quality, optimize=True),
            lambda file, _: codecs.decode_jpeg(file),
            codecs.JPEG_QUALITIES,
        ),
    }


def compressai() -> Peer | None:
    """The factorised model for one channel; threads are PyTorch's. None where it is not installed."""
    try:
        zoo: Any = importlib.import_module("compressai.zoo")
    except ImportError:
        return None
    model = zoo.bmshj2018_factorized(COMPRESSAI_QUALITY, "mse", pretrained=False)
    model.g_a[0] = nn.Conv2d(1, model.N, 5, 2, 2)
    model.g_s[-1] = nn.ConvTranspose2d(model.N, 1, 5, 2, 2, 1)
    model.update()
    model.eval()

    def encode(image: Pixels, _: None, threads: int) -> dict[str, Any]:
        torch.set_num_threads(threads)
        height, width = image.shape
        pixels = torch.from_numpy(image).float()[None, None] / 255
        padded = F.pad(pixels, (0, -width % COMPRESSAI_MULTIPLE, 0, -height % COMPRESSAI_MULTIPLE), mode="replicate")
        with torch.inference_mode():
            return {**model.compress(padded), "image": image.shape}

    def decode(coded: dict[str, Any], threads: int) -> Pixels:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            decoded: Tensor = model.decompress(coded["strings"], coded["shape"])["x_hat"]
        height, width = coded["image"]
        return (255 * decoded[0, 0, :height, :width]).round().clamp(0, 255).to(torch.uint8).numpy()

    return Peer(encode, decode)


def test_scenes(prepared: Path) -> list[Pixels]:
    return [np.rint(255 * values).astype(np.uint8) for _, values, _, _ in Store(prepared).scenes("test")]


def rasters(folder: Path, values: Values) -> list[Pixels]:
    images = []
    for path in sorted(each for each in folder.rglob("*") if each.suffix.lower() in SUFFIXES):
        try:
            with Raster(path, max_pixels=MAX_PIXELS) as raster:
                band = raster.metadata.image_bands[0]
                measured = measure_band(raster, band, values)
                normalised = Scaling(measured.low, measured.high, values).normalise(raster.read(band)[0])
        except ImageError as error:
            print(f"{path} is passed over: {error}", file=sys.stderr)
            continue
        images.append(np.rint(255 * normalised).astype(np.uint8))
    return images


def throughput(images: list[Pixels], peers: dict[str, Peer], threads: Sequence[int], repetitions: int) -> None:
    sizes = [size_of(peers["ours"].encode(image, None, 1)) for image in images]
    chosen = {
        name: [peer.nearest(image, size) for image, size in zip(images, sizes, strict=True)]
        for name, peer in tqdm(peers.items(), desc="searching qualities")
    }
    rates: dict[str, float] = {}
    times: dict[tuple[str, int], list[tuple[float, float]]] = {(name, n): [] for name in peers for n in threads}
    for turn in tqdm(range(repetitions + 1), desc="repetitions"):
        for name, count in times if turn % 2 else reversed(times):
            # Every codec starts from the same setting, whatever the last one left.
            torch.set_num_threads(count)
            peer = peers[name]
            start = time.perf_counter()
            coded = [peer.encode(image, each, count) for image, each in zip(images, chosen[name], strict=True)]
            middle = time.perf_counter()
            for each in coded:
                peer.decode(each, count)
            if turn:  # the first turn warms up
                times[name, count].append((middle - start, time.perf_counter() - middle))
            rates[name] = 8 * sum(map(size_of, coded)) / sum(image.size for image in images)
    medians = {key: [statistics.median(part) for part in zip(*each, strict=True)] for key, each in times.items()}
    megabytes = sum(image.nbytes for image in images) / 1e6
    print(f"| codec | threads | bits per pixel | encode MB/s | decode MB/s | time against {REFERENCE} |  |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for (name, count), (encode, decode) in medians.items():
        reference = medians[REFERENCE, count]
        print(
            f"| {name} | {count} | {rates[name]:.3f} | {megabytes / encode:.2f} | {megabytes / decode:.2f} "
            f"| encode {encode / reference[0]:.2f} | decode {decode / reference[1]:.2f} |"
        )


def write_large(path: Path, side: int) -> None:
    """A generated scene without a border, repeated; rows are written as they come, so that this process stays small."""
    amplitude = scene(np.random.SeedSequence(1), SCENE_PX, bands=1).amplitude[0]
    strip = np.tile(np.rint(amplitude).astype(np.uint16), (1, -(-side // SCENE_PX)))[:, :side]
    profile = {"width": side, "height": side, "count": 1, "dtype": "uint16", "nodata": 0, "compress": "deflate"}
    with rasterio.open(path, "w", driver="GTiff", blockysize=16, crs="EPSG:32632", **profile) as dataset:
        dataset.transform = rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)
        for top in range(0, side, SCENE_PX):
            rows = min(SCENE_PX, side - top)
            dataset.write(strip[:rows], 1, window=Window(0, top, side, rows))


def memory(side: int, models: Path, quality: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, coded, target = (f"{folder}/{name}" for name in ("large.tif", "large.mrz", "again.tif"))
        write_large(Path(source), side)
        print(f"{side} x {side} uint16")
        model = ["--model", str(models.resolve())]
        for command in (
            ["compress", source, "--out", coded, "--quality", quality],
            ["decompress", coded, "--out", target],
        ):
            child = [sys.executable, "-c", CHILD, *command, *model]
            output = subprocess.run(child, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
            print(f"{command[0]}: {output.splitlines()[-1]}", flush=True)
        print(f"{8 * Path(coded).stat().st_size / side**2:.3f} bits per pixel")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="memory and time of one large scene instead")
    parser.add_argument("--images", type=Path, help="folder of rasters; default the prepared test scenes")
    parser.add_argument("--values", choices=("amplitude", "power", "decibel", "linear"), default="amplitude")
    parser.add_argument("--prepared", type=Path, default=PREPARED, help="folder of `compression-prepare`")
    parser.add_argument("--model", type=Path, default=MODELS, help="folder of our rate points")
    parser.add_argument("--quality", default="1", help="name or number of the rate point")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--limit", type=int, help="take only so many images")
    parser.add_argument("--side", type=int, default=10_000)
    options = parser.parse_args()
    print(f"    {shlex.join(['python', *sys.argv])}\n")
    if options.memory:
        memory(options.side, options.model, options.quality)
        return
    point, multiplier = RatePoints(options.model).of_quality(options.quality)
    images = rasters(options.images, options.values) if options.images else test_scenes(options.prepared)
    images = images[: options.limit]
    if not images:
        parser.error("there are no images")
    peers = {"ours": ours(point, multiplier)} | usual()
    if learned := compressai():
        peers["CompressAI factorised, not trained"] = learned
    print(
        f"{os.cpu_count()} cores, PyTorch {torch.__version__}; rate point {point.name}; {len(images)} images of 8 bit, "
        f"{sum(image.size for image in images) / 1e6:.1f} megapixels; {options.repetitions} repetitions\n"
    )
    throughput(images, peers, options.threads, options.repetitions)
    if learned is None:
        print("\nCompressAI is not installed.")


if __name__ == "__main__":
    main()

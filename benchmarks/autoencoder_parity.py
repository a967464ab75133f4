"""The source system's two autoencoders beside our codec and JPEG 2000 at the same true bits per pixel.

    python benchmarks/autoencoder_parity.py [--minutes 20] [--learning-rate 1e-4] [--bf16] [--model DIR]

Each autoencoder is trained for so many minutes on the prepared patches (`dvc repro compression-prepare` first): AdamW,
the source's loss and clipping, a cosine to 0, patches turned and mirrored. Then all are scored on the test scenes, cut
into squares that are wholly valid, each an image of its own. PSNR and SSIM are of normalised decibels, means over the
squares.

Latents are counted as they would be stored: float32, which is what the source's own scores are of and no file holds;
or integers of 8 and 4 bits between the least and greatest value in training patches, without an entropy coder. Of our
codec the whole file counts, the step is searched for each square; JPEG 2000 is the better of two encoders, of 8-bit
values, the stream nearest to the rate. Where our rate points do not reach a rate, the nearest that they reach is shown.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from millrace.compression import autoencoders, codecs, mrz
from millrace.compression.autoencoders import Autoencoder, latent_bits_per_pixel
from millrace.compression.codec_model import MODELS, TASK
from millrace.compression.container import Reader
from millrace.compression.header import Header
from millrace.compression.scores import psnr_db, ssim
from millrace.compression.store import PREPARED, Store
from millrace.compression.targets import RatePoint, RatePoints
from millrace.training import model_folder

Image = NDArray[np.float32]
LATENT_CHANNELS = 16
SQUARE_PX = 256
CLIP_NORM = 1.0
FLOAT_BITS = 32
INTEGER_BITS = (8, 4)
RANGE_PATCHES = 256
JPEG2000_REQUESTS = (1.0, 1.02, 1.04)
"""Of a rate: its rate control mostly stays below what is asked for."""


class Row(NamedTuple):
    """A line of the table."""

    method: str
    parameters: int | None
    training: str
    bits_per_pixel: float
    psnr_db: float
    ssim: float


def squares(store: Store, limit: int | None) -> list[Image]:
    """Squares (256, 256) of the test scenes without an invalid pixel; at most `limit`, evenly taken."""
    found = []
    for _, values, valid, _ in store.scenes("test"):
        for top in range(0, values.shape[0] - SQUARE_PX + 1, SQUARE_PX):
            for left in range(0, values.shape[1] - SQUARE_PX + 1, SQUARE_PX):
                part = slice(top, top + SQUARE_PX), slice(left, left + SQUARE_PX)
                if valid[part].all():
                    found.append(values[part])
    if limit is None or limit >= len(found):
        return found
    return [found[place] for place in np.linspace(0, len(found) - 1, limit).astype(int)]


def batches(store: Store, size: int, random: np.random.Generator) -> Iterator[Tensor]:
    """Training patches (size, 1, 256, 256) in ever new order, turned and mirrored."""
    numbers = store.patches("train").index.to_numpy()
    while True:
        order = random.permutation(numbers)
        for start in range(0, max(1, len(order) - size + 1), size):
            images = []
            for number in order[start : start + size]:
                turns, mirror = int(random.integers(4)), bool(random.integers(2))
                images.append(np.rot90(store.patch(int(number))[0], turns)[:, :: -1 if mirror else 1])
            yield torch.from_numpy(np.stack(images))[:, None]


def train(model: Autoencoder, store: Store, options: argparse.Namespace, name: str) -> int:
    """Train for `options.minutes`; returns the number of steps."""
    model.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(model.parameters(), options.learning_rate)
    source = batches(store, options.batch_size, np.random.default_rng(options.seed))
    start, budget, steps = time.monotonic(), 60 * options.minutes, 0
    with tqdm(desc=name, unit=" steps") as progress:
        while (spent := time.monotonic() - start) < budget:
            optimiser.param_groups[0]["lr"] = options.learning_rate * (1 + math.cos(math.pi * spent / budget)) / 2
            image = next(source)
            with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
                reconstruction = model(image)
            loss = autoencoders.reconstruction_loss(reconstruction, image)
            optimiser.zero_grad()
            loss.backward()
            clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimiser.step()
            steps += 1
            progress.update()
            progress.set_postfix(loss=f"{loss.item():.4f}")
    model.eval()
    return steps


def score(pairs: Iterator[tuple[Image, Image]]) -> tuple[float, float]:
    """Mean PSNR in decibels and mean SSIM of originals and decoded images."""
    found = []
    for original, decoded in pairs:
        valid = np.ones(original.shape, bool)
        found.append((psnr_db(original, decoded, valid), ssim(original, decoded, valid)))
    means = np.array(found, np.float64).mean(axis=0)
    return float(means[0]), float(means[1])


def autoencoder_rows(
    name: str, model: Autoencoder, store: Store, images: list[Image], options: argparse.Namespace
) -> Iterator[Row]:
    steps = train(model, store, options, name)
    parameters = sum(each.numel() for each in model.parameters())
    low, high = _latent_range(model, store, options)

    def decoded(bits: int) -> Iterator[tuple[Image, Image]]:
        for image in images:
            latents = model.encoder(torch.from_numpy(image)[None, None])
            if bits < FLOAT_BITS:
                latents = autoencoders.quantise_latents(latents, low, high, bits)
            yield image, model.decoder(latents)[0, 0].numpy()

    for bits in (FLOAT_BITS, *INTEGER_BITS):
        kind = "float32 latents (no file)" if bits == FLOAT_BITS else f"latents of {bits} bits"
        with torch.inference_mode():
            scores = score(decoded(bits))
        yield Row(f"{name}, {kind}", parameters, f"{steps}", latent_bits_per_pixel(LATENT_CHANNELS, bits), *scores)


def codec_row(points: RatePoints, images: list[Image], rate: float, training: str) -> Row:
    """Our codec, each image in a file of its own, as near to `rate` as its rate points reach."""
    sizes: list[int] = []

    def decoded() -> Iterator[tuple[Image, Image]]:
        for image in tqdm(images, desc=f"our codec, {rate:g} bits per pixel"):

            def logarithm(point: RatePoint, multiplier: float, image: Image = image) -> float:
                return math.log(8 * len(encoded(point, multiplier, image)) / image.size)

            point, multiplier, _ = points.search(math.log(rate), logarithm, -1.0)
            file = encoded(point, multiplier, image)
            sizes.append(len(file))
            with Reader(io.BytesIO(file)) as reader:
                yield image, np.concatenate([strip[0] for strip, _ in mrz.decode(reader, point.model)])

    scores = score(decoded())
    parameters = max(sum(each.numel() for each in point.model.state_dict().values()) for point in points.points)
    return Row("our codec (.mrz)", parameters, training, _rate(sizes, images), *scores)


def encoded(point: RatePoint, multiplier: float, image: Image) -> bytes:
    """A whole file with normalised values."""
    height, width = image.shape
    header = Header(width, height, "float32", "linear", ((0.0, 1.0),), multiplier, point.fingerprint)
    stream = io.BytesIO()

    def rows(first: int, last: int) -> tuple[Image, NDArray[np.bool_]]:
        return image[first:last], np.ones((last - first, width), bool)

    mrz.encode(stream, header, [rows], point.model)
    return stream.getvalue()


def jpeg2000_row(images: list[Image], rate: float) -> Row:
    sizes: list[int] = []

    def decoded() -> Iterator[tuple[Image, Image]]:
        for image in tqdm(images, desc=f"JPEG 2000, {rate:g} bits per pixel"):
            levels = np.rint(255 * image).astype(np.uint8)
            streams = [codecs.jpeg2000(levels, rate * request) for request in JPEG2000_REQUESTS]
            stream = min(streams, key=lambda each: abs(8 * len(each) / image.size - rate))
            sizes.append(len(stream))
            yield image, np.divide(codecs.decode_jpeg2000(stream), 255, dtype=np.float32)

    scores = score(decoded())
    return Row("JPEG 2000", None, "", _rate(sizes, images), *scores)


def _latent_range(model: Autoencoder, store: Store, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    source = batches(store, options.batch_size, np.random.default_rng(options.seed))
    with torch.inference_mode():
        ranges = [
            autoencoders.latent_range(model.encoder(next(source)))
            for _ in range(-(-RANGE_PATCHES // options.batch_size))
        ]
    lows, highs = (torch.stack(each) for each in zip(*ranges, strict=True))
    return lows.amin(0), highs.amax(0)


def _rate(sizes: list[int], images: list[Image]) -> float:
    return 8 * sum(sizes) / sum(image.size for image in images)


def _training_of(models: Path, points: RatePoints) -> str:
    config = model_folder.load_config(models / points.points[0].name, TASK)
    return f"{config['training']['epochs']} epochs"


def _print(row: Row) -> None:
    parameters = "" if row.parameters is None else f"{row.parameters / 1e6:.2f} M"
    numbers = f"{row.bits_per_pixel:.3f} | {row.psnr_db:.2f} | {row.ssim:.3f}"
    print(f"| {row.method} | {parameters} | {row.training} | {numbers} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="of training, for each autoencoder")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16: twice as fast where the CPU has it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--squares", type=int, help="score only so many")
    parser.add_argument("--prepared", type=Path, default=PREPARED, help="folder of `compression-prepare`")
    parser.add_argument("--model", type=Path, default=MODELS, help="folder of our rate points")
    options = parser.parse_args()
    store, points = Store(options.prepared), RatePoints(options.model)
    if store.patch_px % autoencoders.DOWNSAMPLING:
        parser.error(f"patches of {store.patch_px} px; their sides must be multiples of {autoencoders.DOWNSAMPLING}")
    images = squares(store, options.squares)
    if not images:
        parser.error(f"{options.prepared} has no test scene with {SQUARE_PX} x {SQUARE_PX} valid pixels")
    print(f"    {shlex.join(['python', *sys.argv])}\n")
    print(
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, PyTorch {torch.__version__}; {options.minutes:g} "
        f"min of training each, batches of {options.batch_size} from {len(store.patches('train'))} patches, rate "
        f"{options.learning_rate:g}{', bfloat16' if options.bf16 else ''}; {len(images)} "
        f"squares of {SQUARE_PX} px from the test scenes\n"
    )
    print("| method | parameters | training steps | bits per pixel | PSNR dB | SSIM |")
    print("| --- | --- | --- | --- | --- | --- |")
    builders: dict[str, Callable[[int], Autoencoder]] = {
        "baseline": autoencoders.baseline,
        "ResNet-Lite": autoencoders.resnet_lite,
    }
    for name, build in builders.items():
        torch.manual_seed(options.seed)
        for row in autoencoder_rows(name, build(LATENT_CHANNELS), store, images, options):
            _print(row)
    rates = [latent_bits_per_pixel(LATENT_CHANNELS, bits) for bits in (FLOAT_BITS, *INTEGER_BITS)]
    for rate in rates:
        _print(codec_row(points, images, rate, _training_of(options.model, points)))
    for rate in rates:
        _print(jpeg2000_row(images, rate))


if __name__ == "__main__":
    main()

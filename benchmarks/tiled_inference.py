"""Is tiled prediction as fast as MONAI's sliding_window_inference, and does its memory stay small on a huge image?

python benchmarks/tiled_inference.py             time against MONAI: same model and tiles, in turns
python benchmarks/tiled_inference.py --memory    memory on a memory-mapped 10,000 x 10,000 image

One thread, and CPU time where times are compared, so that other work on the machine matters little. The ratios are the
result, not the seconds. `--model pointwise` (a 1x1 convolution) shows the tiling alone and is quick.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from tqdm import trange

from millrace.imagery.tiling import predict_tiled

TILE = 256
OVERLAP = 0.25
BATCH_SIZE = 4
CHANNELS = 2


def unet() -> torch.nn.Module:
    import segmentation_models_pytorch as smp

    model: torch.nn.Module = smp.Unet(
        "resnet18", encoder_weights=None, decoder_channels=[64, 32, 16, 16, 8], in_channels=1, classes=CHANNELS
    )
    return model


def pointwise() -> torch.nn.Module:
    return torch.nn.Conv2d(1, CHANNELS, 1)


def against_monai(model: torch.nn.Module, size: int, repetitions: int) -> None:
    from monai.inferers.utils import sliding_window_inference

    image = np.random.default_rng(0).random((size, size), dtype=np.float32)
    tensor = torch.from_numpy(image)[None, None]

    def ours() -> NDArray[np.float32]:
        return predict_tiled(model, image, channels=CHANNELS, tile=TILE, overlap=OVERLAP, batch_size=BATCH_SIZE)

    def monai() -> NDArray[np.float32]:
        with torch.inference_mode():
            result = sliding_window_inference(
                tensor, (TILE, TILE), BATCH_SIZE, model, OVERLAP, mode="gaussian", sigma_scale=0.125
            )
        assert isinstance(result, torch.Tensor)
        return result[0].numpy()

    def cpu_seconds(function: Callable[[], object]) -> float:
        start = time.process_time()
        function()
        return time.process_time() - start

    difference = np.abs(ours() - monai()).max()
    times: dict[str, list[float]] = {"ours": [], "MONAI": []}
    # The order alternates, so that neither always runs on the caches and heap that the other leaves.
    order = [("ours", ours), ("MONAI", monai)]
    for _ in trange(repetitions, desc="repetitions"):
        for name, function in order:
            times[name].append(cpu_seconds(function))
        order.reverse()
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"image {size} x {size}, {repetitions} repetitions in turns; median CPU seconds")
    print(f"ours {medians['ours']:.3f}, MONAI {medians['MONAI']:.3f}")
    print(f"ours / MONAI {medians['ours'] / medians['MONAI']:.3f}")
    print(f"largest absolute difference {difference:.2e}")


def memory(model: torch.nn.Module, size: int) -> None:
    process = psutil.Process()
    private = []

    def predict(tiles: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = model(tiles)
        usage = process.memory_info()
        private.append(usage.rss - usage.shared)
        return result

    def load(window: NDArray[np.uint16]) -> NDArray[np.float32]:
        return np.multiply(window, 1 / 65535, dtype=np.float32)

    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        image = np.memmap(Path(folder) / "image", np.uint16, mode="w+", shape=(size, size))
        random = np.random.default_rng(0)
        for row in image:
            row[:] = random.integers(0, 65536, size, dtype=np.uint16)
        out = np.memmap(Path(folder) / "out", np.float16, mode="w+", shape=(CHANNELS, size, size))
        predict(torch.zeros(BATCH_SIZE, 1, TILE, TILE))
        before = private[0]
        start = time.perf_counter()
        predict_tiled(
            predict,
            image,
            channels=CHANNELS,
            tile=TILE,
            overlap=OVERLAP,
            batch_size=BATCH_SIZE,
            load=load,
            out=out,
            progress=True,
        )
        seconds = time.perf_counter() - start
    mapped = image.nbytes + out.nbytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    whole = 4 * size * size * (CHANNELS + 1)
    print(f"image {size} x {size}, {size * size / seconds / 1e6:.2f} MPixel/s")
    print(f"peak resident {peak / 1e6:.0f} MB; of it up to {mapped / 1e6:.0f} MB are pages of the two mapped files")
    print(f"private {before / 1e6:.0f} MB before, {max(private) / 1e6:.0f} MB at most while predicting")
    print(f"growth / float32 sums and weights of the whole image {(max(private) - before) / whole:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="measure memory on one large image instead of time")
    parser.add_argument("--model", choices=["unet", "pointwise"], default="unet")
    parser.add_argument("--size", type=int, help="side of the image in pixels (default 2000, with --memory 10000)")
    parser.add_argument("--repetitions", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = {"unet": unet, "pointwise": pointwise}[options.model]().eval()
    if options.memory:
        memory(model, options.size or 10_000)
    else:
        against_monai(model, options.size or 2000, options.repetitions)


if __name__ == "__main__":
    main()

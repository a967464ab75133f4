"""How many pictures a second the training data give, beside the loaders of torchvision and detectron2.

    python benchmarks/detection_loading.py --raw FOLDER [--rounds 5]

The folder holds images and COCO or VOC boxes; it is prepared into a temporary one. All load the same images in the
same process without workers: read, decode, resize the short side to one drawn from 160 to 360 pixels (240 times or by
1.5), flip half of them, give tensors. `ours` is `TrainingImages` on a prepared store; `torchvision` is made of what its
reference scripts use (`CocoDetection`, `wrap_dataset_for_transforms_v2`, `RandomShortestSize`, `RandomHorizontalFlip`,
`SanitizeBoundingBoxes`); `detectron2` is `DatasetMapper` with `ResizeShortestEdge` and `RandomFlip`, left out where it
is not installed. Pictures a second of CPU time, medians of the rounds, which take turns.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import torch
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2

from millrace.detection.data import TrainingImages
from millrace.detection.params import Augmentation, Prepare, Resize, Train
from millrace.detection.prepare import prepare_folder
from millrace.detection.store import Store, instances_file
from millrace.settings import Runtime

SHORT_PX, LONG_PX, JITTER = 240, 480, 1.5
SIZES = list(range(round(SHORT_PX / JITTER), round(SHORT_PX * JITTER) + 1, 20))

Load = Callable[[int, int], Any]


def ours(store: Store, positions: list[int]) -> Load:
    """Round and index to a sample."""
    augmentation = Augmentation(scale=JITTER, brightness=0, contrast=0, saturation=0)
    resize = Resize(short_side_px=SHORT_PX, long_side_px=LONG_PX)
    samples = TrainingImages(store, positions, Train(resize=resize, augmentation=augmentation))
    return lambda number, index: samples[number, index]


def torchvision(images: Path, annotations: Path) -> Load:
    """Likewise."""
    transforms = v2.Compose(
        [
            v2.ToImage(),
            v2.RandomShortestSize(SIZES, LONG_PX * JITTER),
            v2.RandomHorizontalFlip(0.5),
            v2.ToDtype(torch.float32, scale=True),
            v2.ConvertBoundingBoxFormat("XYXY"),
            v2.SanitizeBoundingBoxes(),
        ]
    )
    dataset = wrap_dataset_for_transforms_v2(
        CocoDetection(str(images), str(annotations), transforms=transforms), target_keys=("boxes", "labels")
    )
    return lambda _, index: dataset[index]


def detectron2(images: Path, annotations: Path) -> Load:
    """Likewise."""
    from detectron2.data import DatasetMapper
    from detectron2.data import transforms as T
    from detectron2.data.datasets import load_coco_json

    records = load_coco_json(str(annotations), str(images))
    mapper = DatasetMapper(
        is_train=True,
        augmentations=[T.ResizeShortestEdge(SIZES, round(LONG_PX * JITTER), "choice"), T.RandomFlip()],
        image_format="BGR",
    )
    return lambda _, index: mapper(records[index])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--images", default="", help="folder within it that file names are relative to")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "prepared"
        prepare_folder(options.raw, Prepare(), Runtime(progress=False), folder, "train")
        store = Store(folder)
        images, annotations = options.raw / options.images, folder / instances_file("train")
        loads = {
            "ours": ours(store, list(range(len(store.images)))),
            "torchvision": torchvision(images, annotations),
        }
        if importlib.util.find_spec("detectron2") is not None:
            loads["detectron2"] = detectron2(images, annotations)
        rates: dict[str, list[float]] = {name: [] for name in loads}
        for number in range(options.rounds):
            for name, load in loads.items():
                start = time.process_time()
                for index in range(len(store.images)):
                    load(number, index)
                rates[name].append(len(store.images) / (time.process_time() - start))
    print(shlex.join(["python", *sys.argv]))
    print(f"{len(store.images)} images, {options.rounds} rounds, one thread, {os.cpu_count()} cores")
    middle = {name: statistics.median(each) for name, each in rates.items()}
    for name, rate in middle.items():
        print(f"{name:12} {rate:7.1f} images/s   ours / it {middle['ours'] / rate:.2f}")
    if "detectron2" not in loads:
        print("detectron2 is not installed")


if __name__ == "__main__":
    main()

"""The command line: `python src/millrace <command> <task>`. Arguments say what and where, params.yaml says how."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from millrace import params as parameters
from millrace.errors import UserError

TASKS = ("spheroid", "keyframes", "compression", "detection", "roof")
STAGES = {
    "sample": "write the built-in sample data set",
    "parse": "read raw timelines into one table",
    "windows": "split the table by video and cut it into windows",
    "prepare": "check raw data and turn it into arrays",
    "train": "train a model on the prepared data",
    "evaluate": "score the model on the test split, or with --raw on any labelled folder",
    "report": "write the performance report of an evaluated model",
    "folds": "average the results of cross-validation",
}
VARIANTS = {
    "prepare": "which of the task's data sets; roof: a key of roof.raw",
    "train": "which of the task's models; compression: a rate point",
}
EXPORT_FORMATS = ("onnx", "torchscript", "torch-export")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 some files failed, 2 nothing done because of an error."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        code: int = options.run(options)
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # such as a file where --out needs a folder, or a full disk
        print(f"error: {error.filename}: {error.strerror}" if error.filename else f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python src/millrace", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def add(name: str, text: str, run: Any, with_task: bool = True) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        if with_task:
            command.add_argument("task", choices=TASKS)
        return command

    for name, text in STAGES.items():
        stage = add(name, text, _evaluate if name == "evaluate" else _stage)
        if name in VARIANTS:
            stage.add_argument("variant", nargs="?", help=VARIANTS[name])
        if name == "evaluate":
            _add_folders(stage, "--raw", "--out")
            _add_model(stage)
    fold = add("fold", "train and score one fold of cross-validation", _fold)
    fold.add_argument("fold", type=int)
    _add_folders(add("check", "check a raw folder; writes a report", _check), "--raw", "--out")
    convert = add("convert", "write the annotations of a raw folder in another format", _convert)
    convert.add_argument("--to", choices=("coco", "voc"), required=True)
    _add_folders(convert, "--raw")
    convert.add_argument("--out", type=Path, required=True, help="folder for the annotations; images are not copied")
    predict = add("predict", "run the model on files of your own", _predict)
    predict.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="INPUT",
        help="files, or folders of them; detection, roof: quoted patterns too",
    )
    predict.add_argument("--out", type=Path, required=True, help="folder for the results")
    predict.add_argument(
        "--probabilities",
        action="store_true",
        help="write the model's raw outputs too; detection: list also boxes below the least score",
    )
    _add_model(predict)
    export = add("export", "write the model in another format and check that it agrees", _export)
    export.add_argument("--format", choices=EXPORT_FORMATS, required=True)
    export.add_argument("--out", type=Path, help="file to write; default models/<task> with the format's ending")
    _add_model(export)
    _add_codec(add)
    settings = add("params", "check params.yaml, or change it by presets and assignments", _params, with_task=False)
    settings.add_argument("--preset", action="append", default=[], help="a file of presets/, without .yaml")
    settings.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one parameter")
    return parser


def _add_codec(add: Any) -> None:
    compress = add("compress", "compress a raster file to .mrz", _compress, with_task=False)
    compress.add_argument("source", type=Path, metavar="RASTER", help="GeoTIFF, TIFF or PNG")
    wanted = compress.add_mutually_exclusive_group()
    wanted.add_argument("--quality", help="name or number of a rate point: 1 the smallest file, 1.5 between two")
    wanted.add_argument("--rate", type=float, help="bits per pixel of the whole file")
    wanted.add_argument("--psnr", type=float, help="in decibels, of the values as the model sees them")
    compress.add_argument(
        "--values", choices=("amplitude", "power", "decibel", "linear"), help="what the pixels are; default the model's"
    )
    compress.add_argument(
        "--percentiles",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="of each band: what lies outside is saturated; default the model's, 0 100 saturates nothing",
    )
    decompress = add("decompress", "write the raster that an .mrz file holds", _decompress, with_task=False)
    decompress.add_argument("source", type=Path, metavar="FILE", help="the .mrz file")
    for command in (compress, decompress):
        command.add_argument("--out", type=Path, required=True, help="file to write")
        command.add_argument("--model", type=Path, help="folder of rate points; default models/compression")
        command.set_defaults(task="compression")
    info = add("info", "what an .mrz file holds, and what of it is damaged", _info, with_task=False)
    info.add_argument("source", type=Path, metavar="FILE", help="the .mrz file")
    info.set_defaults(task="compression")


def _add_folders(command: argparse.ArgumentParser, *names: str) -> None:
    texts = {"--raw": "labelled folder; default the one in params.yaml", "--out": "folder for the results"}
    for name in names:
        command.add_argument(name, type=Path, help=texts[name])


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", type=Path, help="model folder; default models/<task>")


def _module(options: argparse.Namespace, name: str) -> Any:
    """A task's module, imported only now: `--help` and wrong parameters answer at once."""
    module = f"millrace.{options.task}.{name}"
    if importlib.util.find_spec(module) is None:
        raise UserError(f"the task {options.task} has no '{options.command}'")
    return importlib.import_module(module)


def _sections(options: argparse.Namespace) -> tuple[Any, Any]:
    loaded = parameters.load()
    return getattr(loaded, options.task), loaded.runtime


def _model(options: argparse.Namespace) -> Path:
    chosen: Path | None = options.model
    return chosen or Path("models") / options.task


def _stage(options: argparse.Namespace) -> int:
    task, runtime = _sections(options)
    run = _module(options, options.command).run
    variant, variants = getattr(options, "variant", None), len(inspect.signature(run).parameters) > 2
    if variants and variant is None:
        raise UserError(f"{options.command} {options.task} needs one more word; --help says which")
    if variant is not None and not variants:
        raise UserError(f"{options.command} {options.task} takes no '{variant}'")
    run(task, runtime, *([variant] if variants else []))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    if options.raw is None and options.out is None and options.model is None:
        return _stage(options)
    if options.raw is None or options.out is None:
        raise UserError("evaluate takes --raw and --out together, or neither (then it is the pipeline's stage)")
    task, runtime = _sections(options)
    _module(options, "evaluate_folder").evaluate_folder(options.raw, options.out, _model(options), task, runtime)
    print(f"Scores, table and pictures: {options.out}")
    return 0


def _fold(options: argparse.Namespace) -> int:
    task, runtime = _sections(options)
    _module(options, "fold").run(task, runtime, options.fold)
    return 0


def _check(options: argparse.Namespace) -> int:
    task, runtime = _sections(options)
    out = options.out or Path("runs") / options.task / "check"
    # Of a task with several data sets the check knows where they are.
    raw = options.raw or (Path(task.raw) if isinstance(task.raw, str) else None)
    clean = _module(options, "check").print_check(raw, out, task, runtime)
    return 0 if clean else 1


def _convert(options: argparse.Namespace) -> int:
    task, _ = _sections(options)
    _module(options, "convert").convert(options.raw or Path(task.raw), options.out, options.to, task.prepare)
    print(f"Annotations: {options.out}")
    return 0


def _predict(options: argparse.Namespace) -> int:
    task, runtime = _sections(options)
    failures = _module(options, "predict").predict_files(
        options.inputs, options.out, _model(options), task, runtime, probabilities=options.probabilities
    )
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    print(f"Results: {options.out}")
    return 1 if failures else 0


def _export(options: argparse.Namespace) -> int:
    if importlib.util.find_spec(f"millrace.{options.task}.model_export") is not None:
        task, _ = _sections(options)
        export_model = _module(options, "model_export").export_model
        path, difference = export_model(_model(options), options.format, options.out, task)
    else:
        from millrace.training.export import export

        module = _module(options, "model")
        if not hasattr(module, "load_for_export"):
            raise UserError(f"the task {options.task} has no 'export'")
        network, example = module.load_for_export(_model(options))
        path, difference = export(network, example, options.format, _model(options), options.out)
    print(f"{path}: largest difference from the model {difference:.2g}")
    return 0


def _compress(options: argparse.Namespace) -> int:
    task, runtime = _sections(options)
    module = _module(options, "compress")
    percentiles = tuple(options.percentiles) if options.percentiles else None
    request = module.Request(options.quality, options.rate, options.psnr, options.values, percentiles)
    done = module.compress(options.source, options.out, _model(options), request, task.prepare, runtime)
    print(
        f"{options.out}: {done.bytes} bytes, {done.bits_per_pixel:.3g} bits per pixel, {done.ratio:.3g} times smaller "
        f"than its pixels; rate point {done.rate_point}, step x {done.multiplier:.3g}"
    )
    if done.missed:
        print(f"warning: {done.missed}", file=sys.stderr)
    return 0


def _decompress(options: argparse.Namespace) -> int:
    task, runtime = _sections(options)
    damaged = _module(options, "compress").decompress(
        options.source, options.out, _model(options), task.prepare, runtime
    )
    for each in damaged:
        print(f"damaged: {each}", file=sys.stderr)
    print(f"Raster: {options.out}")
    return 1 if damaged else 0


def _info(options: argparse.Namespace) -> int:
    task, _ = _sections(options)
    described = _module(options, "compress").describe(options.source, task.prepare)
    try:
        print(json.dumps(described, indent=2))  # in ASCII: a file may hold what a terminal should not get
    except RecursionError:
        raise UserError(f"{options.source}: its metadata are nested too deeply to be shown") from None
    return 1 if described["damaged"] else 0


def _params(options: argparse.Namespace) -> int:
    if options.preset or options.set:
        parameters.apply(options.preset, options.set)
        print(f"{parameters.PARAMS} changed")
    else:
        parameters.load()
        print(f"{parameters.PARAMS} is valid")
    return 0

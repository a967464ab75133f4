"""A finished codec: transform, restoration, integer contexts and frequency tables, as a model folder holds them."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, Field, ValidationError
from torch import Tensor, nn

from millrace.compression.block_coding import BlockCoder
from millrace.compression.contexts import Contexts
from millrace.compression.decibels import Values
from millrace.compression.entropy import KINDS, LIMIT, TOTAL, Tables
from millrace.compression.model import BIT_COST
from millrace.compression.params import MAX_WIDTH, Clip, Compression
from millrace.compression.restorer import Restorer
from millrace.compression.scales import COUNT, DC_FEATURES
from millrace.compression.store import Store
from millrace.compression.transform import CHANNELS, LappedTransform
from millrace.errors import UserError
from millrace.settings import Section
from millrace.training import model_folder

MODELS = Path("models/compression")
TASK = "compression"
FINGERPRINT_BYTES = 8
_GREY_LEVELS = 255


class CodecModel(nn.Module):
    """Everything that encoder and decoder share.

    Args:
        width: Channels of the restoration.
        step: Quantisation step in normalised units.
    """

    def __init__(self, width: int, step: float) -> None:
        super().__init__()
        self.transform = LappedTransform()
        self.restorer = Restorer(width)
        self.step = step
        square = (CHANNELS, CHANNELS)
        self.register_buffer("bias", torch.zeros(CHANNELS, dtype=torch.int32))
        self.register_buffer("same", torch.zeros(square, dtype=torch.int16))
        self.register_buffer("around", torch.zeros(square, dtype=torch.int16))
        self.register_buffer("dc", torch.zeros(DC_FEATURES + 1, dtype=torch.int32))
        self.register_buffer("thresholds", torch.zeros(COUNT - 1, dtype=torch.int32))
        self.register_buffer("frequencies", torch.zeros((KINDS, COUNT, 2 * LIMIT + 1), dtype=torch.int32))
        self.frequencies: Tensor

    @property
    def contexts(self) -> Contexts:
        return Contexts(**{name: getattr(self, name).numpy() for name in Contexts.__dataclass_fields__})

    def set_contexts(self, contexts: Contexts) -> None:
        for name in Contexts.__dataclass_fields__:
            getattr(self, name).copy_(torch.from_numpy(getattr(contexts, name)))

    def block_coder(self) -> BlockCoder:
        """Raises ValueError where the tables are none."""
        return BlockCoder(self.contexts, Tables(self.frequencies.numpy()))

    def bits(self) -> Tensor:
        """Bits (64, 2, 41) of an index's magnitude by scale and quantiser, as the tables have it, float32."""
        counts = self.frequencies[:2].double().clamp(min=1e-3)
        folded = counts[..., LIMIT:]
        return -torch.log2(folded / TOTAL).transpose(0, 1).contiguous().float()


def step_of(lagrange: float) -> float:
    """Quantisation step, in normalised units, that fits bits + lambda * 255^2 * squared error."""
    return 1 / (_GREY_LEVELS * math.sqrt(BIT_COST * lagrange))


def config_of(params: Compression, rate: str, store: Store) -> dict[str, Any]:
    """What a model folder says beside the weights."""
    return {
        "task": TASK,
        "rate": rate,
        "lambda": params.rates[rate],
        "width": params.train.model.width,
        "values": store.meta["values"],
        "clip": store.meta["clip"],
    }


def load(folder: Path) -> tuple[CodecModel, bytes]:
    """A rate point's codec, and the fingerprint that its files carry.

    Raises:
        UserError: The folder holds none, or a damaged one.
    """
    settings = settings_of(folder)
    model = CodecModel(settings.width, step_of(settings.lagrange))
    model_folder.load_weights(model, folder)
    try:
        model.block_coder()
    except ValueError as error:
        raise UserError(f"{folder} is damaged ({error}). Train it again.") from None
    # All that decoding depends on: the same weights with another step are another model.
    digest = hashlib.sha256(f"{settings.width} {settings.lagrange!r} ".encode())
    digest.update((folder / model_folder.WEIGHTS).read_bytes())
    return model.eval(), digest.digest()[:FINGERPRINT_BYTES]


class Trained(Section):
    """What a rate point's config.json says of the codec and of the images it was trained on."""

    model_config = ConfigDict(extra="ignore")

    lagrange: float = Field(alias="lambda", gt=0, le=1000)
    width: int = Field(ge=1, le=MAX_WIDTH)
    values: Values
    clip: Clip


def settings_of(folder: Path) -> Trained:
    """The configuration of a rate point.

    Raises:
        UserError: There is none, or it is damaged.
    """
    config = model_folder.load_config(folder, TASK)
    try:
        return Trained.model_validate(config)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{folder / model_folder.CONFIG}: {place}: {first['msg']}. Train it again.") from None


def rate_points(models: Path) -> list[str]:
    """Names of the rate points in a folder of models, from the smallest files to the largest.

    Raises:
        UserError: There is none.
    """
    found = {
        path.parent.name: settings_of(path.parent).lagrange for path in sorted(models.glob(f"*/{model_folder.CONFIG}"))
    }
    if not found:
        raise UserError(f"{models} holds no rate points. Train them with `dvc repro compression-train`.")
    return sorted(found, key=lambda name: found[name])

"""Base of every parameter model, and the `runtime` section that all tasks share."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """One section of params.yaml: frozen, and strict about unknown keys and wrong types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Runtime(Section):
    """How this machine runs the work. No stage depends on it: nothing here is meant to change a result."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where models run; `auto` takes a GPU when there is one."""
    devices: int = Field(default=1, ge=1)
    """Training processes on this machine, one a GPU; on `cpu` they are gloo processes."""
    nodes: int = Field(default=1, ge=1)
    """Machines that train together (start each with torchrun)."""
    threads: int = Field(default=0, ge=0)
    """CPU threads of one process; 0 leaves it to PyTorch."""
    workers: int = Field(default=0, ge=0)
    """Data-loading processes of one training process; 0 loads in the training process."""
    jobs: int = Field(default=0, ge=0, le=4096)
    """Processes for independent files; 0 is one a core."""
    dask_scheduler: str | None = None
    """Address of a Dask scheduler (`tcp://host:8786`) that takes over from the local processes."""
    progress: bool = True
    """Show progress bars."""

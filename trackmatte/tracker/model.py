"""A model ready to run: `load_model`."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from sam2.modeling.sam2_base import SAM2Base

from trackmatte.errors import ModelError
from trackmatte.kernels.int8 import int8_pays
from trackmatte.kernels.native.build import engine_of
from trackmatte.kernels.precision import Products, resolve_device, resolve_dtype
from trackmatte.tracker.architecture import build, read_config
from trackmatte.tracker.network import Network
from trackmatte.tracker.registry import SMALL, ModelSpec, find_spec
from trackmatte.tracker.twins import NetworkOptions
from trackmatte.tracker.weights import State, locate, read_state

logger = logging.getLogger(__name__)
SPEEDS = ("exact", "fast")


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A network with weights, on its device; it holds no state of a clip and may serve several, one at a time.

    Attributes:
        name: as in `trackmatte models`.
        network: the network.
        device: where it runs.
        dtype: what it computes in.
        process: the process that loaded it.
    """

    name: str
    network: Network
    device: torch.device
    dtype: torch.dtype
    process: int = field(default_factory=os.getpid, init=False, repr=False)

    def check_process(self) -> None:
        """Raises ModelError in a process that was forked from the one that loaded the model: torch would hang there."""
        if os.getpid() != self.process:
            raise ModelError(
                f"model {self.name!r} was loaded before this process was forked, where torch's threads are missing; "
                'load it in the new process, or start that with multiprocessing.get_context("spawn")'
            )

    def __reduce__(self) -> tuple[object, ...]:
        raise ModelError(f"model {self.name!r} can't be copied or sent to another process; load it there")

    @property
    def looks_ahead(self) -> bool:
        """Whether the image encoder should work ahead in a thread of its own.

        On a CPU that pays where products are small: two threads then gain more than two halves of every product.
        """
        return self.device.type == "cpu" and self.network.parameters < SMALL * 1e6

    def inference(self) -> AbstractContextManager[None]:
        """The context in which the network runs: no gradients."""
        return torch.inference_mode()

    def __repr__(self) -> str:
        size = self.network.image_size
        return (
            f"Model({self.name!r}, {self.network.parameters / 1e6:.1f} M parameters, {size}x{size}, {self.device}, "
            f"{self.dtype})"
        )


def load_model(
    name: str = "nano",
    *,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    speed: str = "exact",
    compile: bool = False,
) -> Model:
    """Loads a model by name.

    Args:
        name: `nano`, `sam2.1-tiny`, ...; see `trackmatte models`.
        checkpoint: weights to use instead of the model's own: a `.pt` or `.safetensors` file. With the default model,
            the file's own shapes say which network it belongs to.
        device: `auto`, `cpu`, `cuda` (or `cuda:1`, for another GPU than the first) or `mps`.
        precision: `fp32` rounds as the reference does; `bf16` and `fp16` compute in a half format. `auto` is a half
            format on a GPU, and on a CPU that is faster in it; else float32, in the fastest order.
        speed: `exact`, or `fast`, which gives slightly other masks: memory keeps means of neighbouring tokens, and on a
            CPU with instructions for it a SAM 2 model multiplies 8-bit integers, if precision is `auto` or our own
            kernels are used, in layers where the first frames show that they are enough.
        compile: compile for this machine. On a CPU that multiplies half formats natively (AVX512-FP16, AMX) that means
            kernels of our own, built once in seconds by its C++ compiler, which `auto` and `fp16`, and with AMX `bf16`,
            then use; on a GPU the image encoder is compiled by torch, a slow start. Where that can't be, a line of log
            says so.

    Raises:
        ModelError: the model, device, precision or speed is unknown or not here, or the weights are missing or wrong.
    """
    if speed not in SPEEDS:
        raise ModelError(f"unknown speed {speed!r}; choose exact or fast")
    spec = find_spec(name)
    place = resolve_device(device)
    resolve_dtype(precision, place, small=True)  # an unknown one is said before anything is read
    state = read_state(Path(checkpoint) if checkpoint is not None else locate(spec))
    if checkpoint is not None and name == "nano" and (known := recognise(state)):
        spec = find_spec(known)
    dtype = resolve_dtype(precision, place, small=spec.parameters < SMALL, compile=compile)
    source = f"checkpoint {checkpoint}" if checkpoint is not None else f"the weights of {name}"
    return open_model(
        spec,
        state,
        source=source,
        device=place,
        dtype=dtype,
        careful=precision != "auto",
        speed=speed,
        compile=compile,
    )


def open_model(
    spec: ModelSpec,
    state: State,
    *,
    source: str,
    device: torch.device,
    dtype: torch.dtype,
    careful: bool = True,
    speed: str = "exact",
    compile: bool = False,
) -> Model:
    """Builds the network that `spec` describes and gives it weights.

    Args:
        spec: the model.
        state: names and tensors, all of them and no others.
        source: what to call the weights in an error.
        careful: in float32, round as the reference does; no products of 8-bit integers.
        speed: `exact` or `fast`.
        compile: see `load_model`.

    Raises:
        ModelError: the weights are of another network.
    """
    modules = build(read_config(spec.config))
    _load(modules, state, spec.name, source)
    on_cpu = device.type == "cpu"
    native = engine_of(dtype) if on_cpu and compile else None
    if compile and on_cpu and careful and native is None:
        logger.warning("nothing is compiled: on a CPU that is for half formats; choose precision auto or fp16")
    plain = on_cpu and dtype == torch.float32 and not careful
    int8 = speed == "fast" and spec.int8 and (native == "float16 lanes" or (plain and int8_pays()))
    options = NetworkOptions(
        dtype=torch.float32 if native else dtype,
        careful=careful and dtype == torch.float32,
        pool=spec.pool if speed == "fast" else 1,
        products=Products(native=native, int8=int8),
        compile=compile and not on_cpu,
    )
    return Model(spec.name, Network(modules.to(device), options), device, dtype)


def _load(modules: SAM2Base, state: State, name: str, source: str) -> None:
    expected = modules.state_dict()
    wrong = [key for key, value in state.items() if key not in expected or expected[key].shape != value.shape]
    missing = {key for key in expected.keys() - state.keys() if not key.endswith("num_batches_tracked")}
    if not wrong and not missing:
        modules.load_state_dict(state, strict=False)
        return
    known = recognise(state)
    like = f"; it looks like {known}: use model {known}" if known and known != name else "; give the right file"
    example = (wrong or sorted(missing))[0]
    raise ModelError(
        f"{source} does not fit model {name!r}: {len(wrong)} of its {len(state)} tensors are unknown or of another "
        f"shape and {len(missing)} are missing, such as {example}{like}"
    )


_TRUNKS = {(96, 12): "tiny", (96, 16): "small", (112, 24): "base-plus", (144, 48): "large"}


def recognise(state: State) -> str | None:
    """The name of the SAM 2 or 2.1 model whose weights these look like, told by trunk and version; else None."""
    embedding = state.get("image_encoder.trunk.patch_embed.proj.weight")
    prefix = "image_encoder.trunk.blocks."
    blocks = {key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)}
    if embedding is None:
        return None
    size = _TRUNKS.get((embedding.shape[0], len(blocks)))
    version = "2.1" if "no_obj_embed_spatial" in state else "2"
    return f"sam{version}-{size}" if size else None

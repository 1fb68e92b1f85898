"""Weights: reading files that may be anything, and getting them from the hub."""

from __future__ import annotations

import logging
import pickle
import socket
import urllib.request
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import torch
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file

from trackmatte.errors import ModelError
from trackmatte.files import open_input
from trackmatte.tracker.registry import HubFile, ModelSpec, cached_path, find_spec

State = dict[str, torch.Tensor]
_TORCH_STARTS = (b"PK\x03\x04", b"\x80")  # a zip archive; a pickle, as torch wrote before 1.6


def read_state(path: Path) -> State:
    """Reads weights from a `.safetensors` file or a torch checkpoint; runs no code that the file may hold.

    Args:
        path: the file; a torch checkpoint may keep its weights under the key `model`, as Meta's do.

    Raises:
        ModelError: the file is missing, not weights, damaged, or asks for code to be run.
    """
    try:
        start = _first_bytes(path)
        if path.suffix == ".safetensors" or start[8:9] == b"{":
            return _finite(load_file(path), path)
        if not start.startswith(_TORCH_STARTS):
            raise ModelError(f"{path} is no file of weights; give a torch checkpoint (.pt) or a .safetensors file")
        return _finite(_read_torch(path), path)
    except SafetensorError as exc:
        raise ModelError(f"{path} is damaged or no safetensors file ({_line(exc)}); get the weights again") from exc
    except pickle.UnpicklingError as exc:
        raise ModelError(
            f"{path} holds more than weights, or is damaged, and is not loaded; give a checkpoint of tensors alone"
        ) from exc
    except (EOFError, LookupError, TypeError, ValueError, RuntimeError, AttributeError) as exc:
        raise ModelError(f"{path} is damaged or no checkpoint ({_line(exc)}); get the weights again") from exc
    except OSError as exc:
        raise ModelError(f"can't read the weights {path}: {exc.strerror or exc}; check the file") from exc


def locate(spec: ModelSpec) -> Path:
    """The model's weights on this machine, downloaded where they are not here yet.

    Raises:
        ModelError: they are not here and can't be had.
    """
    if found := cached_path(spec):
        return found
    if isinstance(spec.weights, HubFile):
        return _fetch(spec.name, spec.weights)
    raise ModelError(
        f"the weights of model {spec.name!r} are missing from this installation ({spec.weights}); install the package "
        "again, or give them as a file (--checkpoint FILE)"
    )


def download(name: str) -> Path:
    """Downloads the weights of a model into the hub's cache, where they are not there yet, and says where they are.

    Raises:
        ModelError: the model is unknown or its weights can't be had.
    """
    return locate(find_spec(name))


def _fetch(name: str, weights: HubFile) -> Path:
    try:
        if not _hub_reachable():
            raise LocalEntryNotFoundError("no network")
        with _quiet_retries():
            return Path(hf_hub_download(weights.repo, weights.file))
    except (RepositoryNotFoundError, LocalEntryNotFoundError, EntryNotFoundError, HfHubHTTPError, OSError) as exc:
        reason = "the hub can't be reached" if isinstance(exc, LocalEntryNotFoundError) else _line(exc)
        folder = Path(constants.HF_HUB_CACHE) / f"models--{weights.repo.replace('/', '--')}"
        raise ModelError(
            f"the weights of model {name!r} are not here: {weights.file} from {weights.repo} would be cached in "
            f"{folder}, but {reason}; run `trackmatte models download {name}` with a network, or give "
            "a file of them (--checkpoint FILE)"
        ) from exc


def _hub_reachable() -> bool:
    """False where it is clear at once that the hub can't be reached; the hub's client would retry for long."""
    if constants.HF_HUB_OFFLINE:
        return False
    if urllib.request.getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


@contextmanager
def _quiet_retries() -> Iterator[None]:
    """Keeps the hub client's warnings about retries from stderr: what matters is in the error."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _first_bytes(path: Path) -> bytes:
    with open_input(path) as file:
        start = file.read(512)
    text = start.lstrip().lower()
    if not start:
        raise ModelError(f"{path} is empty; get the weights again")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ModelError(f"{path} is a web page, not weights; download the file itself")
    if text.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path} is a Git LFS pointer, not weights; fetch the file itself (git lfs pull)")
    return start


def _read_torch(path: Path) -> State:
    _check_archive(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters is in the error
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    state = loaded.get("model", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{path} holds no weights: a mapping from names to tensors was expected")
    if odd := [key for key in state if not isinstance(key, str)]:
        raise ModelError(f"{path} holds no weights: {odd[0]!r} is no name of a tensor")
    return dict(state)


def _check_archive(path: Path) -> None:
    """Refuses an archive that would grow: torch stores its tensors as they are. Raises ModelError."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if any(entry.file_size > entry.compress_size for entry in archive.infolist()):
            raise ModelError(f"{path} is a compressed archive, not a checkpoint; give a file that torch.save wrote")


def _finite(state: State, path: Path) -> State:
    for name, tensor in state.items():
        if tensor.is_meta:
            raise ModelError(f"{path} is damaged: {name} has no data; get the weights again")
        if tensor.layout == torch.strided and tensor.nbytes > tensor.untyped_storage().nbytes():
            raise ModelError(f"{path} is damaged: {name} is larger than its data; get the weights again")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(f"{path} is damaged: {name} holds values that are not finite; get the weights again")
    return state


def _line(exc: Exception) -> str:
    text = str(exc).strip() or type(exc).__name__
    return text.split("\n")[0].rstrip(".")

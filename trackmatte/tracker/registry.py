"""The models by name: the file that describes each network, and where its weights come from."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from trackmatte.errors import ModelError

SMALL = 20.0  # million parameters; the products of smaller networks gain little from threads or half formats


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file on the Hugging Face hub: repository `repo`, name `file` in it."""

    repo: str
    file: str


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A network and its weights.

    Attributes:
        name: what users call it.
        config: YAML file in the schema of the `sam2` package.
        weights: a file of the package, or a file on the hub.
        parameters: number of weights, in millions.
        megabytes: size of the file of weights.
        pool: in fast mode memory keeps the means of cells of pool * pool tokens. 1 for `nano`, whose maps are small:
            with 2 its J&F on five real clips falls from 75.5 to 71.8.
        int8: in fast mode a CPU that can computes products of 8-bit integers; not for `nano`, whose trunk is no Hiera.
    """

    name: str
    config: Path
    weights: Path | HubFile
    parameters: float
    megabytes: float
    pool: int = 2
    int8: bool = True


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A line of `trackmatte models`: name, weights' size, where they come from, whether they are here and where."""

    name: str
    size: str
    source: str
    here: bool
    path: Path | None


def _package(package: str, path: str) -> Path:
    return Path(str(files(package) / path))


def _hub(version: str, size: str, file: str, config: str, parameters: float, megabytes: float) -> ModelSpec:
    stem = f"sam{version}"
    return ModelSpec(
        name=f"{stem}-{size}",
        config=Path("configs") / stem / f"{stem}_hiera_{config}.yaml",
        weights=HubFile(f"facebook/{stem}-hiera-{size}", f"{stem}_hiera_{file}.pt"),
        parameters=parameters,
        megabytes=megabytes,
    )


_SIZES = (  # name on the hub, in file names, in config names, millions of parameters, megabytes
    ("tiny", "tiny", "t", 38.9, 156.0),
    ("small", "small", "s", 46.0, 184.4),
    ("base-plus", "base_plus", "b+", 80.8, 323.6),
    ("large", "large", "l", 224.4, 898.1),
)
_HOME = _package("trackmatte.tracker", ".")
_NANO = ModelSpec("nano", _HOME / "configs/nano.yaml", _HOME / "data/nano.safetensors", 5.7, 23.0, pool=1, int8=False)

MODELS: dict[str, ModelSpec] = {
    spec.name: spec for spec in (_NANO, *(_hub(version, *size) for version in ("2.1", "2") for size in _SIZES))
}


def find_spec(name: str) -> ModelSpec:
    """The model of that name.

    Raises:
        ModelError: there is none; the message lists all.
    """
    if name not in MODELS:
        raise ModelError(f"unknown model {name!r}; choose one of {', '.join(MODELS)}")
    return MODELS[name]


def cached_path(spec: ModelSpec) -> Path | None:
    """Where the model's weights are on this machine; None where they are not here. Never asks the network."""
    if isinstance(spec.weights, Path):
        return spec.weights if spec.weights.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(spec.weights.repo, spec.weights.file)
    return Path(found) if isinstance(found, str) else None


def list_models() -> list[ModelStatus]:
    """All models, the default first, with what is known of their weights."""
    return [_status(spec) for spec in MODELS.values()]


def _status(spec: ModelSpec) -> ModelStatus:
    path = cached_path(spec)
    megabytes = path.stat().st_size / 1e6 if path else spec.megabytes
    source = f"huggingface.co/{spec.weights.repo}" if isinstance(spec.weights, HubFile) else "part of trackmatte"
    size = f"{spec.parameters:.1f} M parameters, {megabytes:.0f} MB"
    return ModelStatus(spec.name, size, source, path is not None, path)

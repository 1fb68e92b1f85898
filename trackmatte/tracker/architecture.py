"""Builds the network's modules from a YAML file in the schema of the `sam2` package.

The file is read by OmegaConf and instantiated by Hydra's `instantiate`, with no global Hydra state of ours; what
comes out is a `sam2.modeling.sam2_base.SAM2Base`, so that the names and shapes of its state are those of every
SAM 2 and SAM 2.1 checkpoint.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from sam2.modeling.sam2_base import SAM2Base

from trackmatte.errors import ModelError

# What `build_sam2_video_predictor` sets by default for the mask decoder: where its single mask is not stable, the
# best of the three masks is taken instead.
_POSTPROCESSING = {
    "dynamic_multimask_via_stability": True,
    "dynamic_multimask_stability_delta": 0.05,
    "dynamic_multimask_stability_thresh": 0.98,
}

# Settings of SAM2Base that all SAM 2 and 2.1 files share and that the tracker is written for.
_REQUIRED = {
    "directly_add_no_mem_embed": True,
    "use_high_res_features_in_sam": True,
    "use_mask_input_as_output_without_sam": True,
    "use_obj_ptrs_in_encoder": True,
    "pred_obj_scores": True,
    "fixed_no_obj_ptr": True,
    "soft_no_obj_ptr": False,
    "max_cond_frames_in_attn": -1,
    "non_overlap_masks_for_mem_enc": False,
}


def read_config(path: Path) -> DictConfig:
    """Reads the `model` part of a YAML file; a relative path is one of the `sam2` package's own.

    Raises:
        ModelError: there is no such file, or it does not describe a SAM 2 network.
    """
    place = path if path.is_absolute() else Path(str(files("sam2") / str(path)))
    if not place.is_file():
        raise ModelError(f"the model's description {place} is missing; install the package again")
    config = OmegaConf.load(place)
    if not isinstance(config, DictConfig) or "model" not in config:
        raise ModelError(f"{place} does not describe a model: it has no part `model`")
    OmegaConf.resolve(config)
    model = config.model
    assert isinstance(model, DictConfig)
    return model


def build(config: DictConfig) -> SAM2Base:
    """Builds the modules with random weights, in eval mode, on torch's default device.

    Raises:
        ModelError: a setting is one that the tracker is not written for.
    """
    extra = OmegaConf.create({"sam_mask_decoder_extra_args": _POSTPROCESSING, "compile_image_encoder": False})
    modules = instantiate(OmegaConf.merge(config, extra), _recursive_=True)
    if not isinstance(modules, SAM2Base):
        raise ModelError(f"the model's description makes a {type(modules).__name__}, not a SAM2Base")
    for setting, expected in _REQUIRED.items():
        if (found := getattr(modules, setting)) != expected:
            raise ModelError(f"the model's description sets {setting} to {found}; only {expected} is supported")
    return modules.eval()

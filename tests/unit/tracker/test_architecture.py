import subprocess
import sys

import pytest
from sam2.build_sam import build_sam2_video_predictor

from tests.parity.reference import small_spec
from trackmatte.errors import ModelError
from trackmatte.tracker.architecture import build, read_config
from trackmatte.tracker.registry import MODELS

PUBLISHED = {"tiny": 38.9, "small": 46.0, "base-plus": 80.8, "large": 224.4}  # millions of parameters, sam2's README


def shapes(modules):
    return {name: tuple(value.shape) for name, value in modules.state_dict().items()}


@pytest.mark.parametrize("name", [name for name in MODELS if name != "nano"])
def test_state_has_the_names_and_shapes_of_the_reference(name):
    spec = MODELS[name]
    ours = build(read_config(spec.config))
    theirs = build_sam2_video_predictor(spec.config.as_posix(), device="cpu")
    assert shapes(ours) == shapes(theirs)
    millions = sum(parameter.numel() for parameter in ours.parameters()) / 1e6
    assert millions == pytest.approx(PUBLISHED[name.split("-", 1)[1]], rel=0.01)
    assert millions == pytest.approx(spec.parameters, abs=0.3)


def test_the_default_model_builds():
    spec = MODELS["nano"]
    modules = build(read_config(spec.config))
    millions = sum(parameter.numel() for parameter in modules.parameters()) / 1e6
    assert millions == pytest.approx(spec.parameters, abs=0.1)


def test_the_decoder_falls_back_to_stable_masks_as_the_reference_does():
    decoder = build(read_config(small_spec("21").config)).sam_mask_decoder
    assert decoder.dynamic_multimask_via_stability
    assert (decoder.dynamic_multimask_stability_delta, decoder.dynamic_multimask_stability_thresh) == (0.05, 0.98)


@pytest.mark.parametrize(("setting", "value"), [("max_cond_frames_in_attn", 2), ("directly_add_no_mem_embed", False)])
def test_settings_the_tracker_is_not_written_for_are_refused(setting, value):
    config = read_config(small_spec("21").config)
    config[setting] = value
    with pytest.raises(ModelError, match=setting):
        build(config)


def test_missing_and_foreign_descriptions(tmp_path):
    with pytest.raises(ModelError, match="missing"):
        read_config(tmp_path / "none.yaml")
    (tmp_path / "other.yaml").write_text("a: 1\n")
    with pytest.raises(ModelError, match="does not describe a model"):
        read_config(tmp_path / "other.yaml")


def test_the_engine_needs_no_torchvision_and_prints_nothing():
    code = (
        "import sys; sys.modules['torchvision'] = None\n"
        "import trackmatte.tracker.model, trackmatte.tracker.propagate\n"
        "import trackmatte.tracker.trunk"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

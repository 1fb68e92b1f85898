import os
import pickle
import zipfile

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file

from tests.parity.reference import random_state, small_model, small_spec
from trackmatte.errors import ModelError
from trackmatte.tracker import weights
from trackmatte.tracker.model import load_model, open_model, recognise
from trackmatte.tracker.registry import MODELS, find_spec, list_models
from trackmatte.tracker.weights import download, locate, read_state


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    monkeypatch.setattr(weights.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(weights.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("trackmatte.tracker.registry.cached_path", lambda spec: None)
    monkeypatch.setattr(weights, "cached_path", lambda spec: None)
    return tmp_path / "hub"


class Hostile:
    def __reduce__(self):
        return (os.mkdir, ("hacked",))


def write(path, content):
    path.write_bytes(content)
    return path


DAMAGED = (
    "missing",
    "a folder",
    "empty",
    "web page",
    "web page named safetensors",
    "git lfs",
    "cut",
    "cut safetensors",
    "text",
    "text named safetensors",
    "hostile",
)


def damaged_files(folder):
    torch.save({"model": {"a": torch.ones(3)}}, folder / "whole.pt")
    save_file({"a": torch.ones(300)}, folder / "whole.safetensors")
    whole, whole_safe = (folder / "whole.pt").read_bytes(), (folder / "whole.safetensors").read_bytes()
    return {
        "missing": (folder / "missing.pt", "can't read"),
        "a folder": (folder, "can't read"),
        "empty": (write(folder / "empty.pt", b""), "is empty"),
        "web page": (write(folder / "page.pt", b"<!DOCTYPE html><html>not found</html>"), "web page"),
        "web page named safetensors": (write(folder / "page.safetensors", b"\n<html>no</html>"), "web page"),
        "git lfs": (write(folder / "lfs.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0"), "Git LFS"),
        "cut": (write(folder / "cut.pt", whole[: len(whole) // 2]), "damaged"),
        "cut safetensors": (write(folder / "cut.safetensors", whole_safe[:-40]), "damaged"),
        "text": (write(folder / "text.pt", b"hello, these are no weights"), "no file of weights"),
        "text named safetensors": (write(folder / "text.safetensors", b"hello, these are no weights"), "damaged"),
        "hostile": (write(folder / "hostile.pt", pickle.dumps(Hostile(), protocol=2)), "not loaded"),
    }


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    files = damaged_files(tmp_path)
    assert set(files) == set(DAMAGED)
    path, says = files[case]
    with pytest.raises(ModelError, match=says) as caught:
        read_state(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "hacked").exists()


def test_a_hostile_torch_archive_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Hostile()}, tmp_path / "hostile.pt")
    with pytest.raises(ModelError, match="more than weights"):
        read_state(tmp_path / "hostile.pt")
    assert not (tmp_path / "hacked").exists()


def test_a_hostile_pickle_of_another_protocol_brings_no_warning(tmp_path, recwarn):
    path = write(tmp_path / "hostile.pt", pickle.dumps(Hostile(), protocol=4))
    with pytest.raises(ModelError, match="not loaded"):
        read_state(path)
    assert not recwarn.list


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    save_file({"a": torch.ones(3), "b": torch.tensor([1.0, value])}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="damaged: b holds values that are not finite"):
        read_state(tmp_path / "w.safetensors")


@pytest.mark.parametrize("content", [[1, 2], {"model": [1]}, {"model": {"a": "b"}}, torch.ones(2)])
def test_a_file_of_something_else_holds_no_weights(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="no weights"):
        read_state(tmp_path / "other.pt")


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors", "safetensors-by-content.pt"])
def test_weights_come_back_as_written(tmp_path, name):
    state = {"a": torch.randn(3, 4), "b": torch.arange(4)}
    path = tmp_path / name
    if name == "w.pt":
        torch.save({"model": state}, path)
    else:
        save_file(state, path)
    read = read_state(path)
    assert read.keys() == state.keys()
    assert all(torch.equal(read[key], state[key]) for key in state)


def test_unknown_speed():
    with pytest.raises(ModelError, match="unknown speed 'slow'; choose exact or fast"):
        load_model(speed="slow")


def test_unknown_model_lists_those_there_are():
    with pytest.raises(ModelError, match=r"'sam3'.*nano.*sam2\.1-tiny.*sam2-large"):
        load_model("sam3")


def test_offline_says_what_is_missing_and_what_to_do(no_hub):
    with pytest.raises(ModelError) as caught:
        load_model("sam2.1-tiny")
    message = str(caught.value)
    for part in (
        "sam2.1_hiera_tiny.pt",
        "facebook/sam2.1-hiera-tiny",
        str(no_hub),
        "trackmatte models download sam2.1-tiny",
        "--checkpoint",
    ):
        assert part in message
    assert "\n" not in message


def test_a_failed_download_says_so(no_hub, monkeypatch):
    def fail(repo, file):
        raise LocalEntryNotFoundError("Name or service not known\nand more")

    monkeypatch.setattr(weights, "_hub_reachable", lambda: True)
    monkeypatch.setattr(weights, "hf_hub_download", fail)
    with pytest.raises(ModelError, match="can't be reached"):
        download("sam2-large")


def test_download_asks_the_hub_for_the_published_file(no_hub, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(weights, "_hub_reachable", lambda: True)
    monkeypatch.setattr(weights, "hf_hub_download", lambda *names: asked.append(names) or str(tmp_path / "w.pt"))
    assert download("sam2.1-base-plus") == tmp_path / "w.pt"
    assert asked == [("facebook/sam2.1-hiera-base-plus", "sam2.1_hiera_base_plus.pt")]


def test_hub_names_are_those_that_sam2_publishes():
    from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES

    ours = {
        spec.weights.repo: (spec.config.as_posix(), spec.weights.file)
        for name, spec in MODELS.items()
        if name != "nano"
    }
    assert ours == HF_MODEL_ID_TO_FILENAMES


def test_listing_names_all_models():
    entries = list_models()
    assert [entry.name for entry in entries] == list(MODELS)
    assert entries[0].name == "nano"
    assert all("M parameters" in entry.size and entry.source for entry in entries)


def test_missing_package_data_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="missing from this installation"):
        locate(small_spec("21"))


def test_weights_of_another_network_are_refused():
    spec = small_spec("21")
    state = random_state(small_spec("20"))
    with pytest.raises(ModelError, match=r"does not fit model 'small21'.*no_obj_embed_spatial") as caught:
        open_model(spec, state, source="checkpoint x.pt", device=torch.device("cpu"), dtype=torch.float32)
    assert "\n" not in str(caught.value)


def fingerprint(width, blocks, version):
    state = {"image_encoder.trunk.patch_embed.proj.weight": torch.zeros(width, 3, 7, 7)}
    state |= {f"image_encoder.trunk.blocks.{i}.norm1.weight": torch.zeros(1) for i in range(blocks)}
    return state | ({"no_obj_embed_spatial": torch.zeros(1)} if version == "2.1" else {})


@pytest.mark.parametrize(
    ("width", "blocks", "version", "name"),
    [
        (96, 12, "2.1", "sam2.1-tiny"),
        (96, 16, "2", "sam2-small"),
        (112, 24, "2.1", "sam2.1-base-plus"),
        (144, 48, "2", "sam2-large"),
        (64, 12, "2", None),
    ],
)
def test_checkpoints_are_recognised_by_their_trunk(width, blocks, version, name):
    assert recognise(fingerprint(width, blocks, version)) == name


def test_another_sam_is_named_in_the_error(tmp_path):
    torch.save({"model": fingerprint(144, 48, "2.1")}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"use model sam2\.1-large"):
        load_model("sam2.1-tiny", checkpoint=tmp_path / "w.pt", device="cpu")


def test_small_weights_load_as_a_checkpoint_file(tmp_path):
    model, state = small_model("21")
    torch.save({"model": state}, tmp_path / "w.pt")
    read = read_state(tmp_path / "w.pt")
    again = open_model(small_spec("21"), read, source="w.pt", device=torch.device("cpu"), dtype=torch.float32)
    assert again.network.parameters == model.network.parameters
    assert "small21" in repr(again)


def test_specs_of_the_default_model():
    spec = find_spec("nano")
    assert spec.config.is_file()


def test_a_tensor_that_is_larger_than_its_data_is_refused_before_it_is_looked_at(tmp_path):
    torch.save({"a": torch.zeros(1).expand(200_000, 200_000)}, tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_size < 5000
    with pytest.raises(ModelError, match="larger than its data"):
        read_state(tmp_path / "a.pt")


def test_a_compressed_archive_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1_000_000)}, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as plain,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry))
    with pytest.raises(ModelError, match="compressed archive"):
        read_state(tmp_path / "b.pt")


@pytest.mark.parametrize("key", [0, ("a", "b")])
def test_keys_that_are_no_names_are_refused(tmp_path, key):
    torch.save({"b": torch.zeros(1), key: torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(ModelError, match=r"no name of a tensor"):
        read_state(tmp_path / "a.pt")


def test_a_tensor_without_data_is_told(tmp_path):
    torch.save({"model": {"a": torch.zeros(3, dtype=torch.int64, device="meta")}}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="a has no data"):
        load_model("nano", checkpoint=tmp_path / "w.pt", device="cpu")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path / "w.pt")
    with pytest.raises(ModelError, match="a pipe or a device"):
        load_model("nano", checkpoint=tmp_path / "w.pt", device="cpu")

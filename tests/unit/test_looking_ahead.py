"""A small model's image encoder works ahead in a thread of its own: the same results, and nothing left behind."""

import threading

import numpy as np
import pytest
import torch
from PIL import Image

from tests.parity.reference import moving_clip, small_model
from trackmatte.errors import DamagedClipError, PromptError
from trackmatte.io.decode import open_clip
from trackmatte.pipeline import track_frames
from trackmatte.tracker import model as model_module
from trackmatte.types import Box, Point


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return moving_clip(tmp_path_factory.mktemp("clip") / "frames", frames=8).folder


@pytest.fixture(scope="module")
def model():
    return small_model("21")[0]


def results(folder, model, prompts):
    with open_clip(folder) as clip:
        return [(frame.index, masks) for frame, masks in track_frames(clip, prompts, model=model)]


PROMPTS = [Point(30, 45, name="a", frame=2), Box(90, 60, 130, 95, name="b", frame=5)]


def test_results_are_those_of_one_thread(monkeypatch, folder, model):
    assert model.looks_ahead
    ahead = results(folder, model, PROMPTS)
    monkeypatch.setattr(model_module, "SMALL", 0)
    assert not model.looks_ahead
    alone = results(folder, model, PROMPTS)
    assert [index for index, _ in ahead] == [index for index, _ in alone] == list(range(8))
    for (_, one), (_, other) in zip(ahead, alone, strict=True):
        assert one.seeded.tolist() == other.seeded.tolist()
        assert np.array_equal(one.masks, other.masks)
        assert np.array_equal(one.scores, other.scores)
    assert ahead[-1][1].masks.any()


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_threads_end_and_torch_has_its_own_back(folder, model):
    before = threading.active_count()
    with open_clip(folder) as clip:
        stream = track_frames(clip, PROMPTS, model=model)
        next(stream)
        assert torch.get_num_threads() == 1
        stream.close()
    assert threading.active_count() == before
    assert torch.get_num_threads() == 2


def test_an_error_ahead_reaches_the_caller(folder, model, tmp_path):
    with pytest.raises(PromptError, match="lies after the end"):
        results(folder, model, [Point(30, 45), Point(30, 45, frame=8, name="late")])
    for path in sorted(folder.iterdir()):
        Image.open(path).save(tmp_path / path.name)
    damaged = tmp_path / "00004.jpg"
    damaged.write_bytes(damaged.read_bytes()[:600])
    with pytest.raises(DamagedClipError):
        results(tmp_path, model, PROMPTS)

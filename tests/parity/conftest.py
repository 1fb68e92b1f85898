import warnings

import pytest
import torch

from tests.parity.reference import moving_clip, random_state, reference_predictor, small_model, small_spec
from trackmatte.tracker.model import open_model
from trackmatte.tracker.registry import cached_path, find_spec
from trackmatte.tracker.weights import read_state


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small networks gain nothing from more threads; sums are then taken in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_hole_warning():
    """The reference says at every frame that it fills no holes on a CPU."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="cannot import name '_C'")
        yield


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """20 frames: more than the 6 maps and the 15 pointers that an object's memory holds beside its first."""
    return moving_clip(tmp_path_factory.mktemp("clip") / "frames")


def pair(name):
    """The same weights in both: (Model, SAM2VideoPredictor)."""
    if name != "nano":
        model, state = small_model(name)
        return model, reference_predictor(small_spec(name).config, state)
    spec = find_spec("nano")
    path = cached_path(spec)
    if path is None:
        pytest.skip("nano's weights are not here")
    state = read_state(path)
    model = open_model(spec, state, source="nano", device=torch.device("cpu"), dtype=torch.float32)
    return model, reference_predictor(spec.config, state)


@pytest.fixture(scope="session", params=["21", "20", "nano"])
def both(request):
    """A model of ours and the reference with its weights."""
    return pair(request.param)


@pytest.fixture(scope="session")
def sometimes_absent():
    """A SAM 2.1 whose object comes and goes: both sides."""
    spec = small_spec("21")
    state = random_state(spec, seed=10, score=-0.5)
    state["sam_mask_decoder.pred_obj_score_head.layers.2.weight"] *= 6
    model = open_model(spec, state, source="test", device=torch.device("cpu"), dtype=torch.float32)
    return model, reference_predictor(spec.config, state)

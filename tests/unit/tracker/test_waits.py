"""A frame makes a GPU wait once, for its masks; uploads are asked for and not waited for."""

from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest
import torch

from tests.parity.reference import small_spec
from tests.unit.tracker.elsewhere import ELSEWHERE, Waits, model_elsewhere
from trackmatte.kernels.transfer import upload
from trackmatte.tracker.propagate import Propagator
from trackmatte.types import Box, Frame, Mask, Point

H, W = 120, 160
MODES = {"float32 in another order": {}, "careful": {"careful": True}, "fast": {"pool": 2}}
MASKS = ("a download", "transfer.py: self._host = values.cpu()")


def frames(count):
    return [Frame(i, i, Fraction(1, 25), np.zeros((H, W, 3), np.uint8)) for i in range(count)]


def followed(tracker, frame, prompts=()):
    """What is waited for in one frame: the masks of three objects come back at its end."""
    tracker.seed(prompts)
    with Waits() as seen:
        masks = tracker.step(frame)
    assert masks.masks.shape == (len(tracker.names), H, W)
    return seen


@pytest.mark.parametrize("version", ["21", "20"])
@pytest.mark.parametrize("mode", MODES)
def test_a_frame_is_waited_for_once(version, mode):
    tracker = Propagator(model_elsewhere(small_spec(version), **MODES[mode]), height=H, width=W)
    mask = np.zeros((H, W), bool)
    mask[10:40, 10:40] = True
    prompts = {
        0: [Point(30, 45, name="a"), Box(90, 60, 130, 95, name="b"), Mask(mask, name="c")],
        5: [Point(60, 50, name="a"), Point(10, 10, False, name="b")],
        7: [Box(10, 10, 50, 50, name="d")],
    }
    for frame in frames(9):
        seen = followed(tracker, frame, prompts.get(frame.index, ()))
        assert dict(seen.waits) == {MASKS: 1}
    assert seen.uploads < 16, "a few for each group of objects that are read together"


WAITS = {
    "float(values.sum())": "a number",
    "bool(values.any())": "a number",
    "values.nonzero()": "places",
    "values[values > 0]": "places",
    "values[[0, 1]]": "an upload",
    "torch.zeros(3).to(values.device)": "an upload",
    "torch.tensor([1, 2], device=values.device)": "an upload",
    "values.cpu()": "a download",
}


@pytest.mark.parametrize("code", WAITS)
def test_the_count_sees_what_waits(code):
    values = torch.zeros(3, device=ELSEWHERE)
    with torch.inference_mode(), Waits() as seen, suppress(NotImplementedError):
        eval(code, {"torch": torch, "values": values})
    assert [what for what, _ in seen.waits] == [WAITS[code]]


def test_the_count_sees_nothing_else():
    values = torch.zeros(3, device=ELSEWHERE)
    with torch.inference_mode(), Waits() as seen:
        upload(np.zeros(3), ELSEWHERE) + values[1:].index_select(0, (values * 2).long()).sum()
    assert not seen.waits
    assert seen.uploads == 1

"""With the same weights, logits follow sam2's own SAM2VideoPredictor within 1e-3 at every frame, whole tensors."""

import numpy as np
import pytest
import torch

from tests.parity.float32_memory import keep_float32
from tests.parity.reference import Clip, run_reference
from trackmatte.tracker.memory import MemoryBank
from trackmatte.tracker.network import Network
from trackmatte.tracker.propagate import PropagateOptions, Propagator
from trackmatte.types import Box, Frame, Mask, Point

TOLERANCE = 1e-3
JOIN, CORRECT = 8, 11

SCENES = {
    "click": lambda masks: {0: [Point(30, 45)]},
    "clicks": lambda masks: {0: [Point(30, 45), Point(20, 40), Point(100, 20, False), Point(80, 100, False)]},
    "box": lambda masks: {0: [Box(10, 30, 46, 66)]},
    "mask": lambda masks: {0: [Mask(masks[0])]},
    "box and click": lambda masks: {0: [Point(28, 40), Box(10, 30, 46, 66), Point(120, 100, False)]},
    "two objects": lambda masks: {0: [Point(30, 45, name="a"), Box(110, 70, 150, 110, name="b")]},
    "three ways": lambda masks: {
        0: [Point(30, 45, name="a"), Mask(masks[0], name="b"), Box(110, 70, 150, 110, name="c")]
    },
    "joins": lambda masks: {0: [Point(30, 45, name="a")], JOIN: [Box(90, 60, 130, 95, name="b")]},
    "mask joins": lambda masks: {0: [Mask(masks[0], name="a")], JOIN: [Mask(masks[JOIN], name="b")]},
    "corrected by a click": lambda masks: {0: [Point(30, 45)], CORRECT: [Point(70, 50)]},
    "corrected by clicks": lambda masks: {
        0: [Box(10, 30, 46, 66)],
        CORRECT: [Point(70, 50), Point(100, 20, False)],
    },
    "corrected by a box": lambda masks: {0: [Mask(masks[0])], CORRECT: [Box(52, 30, 92, 70)]},
    "corrected by a mask": lambda masks: {0: [Point(30, 45)], CORRECT: [Mask(masks[CORRECT])]},
    "one of two corrected": lambda masks: {
        0: [Point(30, 45, name="a"), Point(125, 90, name="b")],
        CORRECT: [Point(70, 50, name="a")],
    },
    "both corrected, one joins": lambda masks: {
        2: [Point(30, 45, name="a")],
        JOIN: [Mask(masks[JOIN], name="b")],
        CORRECT: [Point(70, 50, False, name="a"), Point(60, 60, name="b"), Point(5, 5, name="c")],
    },
}


def propagate(model, clip, prompts, *, seeds="memory", **options):
    options = PropagateOptions(fill_hole_area=0, seeds=seeds, **options)
    propagator = Propagator(model, height=120, width=160, options=options)
    if seeds == "ahead":
        for index, given in prompts.items():
            propagator.pin(clip.frames[index], given)
    for frame in clip.frames:
        if seeds != "ahead":
            propagator.seed(prompts.get(frame.index, []))
        yield frame, propagator.names, propagator.advance(frame)


def distances(both, clip, prompts, *, seeds="memory", forget=False, **options):
    """A row for each frame and object: the largest difference of logits, of scores and of pointers."""
    model, predictor = both
    rows = []
    ours = propagate(model, clip, prompts, seeds=seeds, forget=forget, **options)
    theirs = run_reference(predictor, clip, prompts, seeds=seeds, forget=forget)
    for (_, names, prediction), (expected, _) in zip(ours, theirs, strict=True):
        tracked = [names[place] for place in prediction.places]
        assert sorted(tracked) == sorted(expected)
        for i, name in enumerate(tracked):
            reference = expected[name]
            decoded = prediction.decoded[i : i + 1]
            rows.append(
                (
                    (decoded.logits - reference.logits).abs().max().item(),
                    (decoded.scores - reference.score).abs().max().item(),
                    (decoded.pointers - reference.pointer).abs().max().item(),
                )
            )
    return np.array(rows)


@pytest.mark.parametrize("scene", SCENES)
def test_logits_follow_the_reference(both, clip, scene, monkeypatch):
    """What is computed: with memory in float32 on both sides, so that no rounding to bfloat16 tips the other way."""
    keep_float32(monkeypatch)
    rows = distances(both, clip, SCENES[scene](clip.masks))
    assert rows.max() < TOLERANCE, f"row {rows.max(axis=1).argmax()}: {rows.max(axis=0)}"


LATER = {
    "corrected by clicks": SCENES["corrected by clicks"],
    "both corrected, one joins": SCENES["both corrected, one joins"],
    "corrected often": lambda masks: {
        0: [Point(30, 45)],
        4: [Mask(masks[4])],
        7: [Point(70, 50), Point(100, 20, False)],
        CORRECT: [Box(52, 30, 92, 70)],
        15: [Point(90, 60)],
    },
}


LATER_CASES = [
    (model, scene, seeds, forget)
    for model, scenes in (("21", LATER), ("20", LATER), ("nano", ["corrected often"]))
    for scene in scenes
    for seeds, forget in (("pinned", False), ("pinned", True), ("ahead", False))
    if (seeds, scene) != ("ahead", "both corrected, one joins")  # a negative click names nothing that is not tracked
]


@pytest.mark.parametrize(("both", "scene", "seeds", "forget"), LATER_CASES, indirect=["both"])
def test_later_seeds_are_remembered_as_the_reference_does(both, clip, scene, seeds, forget, monkeypatch):
    keep_float32(monkeypatch)
    rows = distances(both, clip, LATER[scene](clip.masks), seeds=seeds, forget=forget)
    assert rows.max() < TOLERANCE, f"row {rows.max(axis=1).argmax()}: {rows.max(axis=0)}"


@pytest.mark.parametrize("scene", ["mask joins", "corrected by clicks", "one of two corrected"])
def test_logits_follow_the_reference_with_memory_rounded(both, clip, scene, monkeypatch):
    """As it runs: a last bit that falls otherwise on this CPU may round a memory otherwise, and that one counts.

    Where logits are further apart for it, they are no further apart than rounding moves the reference itself.
    """
    prompts = SCENES[scene](clip.masks)
    apart = distances(both, clip, prompts).max()
    if apart >= TOLERANCE:
        rounded = list(run_reference(both[1], clip, prompts))
        keep_float32(monkeypatch)
        exact = list(run_reference(both[1], clip, prompts))
        moved = max(
            (one[name].logits - other[name].logits).abs().max().item()
            for (one, _), (other, _) in zip(rounded, exact, strict=True)
            for name in one
        )
        assert apart < moved


@pytest.mark.parametrize("scene", ["click", "three ways", "joins"])
def test_masks_follow_the_references_large_logits(both, clip, scene):
    """At the clip's size, wherever the reference's logit is not within the tolerance of 0."""
    model, predictor = both
    prompts = SCENES[scene](clip.masks)
    options = PropagateOptions(fill_hole_area=0, overlap="allow")
    propagator = Propagator(model, height=120, width=160, options=options)
    for frame, (expected, large) in zip(clip.frames, run_reference(predictor, clip, prompts), strict=True):
        propagator.seed(prompts.get(frame.index, []))
        masks = propagator.step(frame).masks
        for name, theirs in zip(expected, large[:, 0].numpy(), strict=True):
            clear = np.abs(theirs) > TOLERANCE
            assert np.array_equal(masks[propagator.names.index(name)][clear], theirs[clear] > 0)


def test_masks_are_no_constants(both, clip):
    """What the tests above compare changes with the frame, and has an inside and an outside."""
    predictions = [prediction for _, _, prediction in propagate(both[0], clip, SCENES["click"](clip.masks))]
    logits = torch.cat([prediction.decoded.logits for prediction in predictions])
    assert (logits > 0).float().mean(dim=(1, 2, 3)).gt(0.005).float().mean() > 0.5
    assert (logits < 0).float().mean() > 0.1
    assert logits.std(dim=0).max() > 0.5, "the masks of all frames are alike"


def test_absent_objects_follow_the_reference(sometimes_absent, clip):
    prompts = SCENES["click"](clip.masks)
    scores = [p.decoded.scores.item() for _, _, p in propagate(sometimes_absent[0], clip, prompts)]
    present = [score > 0 for score in scores]
    assert 2 < sum(present) < len(present) - 2, "the object should come and go"
    assert distances(sometimes_absent, clip, prompts).max() < TOLERANCE


def test_a_clip_shorter_than_the_pointer_window(both, clip):
    """The reference shortens the window to the clip's length; ours does where it is told the length."""
    short = beginning(clip, 9)
    prompts = SCENES["click"](clip.masks)
    assert distances(both, short, prompts, clip_frames=9).max() < TOLERANCE


def beginning(clip, count):
    """The clip's first frames, in a folder of their own."""
    folder = clip.folder.parent / f"first{count}"
    folder.mkdir(exist_ok=True)
    for frame in clip.frames[:count]:
        name = f"{frame.index:05d}.jpg"
        (folder / name).write_bytes((clip.folder / name).read_bytes())
    return Clip(folder, clip.frames[:count], clip.masks[:count])


def test_deep_frames_track_as_their_8_bit_twins(both, clip):
    """uint16 frames that hold the same picture give the same logits, bit for bit."""
    deep = Clip(
        clip.folder,
        [Frame(f.index, f.pts, f.time_base, f.image.astype(np.uint16) * 257) for f in clip.frames[:4]],
        clip.masks,
    )
    shallow = Clip(clip.folder, clip.frames[:4], clip.masks)
    prompts = SCENES["click"](clip.masks)
    pairs = zip(propagate(both[0], deep, prompts), propagate(both[0], shallow, prompts), strict=True)
    assert all(torch.equal(a.decoded.logits, b.decoded.logits) for (_, _, a), (_, _, b) in pairs)


def _wrong_select(bank, rows, readings, *, pointers):
    memories = SELECT(bank, rows, readings, pointers=pointers)
    memories.maps[:, 1:] = memories.maps[:, 1:].flip(1)
    return memories


def _old_pointers(bank, rows, readings, *, pointers):
    memories = SELECT(bank, rows, readings, pointers=pointers)
    memories.pointers[:, 1:] = memories.pointers[:, :1]
    return memories


def _soft_masks(network, image, decoded, *, prompted):
    return ENCODE(network, image, decoded, prompted=[False] * len(prompted))


def _no_previous(network, image, attended, *, prompts=None, previous=None):
    return DECODE(network, image, attended, prompts=prompts)


SELECT, ENCODE, DECODE = MemoryBank.select, Network.encode_memory, Network.decode_masks
MISTAKES = {
    "maps in the wrong order": (MemoryBank, "select", _wrong_select, "click"),
    "pointers of the first frame alone": (MemoryBank, "select", _old_pointers, "click"),
    "prompted masks remembered soft": (Network, "encode_memory", _soft_masks, "click"),
    "a correction that forgets the mask": (Network, "decode_masks", _no_previous, "corrected by a click"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("both", ["21", "20"], indirect=True)
def test_the_comparison_sees_a_mistake(both, clip, monkeypatch, mistake):
    owner, verb, wrong, scene = MISTAKES[mistake]
    monkeypatch.setattr(owner, verb, wrong)
    assert distances(both, clip, SCENES[scene](clip.masks)).max() > 5 * TOLERANCE

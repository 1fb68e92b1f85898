from fractions import Fraction

import numpy as np
import pytest
import torch

from tests.parity.reference import moving_clip, random_state, small_model, small_spec
from tests.unit.kernels.test_native import needs_native
from trackmatte.errors import ModelError, PromptError
from trackmatte.tracker.model import open_model
from trackmatte.tracker.propagate import PropagateOptions, Propagator
from trackmatte.types import Box, Frame, Mask, Point

H, W = 120, 160


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return moving_clip(tmp_path_factory.mktemp("clip") / "frames", frames=20)


@pytest.fixture(scope="module")
def model():
    return small_model("21")[0]


@pytest.fixture(scope="module")
def blind_model():
    """Says of every frame that the object is absent."""
    spec = small_spec("21")
    state = random_state(spec, score=-20.0)
    return open_model(spec, state, source="test", device=torch.device("cpu"), dtype=torch.float32)


def propagator(model, names=(), **options):
    return Propagator(model, height=H, width=W, names=names, options=PropagateOptions(**options))


def run(model, clip, prompts, names=(), **options):
    tracker = propagator(model, names, **options)
    results = []
    for frame in clip.frames:
        tracker.seed(prompts.get(frame.index, []))
        results.append(tracker.step(frame))
    return results


def test_results_have_the_clips_size_times_and_names(model, clip):
    results = run(model, clip, {0: [Point(30, 45, name="b")]}, names=("a", "b"))
    for frame, result in zip(clip.frames, results, strict=True):
        assert (result.index, result.pts, result.time_base) == (frame.index, frame.pts, frame.time_base)
        assert result.names == ("a", "b")
        assert (result.masks.shape, result.masks.dtype) == ((2, H, W), np.bool_)
        assert (result.scores.shape, result.scores.dtype) == ((2,), np.float32)
        assert result.seeded.tolist() == [False, True]
        assert not result.masks[0].any()
        assert result.scores[0] == 0
        assert 0 < result.scores[1] < 1
        assert result.present[1] == result.masks[1].any()
    assert results[-1].present[1]


def test_before_the_first_prompt_nothing_is_tracked(model, clip):
    results = run(model, clip, {3: [Point(30, 45)]}, names=("1",))
    assert [bool(result.seeded[0]) for result in results[:5]] == [False, False, False, True, True]
    assert not any(result.masks.any() for result in results[:3])
    assert results[3].present[0]


def test_a_wait_before_the_first_prompt_changes_nothing(model, clip):
    """What comes after a prompt is the same however many frames went before it."""
    late = run(model, clip, {5: [Point(30, 45)]})
    tracker = propagator(model)
    tracker.seed([Point(30, 45)])
    for frame, expected in zip(clip.frames[5:], late[5:], strict=True):
        assert np.array_equal(tracker.step(frame).masks, expected.masks)


def test_an_absent_object_has_an_empty_mask(blind_model, clip):
    for result in run(blind_model, clip, {0: [Point(30, 45)]}):
        assert not result.masks.any()
        assert not result.present[0]
        assert result.scores[0] < 0.1
        assert result.seeded[0]


def test_a_given_mask_comes_back_and_is_present(blind_model, clip):
    result = run(blind_model, clip, {0: [Mask(clip.masks[0])]})[0]
    assert result.present[0]
    assert result.scores[0] > 0.99
    both, either = (result.masks[0] & clip.masks[0]).sum(), (result.masks[0] | clip.masks[0]).sum()
    assert both / either > 0.9


@pytest.mark.parametrize(("area", "filled"), [(0, False), (8, False), (8 * 64, True)])
def test_holes_are_filled_by_their_share_of_the_picture(model, clip, area, filled):
    """This network's masks are 32 x 32, a 64th of SAM 2's: a hole of 4 to 6 cells is one of 256 to 384 there."""
    mask = clip.masks[0].copy()
    rows, columns = np.nonzero(mask)
    middle = np.s_[rows.min() + 13 : rows.min() + 23, columns.min() + 13 : columns.min() + 23]
    mask[middle] = False
    first = run(model, clip, {0: [Mask(mask)]}, fill_hole_area=area)[0]
    assert first.masks[0][middle][4:6, 4:6].all() == filled


def test_objects_do_not_disturb_one_another(model, clip):
    """In one batch, with memories filled unequally, each is as if alone."""
    prompts = {
        0: [Point(30, 45, name="a")],
        4: [Box(110, 60, 150, 100, name="b")],
        7: [Point(60, 60, name="c"), Point(1, 1, False, name="c")],
        9: [Point(70, 50, name="a")],
    }
    together = run(model, clip, prompts, names=("a", "b", "c"), overlap="allow", fill_hole_area=0)
    for place, name in enumerate("abc"):
        own = {index: [p for p in group if p.name == name] for index, group in prompts.items()}
        alone = run(model, clip, own, names=(name,), fill_hole_area=0)
        for one, all_ in zip(alone, together, strict=True):
            assert (one.masks[0] != all_.masks[place]).mean() < 1e-3
            assert abs(one.scores[0] - all_.scores[place]) < 1e-4


def test_overlap(model, clip):
    prompts = {0: [Mask(clip.masks[0], name="a"), Mask(clip.masks[1], name="b")]}
    exclusive = run(model, clip, prompts)
    allowed = run(model, clip, prompts, overlap="allow")
    assert all(result.masks.sum(axis=0).max() <= 1 for result in exclusive)
    assert allowed[0].masks.sum(axis=0).max() == 2
    assert np.array_equal(exclusive[0].union(), allowed[0].union())


def test_a_removed_object_keeps_its_place_and_may_come_back(model, clip):
    tracker = propagator(model)
    tracker.seed([Point(30, 45, name="a"), Box(110, 60, 150, 100, name="b")])
    tracker.step(clip.frames[0])
    tracker.remove("a")
    gone = tracker.step(clip.frames[1])
    assert gone.names == ("a", "b")
    assert not gone.masks[0].any()
    assert gone.scores[0] == 0
    assert gone.present[1]
    tracker.seed([Point(30, 45, name="a")])
    assert tracker.step(clip.frames[0]).present[0]


def test_removing_what_is_not_there(model):
    with pytest.raises(PromptError, match="no object is named 'x'"):
        propagator(model, names=("a",)).remove("x")


def test_new_names_are_added_at_the_end(model, clip):
    tracker = propagator(model, names=("a",))
    tracker.seed([Point(30, 45, name="z"), Point(30, 45, name="a")])
    assert tracker.names == ("a", "z")
    assert tracker.step(clip.frames[0]).names == ("a", "z")


def test_refused_prompts_leave_no_trace(model, clip):
    tracker = propagator(model, names=("a",))
    with pytest.raises(PromptError, match="outside"):
        tracker.seed([Point(30, 45, name="a"), Point(500, 45, name="b")])
    assert tracker.names == ("a",)
    assert not tracker.step(clip.frames[0]).seeded.any()


def test_a_negative_click_alone_corrects_but_does_not_begin(model, clip):
    tracker = propagator(model)
    with pytest.raises(PromptError, match="only negative"):
        tracker.seed([Point(30, 45, False)])
    tracker.seed([Point(30, 45)])
    tracker.step(clip.frames[0])
    tracker.seed([Point(80, 100, False)])
    tracker.step(clip.frames[1])


def test_prompts_may_come_in_several_calls(model, clip):
    one, two = propagator(model), propagator(model)
    one.seed([Point(30, 45), Point(100, 20, False)])
    two.seed([Point(30, 45)])
    two.seed([Point(100, 20, False)])
    assert np.array_equal(one.step(clip.frames[0]).masks, two.step(clip.frames[0]).masks)


def test_a_mask_too_thin_for_the_network_is_not_lost(model):
    """One pixel column of a wide picture covers less than half a pixel of the network's square."""
    frame = Frame(0, 0, Fraction(1, 25), np.zeros((400, 1600, 3), np.uint8))
    mask = np.zeros((400, 1600), bool)
    mask[100:300, 800] = True
    tracker = Propagator(model, height=400, width=1600)
    tracker.seed([Mask(mask)])
    result = tracker.step(frame)
    assert result.scores[0] > 0.99


def test_frames_of_another_size_are_refused(model, clip):
    tracker = propagator(model)
    with pytest.raises(ValueError, match="frame of 50x40 in a run of 160x120"):
        tracker.step(clip.frames[0].with_image(np.zeros((40, 50, 3), np.uint8)))


def test_state_does_not_grow_with_the_clip(model, clip):
    tracker = propagator(model)
    tracker.seed([Point(30, 45)])
    sizes = set()
    for i in range(60):
        tracker.step(clip.frames[i % len(clip.frames)])
        sizes.add(tracker._bank.nbytes)
    assert len(sizes) == 1


def test_half_precision_follows_single_closely(clip):
    spec = small_spec("21")
    state = random_state(spec)
    masks = {}
    for dtype in (torch.float32, torch.bfloat16):
        half = open_model(spec, state, source="test", device=torch.device("cpu"), dtype=dtype)
        masks[dtype] = run(half, clip, {0: [Mask(clip.masks[0])]})[0].masks
    assert np.array_equal(masks[torch.float32], masks[torch.bfloat16])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_to_the_end(clip, dtype):
    spec = small_spec("20")
    half = open_model(spec, random_state(spec), source="test", device=torch.device("cpu"), dtype=dtype)
    results = run(half, clip, {0: [Point(30, 45)], 5: [Point(60, 50)]})
    assert all(np.isfinite(result.scores).all() for result in results)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_gpu_gives_the_masks_of_the_cpu(model, clip, dtype):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    spec = small_spec("21")
    cuda = open_model(spec, random_state(spec), source="test", device=torch.device("cuda"), dtype=dtype)
    prompts = {0: [Box(10, 30, 46, 66)]}
    share = 1e-3 if dtype == torch.float32 else 0.05
    for ours, theirs in zip(run(cuda, clip, prompts)[:5], run(model, clip, prompts)[:5], strict=True):
        assert (ours.masks != theirs.masks).mean() < share


@pytest.mark.parametrize(
    ("dtype", "bias", "remedy"),
    [
        pytest.param(torch.float16, 1e6, "choose precision fp32", marks=needs_native),
        (torch.float32, 3e38, "use other weights"),
    ],
)
def test_numbers_that_overflow_are_no_lost_object(clip, dtype, bias, remedy):
    spec = small_spec("21")
    state = random_state(spec)
    state["image_encoder.trunk.blocks.0.mlp.layers.0.bias"] += bias
    where = {"source": "test", "device": torch.device("cpu"), "compile": True}
    tracker = propagator(open_model(spec, state, dtype=dtype, **where))
    tracker.seed([Point(30, 45)])
    with pytest.raises(ModelError, match=f"overflow at frame 0 in {str(dtype)[6:]} with these weights; {remedy}"):
        tracker.step(clip.frames[0])
    if dtype == torch.float16:
        tracker = propagator(open_model(spec, state, dtype=torch.float32, **where))
        tracker.seed([Point(30, 45)])
        tracker.step(clip.frames[0])

"""The network's twins beside the modules of `sam2` that they stand in for, and whole runs in every mode."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.parity.reference import moving_clip, random_state, small_spec
from tests.unit.kernels.test_int8 import needs_int8
from tests.unit.kernels.test_native import needs_native
from tests.unit.kernels.tolerances import ENGINE_TOLERANCE, TOLERANCE, distance
from trackmatte.io.decode import open_clip
from trackmatte.kernels.int8 import QuantizedLinear
from trackmatte.kernels.linear import JudgedFeedforward, JudgedLinear
from trackmatte.kernels.precision import Products
from trackmatte.tracker import hiera, model, network
from trackmatte.tracker.architecture import build, read_config
from trackmatte.tracker.attention import EagerMemoryAttention, MemoryAttention
from trackmatte.tracker.hiera import SteadyHiera
from trackmatte.tracker.mask_decoder import EagerMaskDecoder, SteadyMaskDecoder
from trackmatte.tracker.memory import Memories
from trackmatte.tracker.memory_encoder import EagerMemoryEncoder, SteadyMemoryEncoder
from trackmatte.tracker.model import load_model, open_model
from trackmatte.tracker.network import PointPrompts
from trackmatte.tracker.propagate import Propagator
from trackmatte.tracker.twins import use_twins
from trackmatte.types import Box, Point

CPU = torch.device("cpu")
BUNNY = "samples/bunny.mp4"


@pytest.fixture(scope="module")
def modules():
    spec = small_spec("21")
    modules = build(read_config(spec.config))
    modules.load_state_dict(random_state(spec))
    return modules


def remembered(modules, *, objects, maps, side, cell=1):
    """Arguments of a memory attention, of random numbers; `cell`: neighbours that are alike."""
    torch.manual_seed(0)
    width, narrow = modules.hidden_dim, modules.mem_dim
    smooth = torch.randn(objects * maps, narrow, side // cell, side // cell)
    smooth = smooth.repeat_interleave(cell, dim=2).repeat_interleave(cell, dim=3)
    return (
        torch.randn(1, side * side, width),
        torch.randn(1, side * side, width),
        smooth.flatten(2).mT.unflatten(0, (objects, maps)),
        torch.randn(maps, 1, narrow).expand(-1, side * side, -1),
        torch.randn(objects, 6, narrow),
        torch.randn(objects, 6, narrow),
    )


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("objects", "maps", "side"), [(1, 7, 8), (3, 2, 5), (2, 7, 33)])
def test_memory_attention_gives_what_that_of_sam2_gives(modules, dtype, objects, maps, side):
    inputs = remembered(modules, objects=objects, maps=maps, side=side)
    expected = EagerMemoryAttention(modules.memory_attention)(*inputs)
    found = MemoryAttention(modules.memory_attention, side, dtype=dtype)(*inputs)
    assert found.dtype == torch.float32
    assert distance(found, expected) < 5 * TOLERANCE[dtype]
    assert expected.std() > 0.1


@torch.inference_mode()
@pytest.mark.parametrize(("objects", "maps", "side"), [(1, 7, 8), (3, 2, 5), (2, 7, 33)])
def test_memory_attention_by_native_kernels_gives_what_that_of_sam2_gives(engine, modules, objects, maps, side):
    inputs = remembered(modules, objects=objects, maps=maps, side=side)
    expected = EagerMemoryAttention(modules.memory_attention)(*inputs)
    found = MemoryAttention(modules.memory_attention, side, dtype=torch.float32, products=Products(native=engine))(
        *inputs
    )
    assert 0 < distance(found, expected) < 2 * ENGINE_TOLERANCE[engine]


@torch.inference_mode()
def test_a_hiera_and_a_memory_encoder_by_native_kernels_give_what_those_of_sam2_give(engine, modules):
    torch.manual_seed(0)
    eager = modules.image_encoder.trunk
    twin = SteadyHiera(copy.deepcopy(eager), modules.image_size, torch.float32, products=Products(native=engine))
    for x in torch.randn(2, 1, 3, modules.image_size, modules.image_size):
        for found, expected in zip(twin(x), eager(x), strict=True):
            assert 0 < distance(found, expected) < 2 * ENGINE_TOLERANCE[engine]
    inputs = looked_at(modules, objects=2, side=9)
    found = SteadyMemoryEncoder(modules.memory_encoder, products=Products(native=engine))(*inputs)
    assert 0 < distance(found, EagerMemoryEncoder(modules.memory_encoder)(*inputs)) < 2 * ENGINE_TOLERANCE[engine]


@needs_native
def test_fast_mode_in_lanes_has_layers_in_8_bits(monkeypatch):
    monkeypatch.setattr(model, "engine_of", lambda dtype: "float16 lanes")
    spec = small_spec("21")
    how = {"source": "test", "device": CPU, "dtype": torch.float16, "compile": True}

    def judged(spec, speed):
        modules = open_model(spec, random_state(spec), speed=speed, **how).network._modules
        return [sum(isinstance(part, kind) for part in modules.modules()) for kind in (JudgedLinear, JudgedFeedforward)]

    assert min(judged(spec, "fast")) > 0
    assert judged(spec, "exact") == judged(replace(spec, int8=False), "fast") == [0, 0]


@needs_int8
@torch.inference_mode()
@pytest.mark.parametrize(("objects", "maps", "side"), [(1, 7, 8), (2, 7, 33)])
def test_memory_attention_in_8_bits_is_near(modules, objects, maps, side):
    inputs = remembered(modules, objects=objects, maps=maps, side=side)
    exact = MemoryAttention(modules.memory_attention, side, dtype=torch.float32)(*inputs)
    attention = MemoryAttention(modules.memory_attention, side, dtype=torch.float32, products=Products(int8=True))
    first, second = attention(*inputs), attention(*inputs)
    assert 0 < distance(first, exact) < 0.05
    assert 0 < distance(second, exact) < 0.05
    assert not torch.equal(first, second), "the feedforward layers settled for 8 bits"


@needs_int8
@torch.inference_mode()
def test_a_hiera_in_8_bits_is_near(modules):
    torch.manual_seed(0)
    x = torch.randn(1, 3, modules.image_size, modules.image_size)
    eager = modules.image_encoder.trunk
    twin = SteadyHiera(copy.deepcopy(eager), modules.image_size, torch.float32, products=Products(int8=True))
    first = [level.clone() for level in twin(x)]
    for judging, settled, expected in zip(first, twin(x), eager(x), strict=True):
        assert distance(judging, expected) < 5 * TOLERANCE[torch.float32]
        assert 1e-4 < distance(settled, expected) < 0.05


def looked_at(modules, *, objects, side):
    """Arguments of a memory encoder: random features, and masks of blots, scaled as the model scales them."""
    torch.manual_seed(0)
    blots = torch.randn(objects, 1, side, side).repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)
    return torch.randn(1, modules.hidden_dim, side, side), 20 * torch.sigmoid(5 * blots) - 10


@torch.inference_mode()
@pytest.mark.parametrize(("objects", "side"), [(1, 8), (3, 5), (2, 33)])
def test_the_memory_encoder_gives_what_that_of_sam2_gives(modules, objects, side):
    """Of a second size too: the convolutions are laid out anew."""
    twin = SteadyMemoryEncoder(modules.memory_encoder)
    for inputs in (looked_at(modules, objects=1, side=4), looked_at(modules, objects=objects, side=side)):
        expected = EagerMemoryEncoder(modules.memory_encoder)(*inputs)
        found = twin(*inputs)
        assert found.dtype == torch.float32
        assert distance(found, expected) < 5 * TOLERANCE[torch.float32]
        assert expected.std() > 0.01


@needs_int8
@torch.inference_mode()
def test_the_memory_encoder_in_8_bits_is_near(modules):
    inputs = looked_at(modules, objects=2, side=33)
    exact = EagerMemoryEncoder(modules.memory_encoder)(*inputs)
    twin = SteadyMemoryEncoder(modules.memory_encoder, products=Products(int8=True))
    assert distance(twin(*inputs), exact) < 5 * TOLERANCE[torch.float32], "judging"
    assert 1e-6 < distance(twin(*inputs), exact) < 0.02


def seen(modules, *, objects, side, clicks):
    """Arguments of a mask decoder, of random numbers."""
    torch.manual_seed(0)
    width = modules.hidden_dim
    image = torch.randn(objects, side * side, width).mT.unflatten(2, (side, side))
    levels = [torch.randn(1, width, scale * side, scale * side) for scale in (4, 2)]
    dense = torch.randn(objects, width, side, side) if clicks else torch.randn(1, width, 1, 1).expand_as(image)
    return (image, torch.randn(objects, clicks + 1, width), dense), levels


@torch.inference_mode()
@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize(("objects", "clicks"), [(1, 0), (3, 7)])
def test_the_mask_decoder_gives_what_that_of_sam2_gives(modules, objects, clicks, several):
    side = modules.image_size // 16
    inputs, levels = seen(modules, objects=objects, side=side, clicks=clicks)
    where = modules.sam_prompt_encoder.get_dense_pe()
    eager, twin = (kind(modules.sam_mask_decoder, where) for kind in (EagerMaskDecoder, SteadyMaskDecoder))
    for _ in range(2):
        expected = eager(*inputs, eager.fine(*levels), several=several)
        found = twin(*inputs, twin.fine(*levels), several=several)
        for its, other in zip(found, expected, strict=True):
            assert distance(its, other) < 5 * TOLERANCE[torch.float32]
            assert other.abs().max() > 0.01


def quantized_layers(spec, **options):
    model = open_model(spec, random_state(spec), source="test", device=CPU, dtype=torch.float32, **options)
    return sum(isinstance(module, QuantizedLinear) for module in model.network._modules.modules())


@needs_int8
def test_8_bits_are_for_fast_mode_in_the_precision_that_is_chosen_automatically():
    spec = small_spec("21")
    assert quantized_layers(spec, careful=False, speed="fast")
    assert quantized_layers(spec, careful=False, speed="fast", compile=True), "where nothing can be compiled, too"
    assert not quantized_layers(spec, careful=False, speed="exact")
    assert not quantized_layers(spec, careful=True, speed="fast")
    assert not quantized_layers(replace(spec, int8=False), careful=False, speed="fast")


@torch.inference_mode()
def test_pooled_memory_is_near_where_neighbours_are_alike(modules):
    inputs = remembered(modules, objects=2, maps=3, side=8, cell=2)
    pooled = list(inputs)
    pooled[2] = inputs[2].unflatten(2, (8, 8))[:, :, ::2, ::2].flatten(2, 3)
    pooled[3] = inputs[3][:, ::4]
    every = MemoryAttention(modules.memory_attention, 8, dtype=torch.float32)(*inputs)
    means = MemoryAttention(modules.memory_attention, 8, pool=2, dtype=torch.float32)(*pooled)
    assert 0 < distance(means, every) < 0.05
    uncounted = MemoryAttention(modules.memory_attention, 8, pool=2, dtype=torch.float32)
    uncounted._count = 1.0
    assert distance(uncounted(*pooled), every) > 2 * distance(means, every)


@torch.inference_mode()
@pytest.mark.parametrize("strip", [1, hiera.STRIP])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_hiera_gives_what_that_of_sam2_gives(monkeypatch, modules, dtype, strip):
    """For the second picture too, whose maps take the first one's place."""
    monkeypatch.setattr(hiera, "STRIP", strip)
    torch.manual_seed(0)
    eager = modules.image_encoder.trunk
    twin = SteadyHiera(copy.deepcopy(eager), modules.image_size, dtype)
    for x in torch.randn(2, 1, 3, modules.image_size, modules.image_size):
        for found, expected in zip(twin(x), eager(x), strict=True):
            assert distance(found, expected) < 5 * TOLERANCE[dtype]


def test_what_is_not_compiled_on_a_cpu_is_said(caplog):
    spec = small_spec("21")
    how = {"source": "test", "device": CPU, "compile": True}
    open_model(spec, random_state(spec), dtype=torch.float32, **how)
    open_model(spec, random_state(spec), dtype=torch.float32, careful=False, **how)
    assert caplog.messages == [
        "nothing is compiled: on a CPU that is for half formats; choose precision auto or fp16"
    ], "the second is what `auto` falls back to, and has said why"


MODES = {
    "float32 in another order": {"dtype": torch.float32, "careful": False},
    "bfloat16": {"dtype": torch.bfloat16},
    "fast": {"dtype": torch.float32, "careful": False, "speed": "fast"},
    "fast and careful": {"dtype": torch.float32, "speed": "fast"},
    "fast in bfloat16": {"dtype": torch.bfloat16, "speed": "fast"},
    "compiled float16": {"dtype": torch.float16, "compile": True},
    "fast in compiled float16": {"dtype": torch.float16, "compile": True, "speed": "fast"},
    "compiled bfloat16": {"dtype": torch.bfloat16, "compile": True},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("version", ["21", "20"])
def test_every_mode_tracks_objects_that_join_and_are_corrected(tmp_path, version, mode):
    spec = small_spec(version)
    model = open_model(spec, random_state(spec), source="test", device=CPU, **MODES[mode])
    tracker = Propagator(model, height=120, width=160, names=("a", "b"))
    prompts = {0: [Point(30, 45, name="a")], 4: [Box(90, 60, 130, 95, name="b")], 9: [Point(60, 50, name="a")]}
    for frame in moving_clip(tmp_path / "frames", frames=12).frames:
        tracker.seed(prompts.get(frame.index, []))
        result = tracker.step(frame)
        assert np.isfinite(result.scores).all()
    assert result.seeded.all()


def bunny_masks(frames=16, **options):
    """The rabbit, followed by the embedded model: (frames, H, W) bool."""
    model = load_model(device="cpu", **options)
    with open_clip(BUNNY) as clip:
        tracker = Propagator(model, height=clip.info.height, width=clip.info.width)
        tracker.seed([Point(370, 420)])
        return np.stack([tracker.step(frame).masks[0] for frame, _ in zip(clip, range(frames), strict=False)])


@pytest.fixture(scope="module")
def careful_masks():
    return bunny_masks(precision="fp32")


@pytest.mark.parametrize("options", [{}, {"precision": "bf16"}], ids=str)
def test_exact_masks_of_a_real_clip_agree_with_those_of_careful_float32(careful_masks, options):
    assert_alike(bunny_masks(**options), careful_masks)


def test_compiled_masks_of_a_real_clip_agree_with_those_of_careful_float32(monkeypatch, careful_masks, engine):
    monkeypatch.setattr(model, "engine_of", lambda dtype: engine)
    assert_alike(bunny_masks(precision="fp16", compile=True), careful_masks)


def assert_alike(masks, careful_masks):
    both = (masks & careful_masks).sum(axis=(1, 2))
    either = (masks | careful_masks).sum(axis=(1, 2))
    assert either.min() > 1000
    assert (both / either).min() >= 0.99


def by_other_devices_twins(monkeypatch):
    """From now on modules get the twins that they would get on a device that is no CPU."""

    def use(modules, options):
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(type(modules), "device", torch.device("meta"))
            use_twins(modules, options)

    monkeypatch.setattr(network, "use_twins", use)


@torch.inference_mode()
def test_the_twins_of_other_devices_give_what_those_of_cpus_give(monkeypatch):
    spec = small_spec("21")
    how = {"source": "test", "device": CPU, "dtype": torch.float32}
    nets = [open_model(spec, random_state(spec), careful=careful, **how).network for careful in (True, False)]
    by_other_devices_twins(monkeypatch)
    nets.append(open_model(spec, random_state(spec), careful=False, **how).network)
    assert [type(net._modules.sam_mask_decoder) for net in nets] == [
        EagerMaskDecoder,
        SteadyMaskDecoder,
        EagerMaskDecoder,
    ]
    torch.manual_seed(0)
    side = nets[0].image_size
    pixels, prompted = torch.randn(1, 3, side, side), [True, True]
    clicks = PointPrompts(torch.rand(2, 1, 2) * side, torch.ones(2, 1, dtype=torch.int32))
    made = []
    for net in nets:
        image = net.encode_image(pixels)
        first = net.decode_masks(image, net.attend_memory(image, None).expand(2, -1, -1, -1), prompts=clicks)
        maps = net.encode_memory(image, first, prompted=prompted)
        memories = Memories(maps[:, None].expand(-1, 2, -1, -1), (0, 6), first.pointers[:, None], ((1,), (1,)), 16)
        later = net.decode_masks(image, net.attend_memory(image, memories))
        made.append((image.top, first.logits, first.scores, first.pointers, later.logits, later.scores))
    for found in made[1:]:
        for its, expected in zip(found, made[0], strict=True):
            assert distance(its, expected) < 1e-3

from collections import deque

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from trackmatte.tracker.postprocess import MaskMaker, SentMasks, fill_holes, small_holes


def filled_by_hand(plane, area):
    """Flood fill, pixel by pixel: (h, w) logits with small 8-connected regions of <= 0 set to 0.1."""
    out, seen = plane.copy(), np.zeros(plane.shape, bool)
    for start in zip(*np.nonzero(plane <= 0), strict=True):
        if seen[start]:
            continue
        region, queue = [], deque([start])
        seen[start] = True
        while queue:
            y, x = queue.popleft()
            region.append((y, x))
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    near = (y + dy, x + dx)
                    inside = 0 <= near[0] < plane.shape[0] and 0 <= near[1] < plane.shape[1]
                    if inside and not seen[near] and plane[near] <= 0:
                        seen[near] = True
                        queue.append(near)
        if len(region) <= area:
            for pixel in region:
                out[pixel] = 0.1
    return out


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("area", [1, 8])
def test_holes_are_those_of_a_flood_fill(share, area):
    logits = torch.from_numpy(np.random.default_rng(1).random((3, 1, 37, 41)).astype(np.float32)) - (1 - share)
    expected = np.stack([filled_by_hand(plane, area) for plane in logits[:, 0].numpy()])
    assert np.array_equal(fill_holes(logits, area)[:, 0].numpy(), expected)
    assert share < 0.5 or not np.array_equal(expected, logits[:, 0].numpy())


def snake(side):
    """A region that winds, one pixel wide, as far from its one end to the other as there can be."""
    plane = np.ones((side, side), np.float32)
    plane[1, 1:8] = plane[2:4, 7] = plane[4, 3:7] = -1
    return plane


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("area", [1, 2, 8, 14])
def test_holes_found_without_waiting_are_those_of_a_flood_fill(share, area):
    random = np.random.default_rng(2).random((3, 1, 37, 41)).astype(np.float32)
    logits = torch.from_numpy(random) - (1 - share)
    filled = logits.masked_fill(small_holes(logits, area), 0.1)
    expected = np.stack([filled_by_hand(plane, area) for plane in logits[:, 0].numpy()])
    assert np.array_equal(filled[:, 0].numpy(), expected)


@pytest.mark.parametrize("turned", [0, 1, 2, 3])
@pytest.mark.parametrize(("area", "pixels"), [(12, 0), (13, 13), (40, 13)])
def test_a_winding_hole_is_found_as_a_whole_or_not_at_all(turned, area, pixels):
    """It has 13 pixels; numbers go from one end to the other however it lies."""
    plane = np.rot90(snake(12), turned).copy()
    assert (plane < 0).sum() == 13
    holes = small_holes(torch.from_numpy(plane)[None, None], area)
    assert holes.sum() == pixels


def test_zero_counts_as_background_and_large_holes_stay():
    logits = torch.ones(1, 1, 12, 12)
    logits[0, 0, 2:5, 2:5] = -1  # 9 pixels
    logits[0, 0, 8:10, 6:10] = 0  # 8 pixels
    filled = fill_holes(logits, 8)
    assert (filled[0, 0, 2:5, 2:5] == -1).all()
    assert (filled[0, 0, 8:10, 6:10] == 0.1).all()


def test_nothing_to_fill_gives_the_same_tensor():
    absent = torch.full((1, 1, 8, 8), -1024.0)
    assert fill_holes(absent, 8) is absent
    holes = torch.ones(1, 1, 8, 8)
    holes[0, 0, 3, 3] = -1
    assert fill_holes(holes, 0) is holes


def to_masks(logits, *, height, width, overlap):
    """Two passes through the same working space, into every other place; gives the second."""
    maker, count = MaskMaker(height, width), len(logits)
    for values in (-logits, logits):
        out = np.zeros((2 * count, height, width), bool)
        maker(values, overlap, out, range(0, 2 * count, 2))
        assert not out[1::2].any()
    return out[::2]


def sent(logits, **options):
    """What comes back from a device, of objects that are all present."""
    masks, scores = SentMasks(logits, torch.ones(len(logits)), **options).read()
    assert (scores == torch.ones(1).sigmoid().item()).all()
    return masks


def two_objects():
    """Two (1, 8, 8) maps: 0 claims the left six columns with 1, 1 the right six with 2."""
    logits = torch.full((2, 1, 8, 8), -5.0)
    logits[0, 0, :, :6] = 1
    logits[1, 0, :, 2:] = 2
    return logits


def test_exclusive_gives_a_pixel_to_the_surest_object():
    masks = to_masks(two_objects(), height=8, width=8, overlap="exclusive")
    assert masks.dtype == bool
    assert masks[0].sum() == 16
    assert masks[1].sum() == 48
    assert not (masks[0] & masks[1]).any()


def test_allow_keeps_both():
    masks = to_masks(two_objects(), height=8, width=8, overlap="allow")
    assert masks[0].sum() == masks[1].sum() == 48


def test_equal_claims_go_to_the_first():
    logits = torch.full((3, 1, 8, 8), 10.0)
    masks = to_masks(logits, height=20, width=30, overlap="exclusive")
    assert masks.sum(axis=(1, 2)).tolist() == [600, 0, 0]
    assert np.array_equal(masks, sent(logits, height=20, width=30, overlap="exclusive"))


@pytest.mark.parametrize(("height", "width"), [(9, 31), (101, 64), (8, 8), (5, 3), (360, 640)])
@pytest.mark.parametrize("overlap", ["exclusive", "allow"])
def test_masks_are_where_enlarged_logits_are_positive_and_highest(height, width, overlap):
    """OpenCV's enlarging and torch's differ by rounding, so only where a decision is close."""
    logits = 5 * torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    size = {"height": height, "width": width}
    large = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)[:, 0].numpy()
    expected = large > 0
    if overlap == "exclusive":
        expected &= large == large.max(axis=0)
    assert np.array_equal(sent(logits, **size, overlap=overlap), expected)
    second, first = np.sort(large, axis=0)[-2:]
    close = (np.abs(large) < 1e-4).any(axis=0) | (first - second < 1e-4)
    assert close.mean() < 0.01
    assert np.array_equal(to_masks(logits, **size, overlap=overlap)[:, ~close], expected[:, ~close])


@pytest.mark.parametrize(("height", "width"), [(9, 31), (8, 8), (5, 3)])
def test_masks_come_back_with_their_scores_and_of_absent_objects_empty(height, width):
    """In bits, also where a row or a picture has no whole number of bytes."""
    logits = 5 * torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    scores = torch.tensor([2.0, -3.0, 0.0])
    masks, probabilities = SentMasks(logits, scores, height=height, width=width, overlap="allow").read()
    assert (masks.dtype, masks.shape) == (np.bool_, (3, height, width))
    assert masks[0].any()
    assert not masks[1:].any()
    assert np.array_equal(probabilities, scores.sigmoid().numpy())

from collections import deque

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from trackmatte.tracker.postprocess import MaskMaker, fill_holes, masks_on_device


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
    assert np.array_equal(masks, masks_on_device(logits, height=20, width=30, overlap="exclusive"))


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
    assert np.array_equal(masks_on_device(logits, **size, overlap=overlap), expected)
    second, first = np.sort(large, axis=0)[-2:]
    close = (np.abs(large) < 1e-4).any(axis=0) | (first - second < 1e-4)
    assert close.mean() < 0.01
    assert np.array_equal(to_masks(logits, **size, overlap=overlap)[:, ~close], expected[:, ~close])

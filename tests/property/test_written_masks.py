"""Masks that are written come back, whatever they are and wherever a file is cut."""

from __future__ import annotations

import json
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from tests.unit.io.written import clip_info, object_masks
from trackmatte.errors import InputError
from trackmatte.io.coco import CocoWriter
from trackmatte.io.images_out import index_map
from trackmatte.io.rle import bounding_box, decode_mask, encode_masks
from trackmatte.io.tracks import TracksWriter, read_tracks
from trackmatte.types import ObjectMasks

SIDES = st.integers(1, 12)
NAMES = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=8)


@st.composite
def runs(draw: st.DrawFn) -> list[ObjectMasks]:
    """The masks of some frames with the same objects."""
    height, width = draw(SIDES), draw(SIDES)
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    count = draw(st.integers(0, 4))
    first, step = draw(st.integers(-(10**9), 10**9)), draw(st.integers(1, 10**6))
    shape = (len(names), height, width)
    return [
        object_masks(
            index,
            draw(arrays(np.bool_, shape)),
            names=names,
            pts=first + index * step,
            scores=draw(arrays(np.float32, len(names), elements=st.floats(0, 1, width=32))),
            present=draw(arrays(np.bool_, len(names))),
            seeded=draw(arrays(np.bool_, len(names))),
        )
        for index in range(count)
    ]


def write(path: Path, run: list[ObjectMasks]) -> None:
    names = run[0].names if run else ()
    height, width = run[0].masks.shape[1:] if run else (1, 1)
    clip = clip_info(size=(width, height), time_base=Fraction(1, 12800))
    writer = TracksWriter(path, clip=clip, model="nano", prompts=(), names=names)
    for masks in run:
        writer.write(masks)
    writer.finish()


def same(one: ObjectMasks, other: ObjectMasks) -> bool:
    return (
        (one.index, one.pts, one.time_base, one.names) == (other.index, other.pts, other.time_base, other.names)
        and np.array_equal(one.masks, other.masks)
        and np.array_equal(one.present, other.present)
        and np.array_equal(one.seeded, other.seeded)
        and np.allclose(one.scores, other.scores, atol=1e-6)
    )


@settings(deadline=None, max_examples=60)
@given(runs())
def test_tracks_come_back(run: list[ObjectMasks]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        write(path, run)
        found = list(read_tracks(path))
    assert len(found) == len(run)
    assert all(same(one, other) for one, other in zip(found, run, strict=True))


@settings(deadline=None, max_examples=60)
@given(runs(), st.data())
def test_tracks_cut_anywhere_are_read_to_their_last_whole_line(run: list[ObjectMasks], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        write(path, run)
        whole = path.read_bytes()
        header = whole.index(b"\n") + 1
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        if cut < header - 1:
            with pytest.raises(InputError):
                read_tracks(path)
            return
        found = list(read_tracks(path))
    lines = whole[header:cut].count(b"\n")
    assert lines <= len(found) <= lines + 1  # a line that lacks nothing but its end is whole
    assert all(same(one, other) for one, other in zip(found, run, strict=False))


@given(arrays(np.bool_, st.tuples(st.integers(0, 3), SIDES, SIDES)))
def test_runs_come_back(masks: npt.NDArray[np.bool_]) -> None:
    encoded = json.loads(json.dumps(encode_masks(masks)))
    assert len(encoded) == len(masks)
    for rle, mask in zip(encoded, masks, strict=True):
        assert np.array_equal(decode_mask(rle), mask)
        assert coco.area(rle) == mask.sum()
        assert bounding_box(mask) == coco.toBbox(rle).astype(int).tolist() or not mask.any()


@given(st.text(st.characters(codec="ascii"), max_size=12), SIDES, SIDES)
def test_any_text_as_runs_is_a_mask_or_refused(counts: str, height: int, width: int) -> None:
    try:
        mask = decode_mask({"size": [height, width], "counts": counts})
    except ValueError:
        return
    assert mask.shape == (height, width)


@settings(deadline=None, max_examples=40)
@given(runs())
def test_json_of_coco_holds_every_mask(run: list[ObjectMasks]) -> None:
    names = run[0].names if run else ()
    height, width = run[0].masks.shape[1:] if run else (1, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        writer = CocoWriter(path, clip=clip_info(size=(width, height)), names=names)
        for masks in run:
            writer.write(masks)
        writer.finish()
        data = json.loads(path.read_text(encoding="utf-8"))
    assert [category["name"] for category in data["categories"]] == list(names)
    for i, annotation in enumerate(data["annotations"]):
        assert len(annotation["segmentations"]) == len(run)
        for rle, masks in zip(annotation["segmentations"], run, strict=True):
            expected = masks.masks[i] & masks.present[i]
            assert np.array_equal(expected, decode_mask(rle) if rle else np.zeros((height, width), np.bool_))


@given(arrays(np.bool_, st.tuples(st.integers(1, 4), SIDES, SIDES)), st.data())
def test_an_index_map_shows_an_object_wherever_there_is_one(masks: npt.NDArray[np.bool_], data: st.DataObject) -> None:
    scores = data.draw(arrays(np.float32, len(masks), elements=st.floats(0, 1, width=32)))
    picture = index_map(object_masks(0, masks, scores=scores))
    assert np.array_equal(picture > 0, masks.any(axis=0))
    for y, x in zip(*np.nonzero(picture), strict=True):
        shown = picture[y, x] - 1
        assert masks[shown, y, x]
        assert scores[shown] == scores[masks[:, y, x]].max()

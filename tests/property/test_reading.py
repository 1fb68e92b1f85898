"""Properties of reading that hold for any clip."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.assets.make_assets import make_clip, number
from trackmatte.io.convert import displayed_size, stretched
from trackmatte.io.decode import open_clip
from trackmatte.io.images import natural_key
from trackmatte.io.integrity import cut_short
from trackmatte.io.prefetch import Worker, prefetch
from trackmatte.io.reader import Damaged, Picture, timed
from trackmatte.io.timing import Moves
from trackmatte.types import ClipInfo, Frame

IMAGE = np.zeros((1, 1, 3), np.uint8)
INFO = ClipInfo("a.mp4", 1, 1, 1, 1, rate=Fraction(25), time_base=Fraction(1, 1000))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=12), st.integers(0, 3000), st.sampled_from(["mp4", "mkv"]))
def test_times_written_are_times_read(steps: list[int], start: int, suffix: str) -> None:
    pts = [start + sum(steps[:i]) for i in range(len(steps))]
    with tempfile.TemporaryDirectory() as folder:
        path = make_clip(
            Path(folder) / f"a.{suffix}", frames=len(pts), size=(40, 32), pts=pts, time_base=Fraction(1, 1000)
        )
        with open_clip(path) as clip:
            frames = list(clip)
            assert clip.info.start_seconds == Fraction(pts[0], 1000)
            assert clip.info.frames == len(pts)
    assert [frame.pts_seconds for frame in frames] == [Fraction(tick, 1000) for tick in pts]
    assert [number(frame.image) for frame in frames] == list(range(len(pts)))


@given(st.lists(st.none() | st.integers(-100, 100), max_size=30), st.booleans())
def test_any_times_become_increasing_ones(pts: list[int | None], torn: bool) -> None:
    def pictures() -> Iterator[Picture]:
        yield from (Picture(tick, None, IMAGE) for tick in pts)
        if torn:
            raise Damaged("torn")

    frames: list[Frame] = []
    with pytest.raises(Damaged) if torn else nullcontext():
        frames.extend(timed(pictures(), INFO, Moves()))
    assert [frame.index for frame in frames] == list(range(len(pts)))
    assert all(later.pts == earlier.pts + (earlier.duration or 0) for earlier, later in pairwise(frames))
    assert all((frame.duration or 0) > 0 for frame in frames)
    known = [tick for tick in pts if tick is not None]
    if len(known) == len(pts) and all(b > a for a, b in pairwise(known)):
        assert [frame.pts for frame in frames] == known


@given(
    st.integers(1, 5000), st.integers(1, 5000), st.fractions(Fraction(1, 10), 10), st.sampled_from([0, 90, 180, 270])
)
def test_displayed_pictures_never_lose_pixels(width: int, height: int, aspect: Fraction, rotation: int) -> None:
    shown = displayed_size(width, height, pixel_aspect=aspect, rotation=rotation)
    stored = shown[::-1] if rotation in (90, 270) else shown
    assert stored[0] >= width
    assert stored[1] >= height
    assert stored[0] == width or stored[1] == height
    assert abs(stored[0] / stored[1] - width * aspect / height) <= width * aspect / height / min(stored) + 1e-9


@given(st.lists(st.integers(0, 10**6), min_size=1, unique=True))
def test_names_sort_by_their_numbers(values: list[int]) -> None:
    files = [Path(f"shot_{value}.png") for value in values]
    assert sorted(files, key=natural_key) == [Path(f"shot_{value}.png") for value in sorted(values)]


@given(st.lists(st.text("ab019.-_", min_size=1, max_size=8), unique=True))
def test_any_names_sort(names: list[str]) -> None:
    first = sorted(map(Path, names), key=natural_key)
    assert sorted(map(Path, names[::-1]), key=natural_key) == first


@given(st.integers(0, 5000), st.integers(50000, 65535), st.lists(st.integers(0, 65535), min_size=1, max_size=20))
def test_stretching_reaches_black_and_white_and_keeps_order(black: int, white: int, values: list[int]) -> None:
    values = [black, white, *values]
    image = np.array(values, np.uint16).reshape(1, -1, 1)
    out = stretched(image, black=black, white=white).reshape(-1)
    assert (out[0], out[1]) == (0, 65535)
    order = np.argsort(values)
    assert np.all(np.diff(out[order].astype(int)) >= 0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    codecs = {"mp4": "libx264", "mkv": "libx264", "webm": "libvpx-vp9", "avi": "mpeg4"}
    return {name: make_clip(folder / f"a.{name}", frames=6, codec=codec).read_bytes() for name, codec in codecs.items()}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_cut_is_noticed(whole: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(whole)))
    content = whole[name]
    keep = data.draw(st.integers(128, len(content)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{name}"
        path.write_bytes(content[:keep])
        assert (cut_short(path) is None) == (keep == len(content) or (name == "mp4" and _at_box(content, keep)))


def _at_box(content: bytes, keep: int) -> bool:
    """Whether a cut falls between two boxes, or leaves less of one than its header: the sizes can't tell that."""
    at = 0
    while at < keep:
        if at + 8 > keep:
            return True
        at += int.from_bytes(content[at : at + 4], "big")
    return at == keep


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 20), st.integers(1, 6), st.integers(0, 25), st.none() | st.integers(0, 20))
def test_prefetch_is_the_iterable(count: int, depth: int, take: int, fail_at: int | None) -> None:
    def produce() -> Iterator[int]:
        for i in range(count):
            if i == fail_at:
                raise KeyError(i)
            yield i

    good = count if fail_at is None else min(count, fail_at)
    seen: list[int] = []
    failed = False
    with prefetch(produce(), depth=depth) as items:
        try:
            for _, item in zip(range(take), items, strict=False):
                seen.append(item)
        except KeyError:
            failed = True
    assert seen == list(range(min(take, good)))
    assert failed == (fail_at is not None and fail_at < count and take > good)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(), max_size=20), st.integers(1, 5))
def test_worker_does_everything_in_order(items: list[int], depth: int) -> None:
    done: list[int] = []
    with Worker(done.append, depth=depth) as worker:
        for item in items:
            worker.put(item)
        worker.finish()
    assert done == items

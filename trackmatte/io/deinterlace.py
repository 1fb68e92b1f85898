"""One progressive frame for each interlaced one, at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import av
from av.filter import Graph

OPTIONS = "mode=send_frame:parity=auto:deint=interlaced"
"""Of the filter bwdif: a frame for each frame, fields in the order that each one is marked with."""

LEAST_SIDE = 16
"""Pixels; the filter refuses pictures of a few rows or columns, which pass as they are."""

_Waiting = deque[av.VideoFrame | None]


def deinterlaced(frames: Iterator[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, av.VideoFrame]]:
    """Deinterlaces the frames that are marked as interlaced with FFmpeg's bwdif; the others pass as they are.

    Any frame may be the first that is marked, or the last, and the order of fields may change. Up to the first marked
    one nothing is filtered or held back.

    Args:
        frames: decoded frames in presentation order.

    Yields:
        Each frame as it is to be shown, and the decoded one that it was made from, which has its `pts` and
        `duration`. From the first marked frame on, a frame comes out when the next one is in, since the filter looks
        at both neighbours; the last one also where `frames` ends in an error.
    """
    filtering: Graph | None = None
    before: av.VideoFrame | None = None
    waiting: _Waiting = deque()
    try:
        for frame in frames:
            if before is not None and _shape(before) != _shape(frame):
                yield from _finished(filtering, waiting)
                filtering = before = None
            if filtering is None and frame.interlaced_frame and min(frame.width, frame.height) >= LEAST_SIDE:
                filtering = _graph(frame)
                if before is not None:
                    waiting.append(None)  # it was handed out already, and is here as a neighbour
                    filtering.vpush(before)
            if filtering is None:
                yield frame, frame
            else:
                waiting.append(frame)
                filtering.vpush(frame)
                yield from _ready(filtering, waiting)
            before = frame
    except Exception:
        yield from _finished(filtering, waiting)
        raise
    yield from _finished(filtering, waiting)


def _shape(frame: av.VideoFrame) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name


def _graph(frame: av.VideoFrame) -> Graph:
    graph = Graph()
    graph.link_nodes(
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base),
        graph.add("bwdif", OPTIONS),
        graph.add("buffersink"),
    ).configure()
    return graph


def _finished(graph: Graph | None, waiting: _Waiting) -> Iterator[tuple[av.VideoFrame, av.VideoFrame]]:
    if graph is not None:
        graph.vpush(None)
        yield from _ready(graph, waiting)


def _ready(graph: Graph, waiting: _Waiting) -> Iterator[tuple[av.VideoFrame, av.VideoFrame]]:
    while waiting:
        try:
            filtered = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        source = waiting.popleft()
        if source is not None:
            yield (filtered if source.interlaced_frame else source), source

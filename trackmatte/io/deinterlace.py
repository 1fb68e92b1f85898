"""One progressive frame for each interlaced one, at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import av
from av.filter import Graph

Place = tuple[int | None, int | None]


def deinterlaced(frames: Iterator[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, Place]]:
    """Deinterlaces with FFmpeg's bwdif; frames that are not marked as interlaced pass unchanged.

    Args:
        frames: decoded frames in presentation order.

    Yields:
        Each frame with the `pts` and `duration` of the frame that it was made from. A frame comes out when the next
        one is in, since the filter looks at both neighbours.
    """
    graph: Graph | None = None
    shape: tuple[int, int, str] | None = None
    places: deque[Place] = deque()
    for frame in frames:
        now = (frame.width, frame.height, frame.format.name)
        if graph is None or now != shape:
            if graph is not None:
                yield from _finished(graph, places)
            graph, shape = _graph(frame), now
        places.append((frame.pts, frame.duration or None))
        graph.vpush(frame)
        yield from _ready(graph, places)
    if graph is not None:
        yield from _finished(graph, places)


def _graph(frame: av.VideoFrame) -> Graph:
    graph = Graph()
    graph.link_nodes(
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base),
        graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"),
        graph.add("buffersink"),
    ).configure()
    return graph


def _finished(graph: Graph, places: deque[Place]) -> Iterator[tuple[av.VideoFrame, Place]]:
    graph.vpush(None)
    yield from _ready(graph, places)


def _ready(graph: Graph, places: deque[Place]) -> Iterator[tuple[av.VideoFrame, Place]]:
    while places:
        try:
            frame = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        yield frame, places.popleft()

"""Native tracks: what is written, read again, cut, damaged."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from tests.unit.io.written import clip_info, disc, object_masks
from trackmatte.errors import InputError, OutputError
from trackmatte.io.tracks import TracksWriter, read_tracks
from trackmatte.types import Box, Mask, Point

PROMPTS = (Point(x=1.5, y=2), Point(x=3, y=4, positive=False, name="ball", frame=3), Box(x0=0, y0=1, x1=2, y1=3))


def write(path: Path, *, count: int = 3, **options: Any) -> None:
    options = {"clip": clip_info(time_base=Fraction(1, 12800)), "model": "nano", "prompts": PROMPTS, **options}
    writer = TracksWriter(path, names=("1", "ball"), **options)
    for i in range(count):
        both = np.stack([disc(i), np.zeros_like(disc(i))])
        writer.write(object_masks(i, both, names=("1", "ball"), seeded=np.array([True, i > 0])))
    writer.finish()


def test_lines_are_as_the_contract_says(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl")
    header, *lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert header["trackmatte"] == 1
    assert header["model"] == "nano"
    assert header["objects"] == ["1", "ball"]
    assert header["clip"]["time_base"] == "1/12800"
    assert (header["clip"]["width"], header["clip"]["height"]) == (96, 64)
    assert header["prompts"][1] == {"object": "ball", "frame": 3, "point": [3, 4], "positive": False}
    assert [line["index"] for line in lines] == [0, 1, 2]
    assert [line["pts"] for line in lines] == [0, 512, 1024]
    first = lines[0]["objects"]["1"]
    assert np.array_equal(coco.decode(first["rle"]), disc(0))
    assert first["rle"]["size"] == [64, 96]
    assert (first["score"], first["present"]) == (0.75, True)
    assert "seeded" not in first
    assert lines[0]["objects"]["ball"]["seeded"] is False
    assert lines[0]["objects"]["ball"]["present"] is False
    assert "seeded" not in lines[1]["objects"]["ball"]


def test_reading_gives_back_what_was_written(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl")
    tracks = read_tracks(tmp_path / "a.jsonl")
    assert (tracks.names, tracks.model, tracks.time_base) == (("1", "ball"), "nano", Fraction(1, 12800))
    assert (tracks.width, tracks.height, tracks.trimmed) == (96, 64, False)
    assert tracks.prompts == PROMPTS
    for _ in range(2):  # each iteration starts again
        found = list(tracks)
        assert [masks.index for masks in found] == [0, 1, 2]
        assert found[2].pts_seconds == Fraction(2, 25)
        assert np.array_equal(found[2].masks[0], disc(2))
        assert found[0].seeded.tolist() == [True, False]
        assert found[0].present.tolist() == [True, False]
        assert found[0].masks.dtype == np.bool_
        assert found[0].scores.dtype == np.float32


def test_masks_as_prompts_come_back(tmp_path: Path) -> None:
    prompt = Mask(mask=disc(0), name="ä ö", seconds=Fraction(8, 5))
    write(tmp_path / "a.jsonl", prompts=(prompt,), trim=True)
    tracks = read_tracks(tmp_path / "a.jsonl")
    assert tracks.trimmed
    (back,) = tracks.prompts
    assert isinstance(back, Mask)
    assert np.array_equal(back.mask, disc(0))
    assert (back.name, back.seconds, back.frame) == ("ä ö", Fraction(8, 5), None)


def test_lines_can_be_read_while_tracking_goes_on(tmp_path: Path) -> None:
    writer = TracksWriter(tmp_path / "a.jsonl", clip=clip_info(), model="nano", prompts=(), names=("1",))
    writer.write(object_masks(0, disc(0)[None]))
    (part,) = tmp_path.iterdir()
    assert len(list(read_tracks(part))) == 1
    writer.abort()
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_track_without_objects_or_frames_is_read(tmp_path: Path) -> None:
    writer = TracksWriter(tmp_path / "a.jsonl", clip=clip_info(), model="nano", prompts=(), names=())
    writer.write(object_masks(0, np.zeros((0, 64, 96), np.bool_)))
    writer.finish()
    (masks,) = read_tracks(tmp_path / "a.jsonl")
    assert masks.masks.shape == (0, 64, 96)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"index":1', '"index":"1"', "line 3"),
        ('"pts":512', '"pts":null', "line 3"),
        ('"index":1', '"x":1', "line 3"),
        ('"size":[64,96]', '"size":[64,95]', "line 2"),
        ('"size":[64,96]', '"size":[100000,100000]', "line 2.*larger"),
        ('"pts":512', '"pts":' + "9" * 400, "line 3"),
        ('"score":0.75', '"score":NaN', "line 2.*score"),
        ('"score":0.75', '"score":1e999', "line 2.*score"),
        ('"index":0,"pts":0', "nonsense", "line 2 isn't JSON"),
        ('{"index":0', "[" * 100_000, "line 2 isn't JSON"),
    ],
)
def test_damage_in_the_middle_is_told(tmp_path: Path, old: str, new: str, words: str) -> None:
    write(tmp_path / "a.jsonl")
    text = (tmp_path / "a.jsonl").read_text()
    assert old in text
    (tmp_path / "a.jsonl").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=words):
        list(read_tracks(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("counts", ["", "0", "zz", "é", "\x00", "PPPPPPPPPPPPPPPPPPPPPPPPPPP0", "o" * 40, "1o0"])
def test_hostile_runs_are_told(tmp_path: Path, counts: str) -> None:
    write(tmp_path / "a.jsonl")
    header, line, *_ = (tmp_path / "a.jsonl").read_text().splitlines()
    value = json.loads(line)
    value["objects"]["1"]["rle"]["counts"] = counts
    (tmp_path / "a.jsonl").write_text(f"{header}\n{json.dumps(value)}\n")
    with pytest.raises(InputError, match="line 2 is no frame"):
        list(read_tracks(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"trackmatte": 1}', '{"a": 1}\n', "\xff"])
def test_what_is_no_track_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="no native tracks"):
        read_tracks(tmp_path / "a.jsonl")


def test_another_version_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"trackmatte": 2}\n')
    with pytest.raises(InputError, match="version 2"):
        read_tracks(tmp_path / "a.jsonl")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't read"):
        read_tracks(tmp_path / "none.jsonl")


def test_an_output_that_exists_stays(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        write(tmp_path / "a.jsonl")
    assert (tmp_path / "a.jsonl").read_text() == "mine"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"width":96', '"width":100000000'),
        ('"height":64', '"height":"64"'),
        ('"time_base":"1/12800"', '"time_base":"1e999999999"'),
        ('"time_base":"1/12800"', '"time_base":"0"'),
        ('"time_base":"1/12800"', '"time_base":1e999'),
        ('"objects":["1","ball"]', '"objects":["1","1"]'),
        ('"objects":["1","ball"]', '"objects":["\\u001b[31m"]'),
        ('"objects":["1","ball"]', '"objects":["\\ud800"]'),
        ('"objects":["1","ball"]', '"objects":"1"'),
        ('"point":[1.5,2]', '"mask":{"size":[100000,100000],"counts":"P_o"}'),
        ('"point":[1.5,2]', '"mask":{"size":[65,96],"counts":[6240]}'),
    ],
)
def test_hostile_headers_are_told(tmp_path: Path, old: str, new: str) -> None:
    write(tmp_path / "a.jsonl")
    text = (tmp_path / "a.jsonl").read_text().replace(',"positive":true', "")
    assert old in text
    (tmp_path / "a.jsonl").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match="no native tracks") as caught:
        read_tracks(tmp_path / "a.jsonl")
    assert "\x1b" not in str(caught.value)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match="pipe"):
        read_tracks(tmp_path / "a.jsonl")


def test_a_clip_whose_name_is_no_text(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", clip=clip_info(os.fsdecode(b"\xff.mp4"), time_base=Fraction(1, 12800)))
    assert os.fsencode(read_tracks(tmp_path / "a.jsonl").clip["path"]) == b"\xff.mp4"

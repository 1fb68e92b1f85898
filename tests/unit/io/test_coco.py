"""JSON of COCO and YouTube-VIS."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco
from pycocotools.coco import COCO

from tests.unit.io.written import clip_info, disc, object_masks
from trackmatte.errors import OutputError
from trackmatte.io.coco import CocoWriter


def write(path: Path, frames: list[Any], *, names: tuple[str, ...] = ("dog", "bäll", "ghost")) -> dict[str, Any]:
    writer = CocoWriter(path, clip=clip_info("/clips/walk.mp4"), names=names)
    for index, masks in frames:
        writer.write(object_masks(index, masks, names=names))
    writer.finish()
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def three() -> list[Any]:
    """Three frames: a dog in all of them, a ball from the second on, a ghost never."""
    none = np.zeros((64, 96), np.bool_)
    ball = none.copy()
    ball[10:14, 20:28] = True
    return [(7 + i, np.stack([disc(i), ball if i else none, none])) for i in range(3)]


def test_layout_of_youtube_vis(tmp_path: Path) -> None:
    data = write(tmp_path / "a.json", three())
    (video,) = data["videos"]
    assert (video["id"], video["width"], video["height"], video["length"]) == (1, 96, 64, 3)
    assert video["file_names"] == ["walk/00007.png", "walk/00008.png", "walk/00009.png"]
    assert [category["name"] for category in data["categories"]] == ["dog", "bäll", "ghost"]
    dog, ball, ghost = data["annotations"]
    for number, annotation in enumerate(data["annotations"], 1):
        assert (annotation["id"], annotation["category_id"], annotation["video_id"]) == (number, number, 1)
        assert annotation["iscrowd"] == 0
        for field in ("segmentations", "bboxes", "areas", "scores"):
            assert len(annotation[field]) == 3
    for i, rle in enumerate(dog["segmentations"]):
        assert np.array_equal(coco.decode(rle), disc(i))
        assert dog["areas"][i] == disc(i).sum() == coco.area(rle)
        assert dog["bboxes"][i] == coco.toBbox(rle).tolist()
    assert ball["segmentations"][0] is ball["bboxes"][0] is ball["areas"][0] is ball["scores"][0] is None
    assert ball["bboxes"][1] == [20, 10, 8, 4]
    assert ball["areas"][1] == 32
    assert ball["scores"][1] == 0.75
    assert ghost["segmentations"] == [None] * 3


def test_tools_of_coco_load_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.json", three())
    dataset = COCO(str(tmp_path / "a.json"))
    assert len(dataset.getImgIds()) == 3
    assert dataset.loadCats(2)[0]["name"] == "bäll"
    (dog,) = dataset.loadAnns(dataset.getAnnIds(catIds=[1]))
    assert np.array_equal(dataset.annToMask(dog), disc(0))
    (ball,) = dataset.loadAnns(dataset.getAnnIds(imgIds=[2]))
    assert (ball["category_id"], ball["bbox"], ball["area"]) == (2, [20, 10, 8, 4], 32)
    assert dataset.loadImgs(2)[0]["index"] == 8
    (ghost,) = dataset.loadAnns(3)
    assert not dataset.annToMask(ghost).any()


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("names", [(), ("1",)])
def test_nothing_and_little_are_json_too(tmp_path: Path, count: int, names: tuple[str, ...]) -> None:
    masks = np.zeros((len(names), 64, 96), np.bool_)
    data = write(tmp_path / "a.json", [(i, masks) for i in range(count)], names=names)
    assert len(data["annotations"]) == len(names)
    assert len(data["images"]) == count


def test_abort_leaves_nothing(tmp_path: Path) -> None:
    writer = CocoWriter(tmp_path / "a.json", clip=clip_info(), names=("1",))
    writer.write(object_masks(0, disc(0)[None]))
    writer.abort()
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_exists_stays(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        CocoWriter(tmp_path / "a.json", clip=clip_info(), names=("1",))
    assert (tmp_path / "a.json").read_text() == "mine"


def test_frames_of_a_folder_have_the_names_of_its_images(tmp_path: Path) -> None:
    clip = clip_info("/clips/gap.v2/", files=("sh010.1001.exr", "sh010.1003.exr"))
    writer = CocoWriter(tmp_path / "a.json", clip=clip, names=("1",))
    for tick in range(2):
        writer.write(object_masks(tick, disc(0)[None], pts=tick))
    writer.finish()
    data = json.loads((tmp_path / "a.json").read_text())
    assert data["videos"][0]["file_names"] == ["gap.v2/sh010.1001.exr", "gap.v2/sh010.1003.exr"]
    assert [image["file_name"] for image in data["images"]] == data["videos"][0]["file_names"]


def test_more_objects_than_files_may_be_open(tmp_path: Path) -> None:
    count = 1100
    masks = np.zeros((count, 4, 5), np.bool_)
    masks[np.arange(count), np.arange(count) % 4, np.arange(count) % 5] = True
    names = tuple(str(i) for i in range(count))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        data = write(tmp_path / "a.json", [(0, masks), (1, ~masks), (2, masks & False)], names=names)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for i in (0, 7, count - 1):
        first, second, third = data["annotations"][i]["segmentations"]
        assert np.array_equal(coco.decode(first), masks[i])
        assert np.array_equal(coco.decode(second), ~masks[i])
        assert third is None


def test_a_clip_whose_name_is_no_text(tmp_path: Path) -> None:
    writer = CocoWriter(tmp_path / "a.json", clip=clip_info(os.fsdecode(b"/clips/\xff.mp4")), names=("1",))
    writer.write(object_masks(0, disc(0)[None]))
    writer.finish()
    data = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert os.fsencode(data["images"][0]["file_name"]) == b"\xff/00000.png"

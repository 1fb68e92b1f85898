"""Folders of PNGs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.unit.io.written import clip_info, disc, frames, object_masks
from trackmatte.errors import OutputError, UsageError
from trackmatte.io.images_out import FrameNames, ImageFolderWriter, IndexedPngWriter, SeparatePngWriter, index_map
from trackmatte.palette import davis_palette
from trackmatte.types import ObjectMasks


def test_indices_follow_the_names_with_the_palette_of_davis(tmp_path: Path) -> None:
    writer = IndexedPngWriter(tmp_path / "out", names=("dog", "ball"))
    one, two = disc(0), np.roll(disc(0), 40, axis=1)
    for index in (48, 49):
        writer.write(object_masks(index, np.stack([one, two & ~one])))
    assert not (tmp_path / "out").exists()
    writer.finish()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["00048.png", "00049.png"]
    with Image.open(tmp_path / "out" / "00048.png") as image:
        assert image.mode == "P"
        assert bytes(image.getpalette() or []) == davis_palette()
        assert np.array_equal(np.asarray(image), np.where(one, 1, np.where(two, 2, 0)))


def test_the_higher_score_is_seen_and_of_equal_ones_the_later() -> None:
    masks = np.zeros((3, 2, 3), np.bool_)
    masks[:, 0] = True
    scores = np.array([0.5, 0.9, 0.5], np.float32)
    assert index_map(object_masks(0, masks, scores=scores))[0].tolist() == [2, 2, 2]
    assert index_map(object_masks(0, masks))[0].tolist() == [3, 3, 3]
    assert index_map(object_masks(0, masks))[1].tolist() == [0, 0, 0]


def test_index_255_is_the_last(tmp_path: Path) -> None:
    writer = IndexedPngWriter(tmp_path / "out", names=[str(i) for i in range(255)])
    writer.write(object_masks(0, np.eye(255, dtype=np.bool_).reshape(255, 15, 17)))
    writer.finish()
    with Image.open(tmp_path / "out" / "00000.png") as image:
        assert np.array_equal(np.asarray(image).ravel(), np.arange(1, 256))
    with pytest.raises(UsageError, match=r"256 objects .* 255"):
        IndexedPngWriter(tmp_path / "more", names=[str(i) for i in range(256)])


def test_a_folder_for_each_object(tmp_path: Path) -> None:
    writer = SeparatePngWriter(tmp_path / "out", names=("dog", "Ball é"))
    masks = np.stack([disc(0), np.roll(disc(0), 10, axis=1)])
    for index in (48, 49):
        writer.write(object_masks(index, masks, names=("dog", "Ball é")))
    writer.finish()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["Ball é", "dog"]
    for name, mask in zip(("dog", "Ball é"), masks, strict=True):
        assert sorted(path.name for path in (tmp_path / "out" / name).iterdir()) == ["00048.png", "00049.png"]
        with Image.open(tmp_path / "out" / name / "00049.png") as image:
            assert image.mode == "L"
            assert np.array_equal(np.asarray(image), np.where(mask, 255, 0))


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a\\b", "../../etc"])
def test_a_name_that_leads_elsewhere_is_no_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="can't name a folder"):
        SeparatePngWriter(tmp_path / "out", names=("dog", name))
    assert list(tmp_path.iterdir()) == []


def test_only_folders_of_the_same_objects_are_replaced(tmp_path: Path) -> None:
    def write(*names: str) -> None:
        with SeparatePngWriter(tmp_path / "out", names=names, overwrite=True) as writer:
            writer.write(object_masks(0, np.stack([disc(0)] * len(names)), names=names))

    write("dog", "cat")
    write("dog", "cat", "hen")
    shutil.copy(tmp_path / "out" / "cat" / "00000.png", tmp_path / "out" / "cat" / "00007.png")
    write("dog", "cat", "hen")
    assert [path.name for path in (tmp_path / "out" / "cat").iterdir()] == ["00000.png"]
    with pytest.raises(OutputError, match=r"can't replace .*: it holds '(cat|hen)', which this run doesn't write"):
        write("dog")
    (tmp_path / "out" / "cat" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="it holds 'cat'"):
        write("dog", "cat", "hen")
    with pytest.raises(OutputError, match="isn't empty"):
        SeparatePngWriter(tmp_path / "out", names=("dog", "cat", "hen"))
    (tmp_path / "out" / "cat" / "notes.txt").unlink()
    shutil.copy(tmp_path / "out" / "cat" / "00000.png", tmp_path / "out" / "00000.png")
    with pytest.raises(OutputError, match=r"it holds '00000\.png'"):
        write("dog", "cat", "hen")
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_a_link_among_the_folders_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "00000.png").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dog").symlink_to(tmp_path / "far")
    with pytest.raises(OutputError, match="it holds 'dog'"):
        SeparatePngWriter(tmp_path / "out", names=("dog",), overwrite=True)
    assert (tmp_path / "far" / "00000.png").read_text() == "mine"


def test_a_writer_ends_with_its_block(tmp_path: Path) -> None:
    with ImageFolderWriter(tmp_path / "out") as writer:
        writer.write(frames(1)[0].with_image(np.zeros((4, 6), np.uint8)))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["00000.png"]
    with pytest.raises(KeyError), ImageFolderWriter(tmp_path / "other"):
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_mattes_are_grey_of_8_bits(tmp_path: Path) -> None:
    writer = ImageFolderWriter(tmp_path / "out")
    matte = (disc(0) * 255).astype(np.uint8)
    writer.write(frames(1)[0].with_image(matte))
    writer.finish()
    back = cv2.imread(str(tmp_path / "out" / "00000.png"), cv2.IMREAD_UNCHANGED)
    assert back.dtype == np.uint8
    assert np.array_equal(back, matte)


@pytest.mark.parametrize("deep", [False, True], ids=["8", "16"])
def test_pictures_with_alpha_are_exact_under_it_too(tmp_path: Path, deep: bool) -> None:
    writer = ImageFolderWriter(tmp_path / "out")
    frame = frames(1, deep=deep)[0]
    image = np.dstack([frame.image, (disc(0) * np.iinfo(frame.image.dtype).max).astype(frame.image.dtype)])
    writer.write(frame.with_image(image))
    writer.finish()
    back = cv2.imread(str(tmp_path / "out" / "00000.png"), cv2.IMREAD_UNCHANGED)
    assert back.dtype == image.dtype
    assert np.array_equal(back[..., [2, 1, 0, 3]], image)


def test_a_picture_of_another_shape_is_told(tmp_path: Path) -> None:
    writer = ImageFolderWriter(tmp_path / "out")
    with pytest.raises(OutputError, match="frame 0 is"):
        writer.write(frames(1)[0])
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_abort_leaves_nothing(tmp_path: Path) -> None:
    writer = IndexedPngWriter(tmp_path / "out", names=("1",))
    writer.write(object_masks(0, disc(0)[None]))
    writer.abort()
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_vanished_is_told(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    writer = IndexedPngWriter(home / "out", names=("1",))
    for path in home.iterdir():
        path.rmdir()
    with pytest.raises(OutputError, match="can't write"):
        writer.write(object_masks(0, disc(0)[None]))
    writer.abort()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("sh010_v003.1001.exr", "sh010_v003.1003.exr"), ["sh010_v003.1001.png", "sh010_v003.1003.png"]),
        (("a.jpg", "a.png", "a.jpg.tif"), ["a.jpg.png", "a.png.png", "a.jpg.tif.png"]),
        ((), ["00000.png", "00001.png"]),
    ],
)
def test_pictures_are_named_after_their_frames(tmp_path: Path, files: tuple[str, ...], expected: list[str]) -> None:
    clip = clip_info("/clips/gap", files=files)
    names = FrameNames(clip)
    places = [masks_at(tick) for tick in range(len(expected))]
    assert [names.png(place) for place in places] == expected
    assert [names.source(place) for place in places] == list(files or [None, None])
    writer = IndexedPngWriter(tmp_path / "out", names=("1",), clip=clip)
    pictures = ImageFolderWriter(tmp_path / "mattes", clip=clip)
    for tick, place in enumerate(places):
        writer.write(place)
        matte = np.zeros((4, 6), np.uint8)
        pictures.write(replace(frames(1)[0], index=tick, pts=tick, image=matte))
    writer.finish()
    pictures.finish()
    for folder in ("out", "mattes"):
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == sorted(expected)


def masks_at(tick: int) -> ObjectMasks:
    return object_masks(tick, disc(0)[None], pts=tick)

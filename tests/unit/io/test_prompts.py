"""Prompts as JSON."""

import json
import os
from fractions import Fraction

import numpy as np
import pytest

from tests.unit.io.mask_files import MASK, save, save_indexed
from trackmatte.errors import PromptError
from trackmatte.io.prompts import prompt_from_json, prompt_to_json, read_prompts
from trackmatte.io.rle import encode_masks
from trackmatte.types import Box, Mask, Point


def read(tmp_path, data):
    path = tmp_path / "prompts.json"
    path.write_text(data if isinstance(data, str) else json.dumps({"prompts": data}))
    return read_prompts(path)


def same(first, second):
    if isinstance(first, Mask) and isinstance(second, Mask):
        at = [(prompt.name, prompt.frame, prompt.seconds) for prompt in (first, second)]
        return at[0] == at[1] and np.array_equal(first.mask, second.mask)
    return first == second


def test_points_and_boxes(tmp_path):
    found = read(
        tmp_path,
        [
            {"point": [640, 360]},
            {"object": "ball", "frame": 48, "point": [12.5, 80], "positive": False},
            {"object": "ball", "time": 1.6, "box": [10, 20, 90, 80]},
            {"time": "8/3", "box": [0, 0, 1, 1]},
        ],
    )
    assert found == [
        Point(640, 360),
        Point(12.5, 80, positive=False, name="ball", frame=48),
        Box(10, 20, 90, 80, name="ball", seconds=Fraction(8, 5)),
        Box(0, 0, 1, 1, seconds=Fraction(8, 3)),
    ]


def test_masks_lie_beside_the_file(tmp_path):
    save(tmp_path / "one.png", MASK * 255)
    save_indexed(tmp_path / "many.png", MASK * 3 + MASK[::-1] * (~MASK) * 1)
    found = read(
        tmp_path,
        [
            {"mask": "one.png", "frame": 2},
            {"mask": "many.png", "time": 2},
            {"object": "cat", "mask": "many.png"},
            {"object": "rle", "mask": encode_masks(MASK[None])[0]},
        ],
    )
    assert [(prompt.name, prompt.frame, prompt.seconds) for prompt in found] == [
        ("1", 2, None),
        ("1", None, 2),
        ("3", None, 2),
        ("cat", None, None),
        ("rle", None, None),
    ]
    expected = [MASK, MASK[::-1] & ~MASK, MASK, MASK | MASK[::-1], MASK]
    assert all(np.array_equal(prompt.mask, mask) for prompt, mask in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    "prompt",
    [
        Point(1.25, 7, name="a@b=c"),
        Point(0, 0, positive=False, frame=0),
        Box(1, 2, 3.5, 4, name="ball", seconds=Fraction(8, 5)),
        Box(1, 2, 3, 4, seconds=Fraction(1, 3)),
        Mask(mask=MASK, name="m", frame=3),
    ],
)
def test_a_prompt_comes_back_from_its_json(prompt):
    data = json.loads(json.dumps(prompt_to_json(prompt)))
    assert same(prompt_from_json(data), prompt)


def test_what_is_written_reads_as_a_file(tmp_path):
    prompts = [Point(3, 4, frame=1), Mask(mask=MASK, name="m")]
    found = read(tmp_path, [prompt_to_json(prompt) for prompt in prompts])
    assert all(same(*pair) for pair in zip(found, prompts, strict=True))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (7, "not an object"),
        ({}, "no shape"),
        ({"point": [1, 2], "box": [1, 2, 3, 4]}, "exactly one"),
        ({"points": [1, 2]}, '"points" is not known'),
        ({"point": [1]}, "[x, y]"),
        ({"point": "1,2"}, "[x, y]"),
        ({"point": [1, True]}, "[x, y]"),
        ({"point": [1, float("nan")]}, "[x, y]"),
        ({"point": [1, 10**400]}, "[x, y]"),
        ({"point": [1, 2], "positive": "no"}, "true or false"),
        ({"box": [1, 2, 3, 4], "positive": True}, "positive goes with a point"),
        ({"box": [1, 2, 3]}, "[x0, y0, x1, y1]"),
        ({"box": [5, 2, 3, 4]}, "x1 > x0"),
        ({"box": [1, 2, 3, 2]}, "y1 > y0"),
        ({"point": [1, 2], "frame": -1}, "frame is -1"),
        ({"point": [1, 2], "frame": 1.5}, "frame is 1.5"),
        ({"point": [1, 2], "frame": True}, "frame is true"),
        ({"point": [1, 2], "frame": 1, "time": 1}, "one of them"),
        ({"point": [1, 2], "time": -1}, "time is -1"),
        ({"point": [1, 2], "time": float("inf")}, "time is"),
        ({"point": [1, 2], "time": "1/0"}, "time is"),
        ({"point": [1, 2], "time": "soon"}, "time is"),
        ({"point": [1, 2], "time": True}, "time is"),
        ({"point": [1, 2], "object": ""}, "object is"),
        ({"point": [1, 2], "object": 3}, "object is"),
        ({"mask": 3}, "an image file or"),
        ({"mask": ""}, "an image file or"),
        ({"mask": {"size": [2, 2], "counts": "9999"}}, "an image file or"),
        ({"mask": "nowhere.png"}, "nowhere.png"),
        ({"mask": "a\0b.png"}, "no file can have this name"),
        ({"mask": "\ud800.png"}, "no file can have this name"),
        ({"mask": {"size": [100_000, 100_000], "counts": "P_o\\Q`F"}}, "100000x100000 is larger than"),
        ({"mask": {"size": [2, 2], "counts": [1, 2]}}, "don't fill"),
        ({"mask": {"size": [2, 2], "counts": [5, -1]}}, "whole numbers"),
        ({"mask": {"size": [2, 2], "counts": [1.5, 2.5]}}, "whole numbers"),
        ({"point": [1, 2], "time": "1e999999999"}, "time is"),
        ({"point": [1, 2], "time": 10**400}, "time is"),
        ({"point": [1, 2], "frame": 10**400}, "frame is"),
        ({"point": [1, 2], "object": "\x1b[31m"}, "control characters"),
        ({"point": [1, 2], "object": "a\nb"}, "control characters"),
        ({"point": [1, 2], "object": "\ud800"}, "no valid text"),
        ({"point": [1, 2], "object": "ä" * 101}, "200 bytes"),
    ],
)
def test_a_mistake_names_its_entry(tmp_path, entry, expected):
    with pytest.raises(PromptError) as caught:
        read(tmp_path, [{"point": [1, 2]}, entry])
    assert "entry 2" in str(caught.value)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_runs_that_are_not_compressed_are_read(tmp_path):
    counts = [0, 2, 4, 3, 45]  # down the columns, background first
    (found,) = read(tmp_path, [{"mask": {"size": [6, 9], "counts": counts}}])
    assert np.flatnonzero(found.mask.T.ravel()).tolist() == [0, 1, 6, 7, 8]


def test_masks_that_memory_can_not_hold_are_refused_together(tmp_path):
    with pytest.raises(PromptError, match="together"):
        read(tmp_path, [{"mask": {"size": [13_000, 13_000], "counts": "a"}}] * 100)


def test_a_pipe_is_no_file_of_prompts(tmp_path):
    os.mkfifo(tmp_path / "p.json")
    with pytest.raises(PromptError, match="pipe"):
        read_prompts(tmp_path / "p.json")


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 900 + "]" * 900])
def test_numbers_and_nesting_beyond_reason(tmp_path, value):
    with pytest.raises(PromptError) as caught:
        read(tmp_path, f'{{"prompts": [{{"point": {value}}}]}}')
    assert len(str(caught.value)) < 300
    assert "set_int_max" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"prompts": []}', '{"prompts": {}}', "[" * 100_000, "\x00"])
def test_a_file_of_another_form(tmp_path, text):
    with pytest.raises(PromptError, match=r"prompts\.json"):
        read(tmp_path, text)


def test_a_file_that_can_not_be_read(tmp_path):
    with pytest.raises(PromptError, match="nowhere"):
        read_prompts(tmp_path / "nowhere.json")
    (tmp_path / "latin.json").write_bytes(b'{"prompts": "\xff"}')
    with pytest.raises(PromptError, match="not JSON"):
        read_prompts(tmp_path / "latin.json")


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = tmp_path / "bom.json"
    path.write_text('{"prompts": [{"point": [1, 2]}]}', encoding="utf-8-sig")
    assert read_prompts(path) == [Point(1, 2)]

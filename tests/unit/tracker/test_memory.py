import dataclasses

import pytest
import torch

from trackmatte.tracker.memory import MemoryBank, MemorySize

SIZE = MemorySize(maps=7, pointers=16, tokens=4, map_width=2, pointer_width=3)


def bank(rows=1, stride=1):
    return MemoryBank(dataclasses.replace(SIZE, stride=stride), device=torch.device("cpu"), rows=rows)


def write(memory, rows, step, first):
    """Each row's map and pointer hold 100 * row + step."""
    values = torch.tensor([100.0 * row + step for row in rows])
    memory.write(
        rows,
        step,
        values[:, None, None].expand(-1, SIZE.tokens, SIZE.map_width),
        values[:, None].expand(-1, SIZE.pointer_width),
        first=[first] * len(rows),
    )


def remembered(memories):
    return (
        memories.maps[:, :, 0, 0].tolist(),
        memories.pointers[:, :, 0].tolist(),
        [list(ages) for ages in memories.ages],
    )


def test_order_is_first_then_oldest_map_and_latest_pointer():
    memory = bank()
    row = memory.claim()
    write(memory, [row], 5, True)
    for step in (6, 7, 8):
        write(memory, [row], step, False)
    maps, pointers, ages = remembered(memory.select([row], 9, pointers=16))
    assert maps == [[5, 6, 7, 8]]
    assert pointers == [[5, 8, 7, 6]]
    assert ages == [[4, 1, 2, 3]]


@pytest.mark.parametrize("last", [30, 61])
def test_capacity_does_not_grow(last):
    memory = bank()
    row, reserved = memory.claim(), memory.nbytes
    write(memory, [row], 0, True)
    for step in range(1, last):
        write(memory, [row], step, False)
    maps, pointers, ages = remembered(memory.select([row], last, pointers=16))
    assert maps == [[0, *range(last - 6, last)]]
    assert pointers == [[0, *range(last - 1, last - 16, -1)]]
    assert ages == [[last, *range(1, 16)]]
    assert memory.nbytes == reserved


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("first", [0, 4])
def test_maps_are_those_of_every_stride_th_frame_and_the_last(stride, first):
    """As `SAM2Base._prepare_memory_conditioned_features` counts, at every frame."""
    memory = bank(stride=stride)
    row, reserved = memory.claim(), memory.nbytes
    write(memory, [row], first, True)
    for step in range(first + 1, first + 50):
        nearest = (step - 2) // stride * stride
        wanted = [nearest - (back - 2) * stride for back in range(SIZE.maps - 1, 1, -1)] + [step - 1]
        maps, _, _ = remembered(memory.select([row], step, pointers=16))
        assert maps == [[first, *(earlier for earlier in wanted if earlier > first)]]
        assert memory.filled(row, step)[0] == len(maps[0]) - 1
        write(memory, [row], step, False)
    assert memory.nbytes == reserved


def test_fewer_pointers_can_be_asked_for():
    memory = bank()
    row = memory.claim()
    write(memory, [row], 0, True)
    for step in range(1, 12):
        write(memory, [row], step, False)
    memories = memory.select([row], 12, pointers=9)
    assert memories.pointers[0, :, 0].tolist() == [0, 11, 10, 9, 8, 7, 6, 5, 4]
    assert memories.longest == 8


def test_rows_of_different_age_select_together_once_full():
    memory = bank(2)
    early, late = memory.claim(), memory.claim()
    write(memory, [early], 0, True)
    for step in range(1, 3):
        write(memory, [early], step, False)
    write(memory, [early], 3, False)
    write(memory, [late], 3, True)
    assert memory.filled(early, 4) != memory.filled(late, 4)
    for step in range(4, 25):
        write(memory, [early, late], step, False)
    assert memory.filled(early, 25) == memory.filled(late, 25) == (6, 15)
    maps, _, ages = remembered(memory.select([early, late], 25, pointers=16))
    assert maps == [[0, *range(19, 25)], [103, *range(119, 125)]]
    assert [row[0] for row in ages] == [25, 22]


def test_more_objects_than_reserved_keep_what_was_written():
    memory = bank(1)
    first = memory.claim()
    write(memory, [first], 0, True)
    second = memory.claim()
    assert second != first
    write(memory, [second], 0, True)
    assert remembered(memory.select([first, second], 1, pointers=16))[0] == [[0], [100.0 * second]]


def test_evicted_rows_are_used_again_from_the_start():
    memory = bank(1)
    row = memory.claim()
    for step in range(9):
        write(memory, [row], step, step == 0)
    memory.evict(row)
    assert memory.claim() == row
    write(memory, [row], 9, True)
    assert remembered(memory.select([row], 10, pointers=16))[0] == [[9]]


def test_reset_frees_all_rows():
    memory = bank(2)
    rows = [memory.claim(), memory.claim()]
    memory.reset()
    assert [memory.claim(), memory.claim()] == rows

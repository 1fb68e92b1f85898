import dataclasses

import pytest
import torch

from trackmatte.tracker.memory import MemoryBank, MemorySize

SIZE = MemorySize(maps=7, pointers=16, tokens=4, map_width=2, pointer_width=3)


def bank(rows=1, stride=1):
    return MemoryBank(dataclasses.replace(SIZE, stride=stride), device=torch.device("cpu"), rows=rows)


def write(memory, rows, step, stays):
    """Each row's map and pointer hold 100 * row + step."""
    values = torch.tensor([100.0 * row + step for row in rows])
    memory.write(
        rows,
        step,
        values[:, None, None].expand(-1, SIZE.tokens, SIZE.map_width),
        values[:, None].expand(-1, SIZE.pointer_width),
        conditioning=[stays] * len(rows),
    )


def select(memory, rows, index, *, pointers=16, reverse=False):
    readings = [memory.reading(row, index, pointers=pointers, reverse=reverse) for row in rows]
    return memory.select(rows, readings, pointers=pointers)


def shape(memory, row, index):
    return memory.reading(row, index, pointers=16).shape


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
    maps, pointers, ages = remembered(select(memory, [row], 9))
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
    maps, pointers, ages = remembered(select(memory, [row], last))
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
        maps, _, _ = remembered(select(memory, [row], step))
        assert maps == [[first, *(earlier for earlier in wanted if earlier > first)]]
        assert len(shape(memory, row, step)[0]) == len(maps[0])
        write(memory, [row], step, False)
    assert memory.nbytes == reserved


def test_fewer_pointers_can_be_asked_for():
    memory = bank()
    row = memory.claim()
    write(memory, [row], 0, True)
    for step in range(1, 12):
        write(memory, [row], step, False)
    memories = select(memory, [row], 12, pointers=9)
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
    assert shape(memory, early, 4) != shape(memory, late, 4)
    for step in range(4, 25):
        write(memory, [early, late], step, False)
    assert shape(memory, early, 25) == shape(memory, late, 25) == ((0, 1, 2, 3, 4, 5, 6), 16)
    maps, _, ages = remembered(select(memory, [early, late], 25))
    assert maps == [[0, *range(19, 25)], [103, *range(119, 125)]]
    assert [row[0] for row in ages] == [25, 22]


def test_more_objects_than_reserved_keep_what_was_written():
    memory = bank(1)
    first = memory.claim()
    write(memory, [first], 0, True)
    second = memory.claim()
    assert second != first
    write(memory, [second], 0, True)
    assert remembered(select(memory, [first, second], 1))[0] == [[0], [100.0 * second]]


def test_evicted_rows_are_used_again_from_the_start():
    memory = bank(1)
    row = memory.claim()
    for step in range(9):
        write(memory, [row], step, step == 0)
    memory.evict(row)
    assert memory.claim() == row
    write(memory, [row], 9, True)
    assert remembered(select(memory, [row], 10))[0] == [[9]]


def test_reset_frees_all_rows():
    memory = bank(2)
    rows = [memory.claim(), memory.claim()]
    memory.reset()
    assert [memory.claim(), memory.claim()] == rows


def test_prompted_frames_stay_and_leave_a_gap_among_the_tracked_ones():
    memory = bank()
    row = memory.claim()
    for step in range(12):
        write(memory, [row], step, step in (0, 8))
    memories = select(memory, [row], 12)
    assert remembered(memories)[0] == [[0, 8, 6, 7, 9, 10, 11]]
    assert memories.times == (0, 0, 1, 2, 4, 5, 6)
    assert remembered(memories)[1:] == (
        [[0, 8, 11, 10, 9, 7, 6, 5, 4, 3, 2, 1]],
        [[12, 4, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]],
    )
    for step in range(12, 60):
        write(memory, [row], step, False)
    assert remembered(select(memory, [row], 60))[0] == [[0, 8, *range(54, 60)]]


def test_of_many_prompted_frames_the_first_and_the_latest_stay():
    memory = MemoryBank(dataclasses.replace(SIZE, conditioning=3), device=torch.device("cpu"))
    row, reserved = memory.claim(), memory.nbytes
    for step in range(9):
        write(memory, [row], step, step % 2 == 0)
    assert remembered(select(memory, [row], 9))[0] == [[0, 6, 8, 3, 5, 7]]
    assert memory.nbytes == reserved


def test_frames_that_are_not_among_the_nearest_are_read_as_tracked_ones():
    """As the reference reads its unselected conditioning frames."""
    memory = MemoryBank(dataclasses.replace(SIZE, conditioning=2), device=torch.device("cpu"), conditioning=4)
    row = memory.claim()
    for step in range(5):
        write(memory, [row], step, step in (0, 2, 3))
    memories = select(memory, [row], 5)
    assert remembered(memories)[0] == [[0, 3, 1, 2, 4]]
    assert memories.times == (0, 0, 3, 4, 6)
    assert remembered(memories)[1:] == ([[0, 3, 4, 2, 1]], [[5, 2, 1, 3, 4]])


@pytest.mark.parametrize(
    ("past", "signed", "ages"), [(True, True, [2]), (False, True, [2, -6]), (False, False, [2, 6])]
)
def test_frames_that_are_still_to_come(past, signed, ages):
    size = dataclasses.replace(SIZE, past_pointers=past, signed_ages=signed)
    memory = MemoryBank(size, device=torch.device("cpu"))
    row = memory.claim()
    for step in (2, 10):
        write(memory, [row], step, True)
    memories = select(memory, [row], 4)
    assert remembered(memories)[0] == [[2, 10]]
    assert memories.ages == (tuple(ages),)


@pytest.mark.parametrize("stride", [1, 3])
def test_backwards_is_forwards_in_a_mirror(stride):
    forwards, backwards = bank(stride=stride), bank(stride=stride)
    row = forwards.claim()
    assert backwards.claim() == row
    for step in range(40):
        if step:
            one = forwards.reading(row, 3 * 40 + step, pointers=16)
            other = backwards.reading(row, 3 * 40 - step, pointers=16, reverse=True)
            assert (one.times, one.ages) == (other.times, other.ages)
            ahead, back = (
                memory.select([row], [read], pointers=16) for memory, read in ((forwards, one), (backwards, other))
            )
            mirrored = [2 * 3 * 40 - frame for frame in back.maps[0, :, 0, 0].tolist()]
            assert ahead.maps[0, :, 0, 0].tolist() == mirrored
        write(forwards, [row], 3 * 40 + step, step == 0)
        write(backwards, [row], 3 * 40 - step, step == 0)


def test_a_correction_may_forget_what_was_tracked():
    memory = bank()
    row = memory.claim()
    for step in range(9):
        write(memory, [row], step, step == 0)
    memory.forget_around(row, 9)
    write(memory, [row], 9, True)
    write(memory, [row], 10, False)
    assert remembered(select(memory, [row], 11)) == ([[0, 9, 10]], [[0, 9, 10, 1]], [[11, 2, 1, 10]])

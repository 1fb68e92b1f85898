"""J and F against their definitions, and the protocol over folders."""

import json
import re
from math import ceil, hypot

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trackmatte.errors import InputError
from trackmatte.evaluation import boundary_f, evaluate, region_similarity
from trackmatte.palette import davis_palette

SIZE = (100, 120)


def square(top, left, side=40, size=SIZE):
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def slow_contour(mask):
    """Points whose value differs from that of the pixel to the right, below, or right below."""
    height, width = mask.shape
    points = []
    for y in range(height):
        for x in range(width):
            others = [(y + dy, x + dx) for dy, dx in ((0, 1), (1, 0), (1, 1))]
            if any(mask[y, x] != mask[b, a] for b, a in others if b < height and a < width):
                points.append((y, x))
    return points


def slow_f(pred, truth):
    guess, true = slow_contour(pred), slow_contour(truth)
    if not guess and not true:
        return 1.0
    reach = ceil(0.008 * hypot(*truth.shape))

    def near(points, others):
        if not points:
            return 1.0
        hits = sum(any((y - b) ** 2 + (x - a) ** 2 <= reach**2 for b, a in others) for y, x in points)
        return hits / len(points)

    precision, recall = near(guess, true), near(true, guess)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_j_of_shifted_squares_is_known():
    truth = square(20, 20)
    assert region_similarity(truth, truth) == 1
    assert region_similarity(square(20, 30), truth) == pytest.approx(30 / 50)
    assert region_similarity(square(20, 60), truth) == 0
    assert region_similarity(square(30, 30, side=20), truth) == pytest.approx(0.25)


def test_empty_masks():
    empty, full = np.zeros(SIZE, bool), np.ones(SIZE, bool)
    assert region_similarity(empty, empty) == boundary_f(empty, empty) == 1
    for other in (square(20, 20), full):
        assert region_similarity(empty, other) == region_similarity(other, empty) == 0
    assert boundary_f(empty, square(20, 20)) == boundary_f(square(20, 20), empty) == 0


@pytest.mark.parametrize(("shift", "within"), [(0, True), (1, True), (2, True), (3, False)])
def test_f_forgives_shifts_within_the_tolerance(shift, within):
    """The tolerance of 0.008 of the diagonal of 100 x 120 is 1.25, so 2 pixels."""
    found = boundary_f(square(20, 20 + shift), square(20, 20))
    assert (found == 1) is within
    assert found > 0.4


def test_f_of_a_square_apart_is_0():
    assert boundary_f(square(5, 5, side=20), square(60, 60, side=20)) == 0


@st.composite
def blobs(draw):
    height, width = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    masks = []
    for _ in range(2):
        mask = random.random((height, width)) < draw(st.sampled_from([0, 0.02, 0.5, 1]))
        y, x = random.integers(height), random.integers(width)
        mask[y : y + draw(st.integers(0, 20)), x : x + draw(st.integers(0, 20))] ^= True
        masks.append(mask)
    return masks


@settings(max_examples=150, deadline=None)
@given(blobs())
def test_both_scores_equal_their_definitions(pair):
    pred, truth = pair
    both, either = (pred & truth).sum(), (pred | truth).sum()
    assert region_similarity(pred, truth) == pytest.approx(both / either if either else 1)
    assert boundary_f(pred, truth) == pytest.approx(slow_f(pred, truth))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_f_equals_its_definition_where_the_tolerance_is_wider(seed):
    random = np.random.default_rng(seed)
    pair = [np.zeros((200, 260), bool) for _ in range(2)]
    for mask in pair:
        for _ in range(2):
            top, left = random.integers(60, 90, 2)
            mask[top : top + random.integers(5, 25), left : left + random.integers(5, 25)] = True
    assert boundary_f(*pair) == pytest.approx(slow_f_points(*pair))


def slow_f_points(pred, truth):
    """`slow_f` with arrays of points, for pictures that are too large for loops; the tolerance is 3."""
    points = []
    for mask in (pred, truth):
        padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
        differs = (padded[1:, :-1] != mask) | (padded[:-1, 1:] != mask) | (padded[1:, 1:] != mask)
        points.append(np.argwhere(differs))
    square_distance = ((points[0][:, None] - points[1][None]) ** 2).sum(axis=2)
    precision = (square_distance.min(axis=1) <= 9).mean()
    recall = (square_distance.min(axis=0) <= 9).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0


def write(folder, frames, *, indexed=True, start=0):
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames, start):
        image = Image.fromarray(np.asarray(frame, np.uint8))
        if indexed:
            image.putpalette(davis_palette())
        image.save(folder / f"{number:05d}.png")
    return folder


@pytest.fixture
def two_objects(tmp_path):
    """Five frames: object 1 predicted well, object 2 shifted by half; the first and the last frame are all wrong."""
    truth = [square(5, 5) * 1 + square(50, 60) * 2 for _ in range(5)]
    guess = [square(5, 5) * 1 + square(50, 80) * 2 for _ in range(5)]
    guess[0] = guess[4] = np.zeros(SIZE)
    return write(tmp_path / "guess" / "cat", guess), write(tmp_path / "truth" / "cat", truth)


def test_the_first_and_the_last_frame_do_not_count(two_objects):
    found = evaluate(*two_objects)
    assert found.frames == 3
    assert [(entry.name, entry.j) for entry in found.objects] == [("1", 1), ("2", pytest.approx(20 / 60))]
    assert found.objects[0].f == 1
    assert found.objects[1].f == pytest.approx(boundary_f(square(50, 80), square(50, 60)))
    assert found.j == pytest.approx((1 + 1 / 3) / 2)


def test_the_json_is_in_percent_and_as_promised(two_objects):
    found = evaluate(*two_objects)
    data = json.loads(json.dumps(found.to_json()))
    assert list(data) == ["J", "F", "J&F", "objects", "frames"]
    assert list(data["objects"][1]) == ["name", "J", "F", "J&F"]
    assert data["objects"][1]["J"] == 33.333
    assert data["J"] == 66.667
    assert data["J&F"] == pytest.approx((data["J"] + data["F"]) / 2, abs=0.002)
    assert data["frames"] == 3


def test_scores_are_means_over_objects_of_means_over_frames(tmp_path):
    truth, half, none = square(20, 20), square(20, 20) & (np.arange(SIZE[1]) < 40), np.zeros(SIZE)
    long = [truth, truth, half, half, none, truth]
    write(tmp_path / "guess" / "a", long)
    write(tmp_path / "truth" / "a" / "masks", [truth] * 6)
    write(tmp_path / "guess" / "b", [truth] * 3)
    write(tmp_path / "truth" / "b", [truth] * 3)
    found = evaluate(tmp_path / "guess", tmp_path / "truth")
    assert [entry.name for entry in found.objects] == ["a/1", "b/1"]
    assert found.objects[0].j == pytest.approx((1 + 0.5 + 0.5 + 0) / 4)
    assert found.j == pytest.approx((0.5 + 1) / 2)
    assert found.frames == 5


@pytest.mark.parametrize("values", [(1, 1), (255, 255), (1, 255), (255, 1)])
def test_pictures_of_0_and_255_hold_one_object(tmp_path, values):
    guess = write(tmp_path / "guess", [square(20, 20) * values[0]] * 3, indexed=False)
    truth = write(tmp_path / "truth", [square(20, 20) * values[1]] * 3, indexed=False)
    found = evaluate(guess, truth)
    assert [(entry.name, entry.j, entry.f) for entry in found.objects] == [("1", 1, 1)]


def test_255_beside_objects_is_nobodys_and_objects_are_those_of_the_first_frame(tmp_path):
    first = square(5, 5) * 1 + square(50, 60) * 255
    late = square(5, 5) * 1 + square(50, 60) * 7
    guess = write(tmp_path / "guess", [square(5, 5) * 1] * 3)
    found = evaluate(guess, write(tmp_path / "truth", [first, late, late]))
    assert [entry.name for entry in found.objects] == ["1"]
    assert found.j == 1


@pytest.mark.parametrize("kind", ["grey", "white first"])
def test_soft_mattes_hold_one_object(tmp_path, kind):
    hard = square(20, 20)
    soft = cv2.GaussianBlur(hard * np.float32(255), (0, 0), 3).round().astype(np.uint8)
    for name in ("guess", "truth"):
        (tmp_path / name).mkdir()
        for i in range(3):
            image = Image.fromarray(soft if name == "guess" else hard * np.uint8(255))
            if kind == "white first" and name == "guess":
                image = Image.fromarray(255 - soft)
                image.putpalette([value for i in range(255, -1, -1) for value in (i, i, i)])
            image.save(tmp_path / name / f"{i:05d}.png")
    (only,) = evaluate(tmp_path / "guess", tmp_path / "truth").objects
    assert only.name == "1"
    assert only.j > 0.97


def test_frames_are_matched_by_name(tmp_path):
    moving = [square(20, 10 * number) for number in range(6)]
    truth = write(tmp_path / "truth", moving[2:5], start=2)
    found = evaluate(write(tmp_path / "guess", moving), truth)
    assert found.j == 1


def failing(tmp_path, *, guess=(1, 1, 1), truth=(1, 1, 1), names=("guess", "truth")):
    full = np.ones(SIZE)
    write(tmp_path / "guess", [full * value for value in guess])
    write(tmp_path / "truth", [full * value for value in truth])
    with pytest.raises(InputError) as caught:
        evaluate(*(tmp_path / name for name in names))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_is_not_there(tmp_path):
    assert "nowhere" in failing(tmp_path, names=("nowhere", "truth"))
    assert "nowhere" in failing(tmp_path, names=("guess", "nowhere"))


def test_a_folder_without_pngs(tmp_path):
    (tmp_path / "bare").mkdir()
    assert "bare holds no PNG" in failing(tmp_path, names=("bare", "truth"))
    assert "bare holds no PNG" in failing(tmp_path, names=("guess", "bare"))


def test_a_frame_that_is_missing(tmp_path):
    message = failing(tmp_path, guess=(1, 1), truth=(1, 1, 1, 1))
    assert "00002.png" in message


def test_too_few_frames_and_no_object(tmp_path):
    assert "2 frames" in failing(tmp_path / "a", truth=(1, 1))
    assert "empty" in failing(tmp_path / "b", truth=(0, 1, 1))


def test_a_sequence_that_is_missing(tmp_path):
    write(tmp_path / "truth" / "a", [square(5, 5)] * 3)
    write(tmp_path / "truth" / "b", [square(5, 5)] * 3)
    write(tmp_path / "guess" / "a", [square(5, 5)] * 3)
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "guess" / "b"))):
        evaluate(tmp_path / "guess", tmp_path / "truth")


def test_another_size_is_refused(tmp_path):
    write(tmp_path / "truth", [square(5, 5)] * 3)
    write(tmp_path / "guess", [square(5, 5, size=(50, 60))] * 3)
    with pytest.raises(InputError, match="60x50, the truth 120x100"):
        evaluate(tmp_path / "guess", tmp_path / "truth")


@pytest.mark.parametrize("content", [b"", b"no png", "truncated", "rgb"])
def test_a_frame_that_can_not_be_read(tmp_path, content):
    write(tmp_path / "truth", [square(5, 5)] * 3)
    bad = write(tmp_path / "guess", [square(5, 5)] * 3) / "00001.png"
    if content == "rgb":
        Image.new("RGB", SIZE).save(bad)
    else:
        bad.write_bytes(bad.read_bytes()[:80] if content == "truncated" else content)
    with pytest.raises(InputError, match=re.escape(str(bad))):
        evaluate(tmp_path / "guess", tmp_path / "truth")

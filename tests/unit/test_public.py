"""The public names."""

import copy
import os
import pickle
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

import trackmatte as tm


def test_all_is_sorted_and_every_name_is_there():
    assert tm.__all__ == sorted(tm.__all__)
    for name in tm.__all__:
        assert getattr(tm, name) is not None


def test_dir_shows_what_there_is():
    assert dir(tm) == tm.__all__


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(tm, "nothing_of_the_kind")


def test_a_name_that_is_not_there_is_an_error_to_a_type_checker(tmp_path):
    pytest.importorskip("mypy")
    script = tmp_path / "script.py"
    script.write_text(
        "import trackmatte as tm\n\n\n"
        "def main(clip: tm.VideoReader, prompts: list[tm.Prompt], model: tm.Model) -> None:\n"
        "    for result in tm.track(clip, prompts, model=model):\n"
        "        print(result.masks.shape)\n"
        "    tm.trakc(clip)\n"
    )
    found = subprocess.run([sys.executable, "-m", "mypy", str(script)], capture_output=True, text=True, check=False)
    errors = [line for line in found.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1, found.stdout
    assert "trakc" in errors[0]


@pytest.mark.parametrize(
    ("clip", "prompts", "model", "words"),
    [
        ("a.mp4", [tm.Point(1, 1)], None, "give open_clip"),
        (None, [tm.Point(1, 1)], "nano", "give load_model"),
        (None, tm.Point(1, 1), None, "a list of prompts"),
        (None, [(1, 1)], None, "no prompt"),
    ],
)
def test_other_things_than_clips_prompts_and_models_are_named(clip, prompts, model, words):
    with pytest.raises(tm.UsageError, match=words):
        next(tm.track(clip, prompts, model=model))


def test_a_range_of_numbers_is_refused():
    with pytest.raises(tm.UsageError, match="from Time to Time"):
        tm.Range(0, 5)


@pytest.mark.parametrize(
    "given",
    [
        {"frame": 2.5},
        {"frame": -1},
        {"frame": True},
        {"seconds": -1},
        {"seconds": float("nan")},
        {"seconds": "1.6"},
        {"frame": 1, "seconds": 1},
        {"name": 3},
    ],
)
def test_a_prompt_says_what_is_wrong_with_its_name_or_time(given):
    with pytest.raises(tm.UsageError, match=r"give|name is a text"):
        tm.Point(1, 1, **given)


def test_numbers_of_any_kind_are_times():
    assert tm.Point(1, 1, seconds=1.6).seconds == Fraction(8, 5)
    assert tm.Point(1, 1, seconds=2).seconds == 2
    assert tm.Box(1, 1, 2, 2, frame=np.int64(3)).frame == 3


def test_a_model_says_that_it_can_not_be_copied_or_forked():
    model = tm.load_model("nano", device="cpu")
    with pytest.raises(tm.ModelError, match="can't be copied"):
        copy.deepcopy(model)
    with pytest.raises(tm.ModelError, match="can't be copied"):
        pickle.dumps(model)
    child = os.fork()
    if child == 0:
        try:
            model.check_process()
        except tm.ModelError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

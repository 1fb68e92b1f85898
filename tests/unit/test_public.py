"""The public names."""

import subprocess
import sys

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

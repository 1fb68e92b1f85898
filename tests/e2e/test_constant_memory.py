"""Memory does not grow with the clip: `pytest -m slow tests/e2e/test_constant_memory.py` (about 10 minutes)."""

import json
import subprocess
import sys

import pytest

from tests.shared_data import shared

MEASURE = """
import json, sys
from pathlib import Path
import torch
from trackmatte.outputs import OutputRequest, RunInfo, opened
from trackmatte.io.decode import open_clip
from trackmatte.pipeline import track_frames, write_outputs
from trackmatte.schedule import object_names
from trackmatte.memory import peak_memory_mb
from trackmatte.tracker.model import load_model
from trackmatte.types import Box, Range, Time

clip, out = sys.argv[1], Path(sys.argv[2])
prompts = [Box(600, 300, 1200, 800, name="a")]
requests = [
    OutputRequest("matte", out / "m.mp4"), OutputRequest("masks", out / "t.jsonl"),
    OutputRequest("masks", out / "c.json"), OutputRequest("render", out / "r.mp4", "blur"),
]
peaks = {}
with open_clip(clip) as reader:
    run = RunInfo(clip=reader.info, model="nano", prompts=tuple(prompts), names=object_names(prompts), trim=True)
    results = track_frames(reader, prompts, model=load_model("nano"), span=Range(end=Time(frame=2001)))
    def note(masks):
        if masks.index in (200, 2000):
            peaks[masks.index] = peak_memory_mb()
    with opened(requests, run) as outputs:
        write_outputs(results, outputs, on_frame=note)
print(json.dumps(peaks))
"""


@pytest.mark.slow
def test_the_peak_at_frame_2000_is_that_at_frame_200(tmp_path):
    clip = shared("io/long_1080p_videoonly_lowbitrate.mp4")
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(clip), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    peaks = json.loads(result.stdout)
    print(peaks)
    assert peaks["2000"] <= peaks["200"] * 1.03

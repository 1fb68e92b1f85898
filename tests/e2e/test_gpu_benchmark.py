"""`python -m benchmarks.gpu` runs to its end whatever its sections do, here with small networks on the CPU."""

import json
import subprocess
import sys
import time

import pytest
import torch

from benchmarks.gpu.__main__ import LIMITS
from benchmarks.gpu.runner import Section, run
from benchmarks.gpu.summary import lines
from benchmarks.travel import gather
from tests.conftest import ROOT

REPORT = """
import sys, time
from pathlib import Path
from benchmarks.gpu.runner import Report
report = Report(Path(sys.argv[1]))
report("first", value=1)
report("first", other=2)
"""


def section(name, code, limit=20.0):
    return Section(name, (sys.executable, "-c", REPORT + code), limit)


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def run_all(*sections, seconds=60.0):
    kept = []
    results = run(sections, seconds=seconds, keep=lambda results: kept.append(json.dumps(results)))
    return results, kept


def test_a_section_that_fails_keeps_what_it_found_and_stops_no_other():
    results, kept = run_all(section("bad", "sys.exit('the reason')"), section("good", ""))
    assert results["bad"]["error"] == "ended with code 1"
    assert "the reason" in results["bad"]["log"]
    assert results["bad"]["found"] == results["good"]["found"] == {"first": {"value": 1, "other": 2}}
    assert "error" not in results["good"]
    assert [list(json.loads(text)) for text in kept] == [["bad"], ["bad", "good"]]


def test_a_section_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path):
    sign = tmp_path / "sign"
    late = f"import time; time.sleep(5); open({str(sign)!r}, 'w')"
    hang = f"import subprocess; subprocess.Popen([sys.executable, '-c', {late!r}]); time.sleep(60)"
    start = time.monotonic()
    results, _ = run_all(section("slow", hang, limit=2), section("good", ""))
    assert time.monotonic() - start < 20
    assert results["slow"]["error"] == "took longer than 2 s"
    assert results["slow"]["found"] == {"first": {"value": 1, "other": 2}}
    assert "error" not in results["good"]
    time.sleep(max(0.0, 7 - (time.monotonic() - start)))
    assert not sign.exists()


def test_sections_for_which_no_time_is_left_are_named():
    results, kept = run_all(section("slow", "time.sleep(60)"), section("never", ""), seconds=3)
    assert results["slow"]["error"] == "took longer than 3 s"
    assert results["never"] == {"error": "no time was left"}
    assert len(kept) == 2
    assert "never: no time was left" in lines(results)


def test_every_section_runs_on_a_cpu(tmp_path):
    """The JSON has what each section is for; what a CPU can hold, it holds."""
    out = tmp_path / "made" / "gpu.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--smoke", "--device", "cpu", "--out", str(out)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    results = json.loads(out.read_text())
    assert list(out.parent.iterdir()) == [out]
    sections = results["sections"]
    assert done.returncode == 0, {name: section.get("log") for name, section in sections.items() if "error" in section}
    assert list(sections) == list(LIMITS)
    assert results["machine"]["torch"]
    found = {name: section["found"] for name, section in sections.items()}
    right = found["right"]
    for name in ("nano", "sam2.1-tiny", "sam2.1-large"):
        assert right[name]["fp32, memory in float32"]["holds"]
    assert all(row["holds"] for row in right["nano beside the reference"].values())
    assert right["nano"]["fp16"]["least"] > 0.9
    for size in ("fast-tiny", "fast-large"):
        rows = found[size]["beside the reference compiled"]["1 objects"]
        assert rows["trackmatte"]["seconds"]["median"] > 0
        assert rows["reference compiled"]["times_rival"]["median"] == 1
    assert len(found["kernels"]["sam2.1-tiny, 1 objects"]["longest"]) == 15
    assert found["bounded"]["frame 6"]["process_mb"] > 0
    assert found["whole-job"]["small"]["nano"]["frames_a_second"]["median"] > 0
    assert found["start"]["nano"]["compiled, warm"]["first mask"] > 0


def test_without_a_gpu_it_says_so(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    out = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(out)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.strip() == "no CUDA device is here; give --device cpu, and --smoke for small networks"
    assert not out.exists()


def test_wheels_are_gathered_into_a_new_folder_alone(tmp_path):
    (tmp_path / "other").touch()
    with pytest.raises(SystemExit, match="is not empty; give a new folder"):
        gather(tmp_path, "3.12")

"""Proves the way of a GPU in six minutes: that it is right, how fast it is, what it keeps and where its time goes.

    python -m benchmarks.gpu --out gpu.json
    python -m benchmarks.gpu --smoke --device cpu       tries every section with small networks

Each section runs in a process of its own; the JSON is written anew after each of them. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.common import machine, replace_text
from benchmarks.gpu.runner import Report, Results, Section, run
from benchmarks.gpu.summary import lines

LIMITS = {  # in this order; seconds
    "right": 75,
    "fast-tiny": 150,
    "kernels": 40,
    "bounded": 40,
    "whole-job": 60,
    "start": 75,
    "fast-large": 150,
}
SMOKE_LIMIT = 60


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/gpu.json"), help="the JSON")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--smoke", action="store_true", help="small networks and few frames")
    parser.add_argument("--sections", nargs="+", default=list(LIMITS), choices=list(LIMITS), metavar="NAME")
    parser.add_argument("--minutes", type=float, default=6, help="that all sections together may take")
    parser.add_argument("--data", type=Path, help="a folder of folders with `frames` and `masks`, for `right`")
    parser.add_argument("--here", choices=list(LIMITS), help=argparse.SUPPRESS)
    parser.add_argument("report", nargs="?", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device is here; give --device cpu, and --smoke for small networks", file=sys.stderr)
        return 2
    if options.here:
        measure(options)
        return 0
    results = run(sections(options), seconds=60 * options.minutes, keep=partial(keep, options))
    print("\n".join(lines(results)))
    return int(any("error" in section for section in results.values()))


def sections(options: argparse.Namespace) -> list[Section]:
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", options.device]
    command += ["--smoke"] if options.smoke else []
    command += ["--data", str(options.data)] if options.data else []
    return [
        Section(name, (*command, "--here", name), SMOKE_LIMIT if options.smoke else LIMITS[name])
        for name in options.sections
    ]


def measure(options: argparse.Namespace) -> None:
    """One section, in this process."""
    os.environ["TQDM_DISABLE"] = "1"  # of the reference's, before its import
    from benchmarks.gpu.setting import Setting

    warnings.filterwarnings("ignore", message="cannot import name '_C'")
    name, _, size = options.here.partition("-") if options.here.startswith("fast") else (options.here, "", "")
    setting = Setting(device=torch.device(options.device), smoke=options.smoke, data=options.data)
    if options.smoke:
        torch.set_num_threads(1)
    section = import_module(f"benchmarks.gpu.{name.replace('-', '_')}")
    section.measure(setting, Report(options.report), **({"size": size} if size else {}))


def keep(options: argparse.Namespace, results: Results) -> None:
    """Writes all results so far, and says how the last section went."""
    name, last = list(results.items())[-1]
    print(f"{name}: {last.get('error', 'done')}, {last.get('seconds', 0)} s", flush=True)
    where = machine(torch.device(options.device))
    text = json.dumps({"machine": where, "smoke": options.smoke, "sections": results}, indent=1)
    replace_text(options.out, text + "\n")


if __name__ == "__main__":
    sys.exit(main())

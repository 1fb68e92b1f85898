"""Imports point down: cli, then runs, then pipeline, then io, tracker and render, then kernels, then the leaves."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import trackmatte

PACKAGE = Path(trackmatte.__file__).parent
LEAVES = {"errors", "types", "palette", "numbers", "names", "files", "memory"}
ROOMS = {
    "errors": set(),
    "types": {"errors"},
    "palette": set(),
    "numbers": set(),
    "names": {"errors"},
    "files": set(),
    "memory": set(),
    "io": LEAVES | {"io"},
    "kernels": LEAVES | {"kernels"},
    "tracker": LEAVES | {"tracker", "kernels"},
    "render": LEAVES | {"render", "kernels"},
    "evaluation": LEAVES | {"io"},
    "schedule": LEAVES,
    "summary": LEAVES,
    "seeds": LEAVES | {"io"},
    "outputs": LEAVES | {"io", "render"},
    "pipeline": LEAVES | {"io", "render", "tracker", "kernels", "outputs", "schedule"},
    "reporting": LEAVES | {"summary", "evaluation", "tracker"},
    "runs": LEAVES | {"io", "tracker", "outputs", "pipeline", "reporting", "schedule", "summary"},
    "preview": LEAVES | {"io", "tracker", "render", "reporting", "runs", "schedule"},
    "cli": LEAVES | {"io", "tracker", "evaluation", "preview", "outputs", "reporting", "runs", "seeds", "schedule"},
    "__main__": {"cli"},
}
MEDIA = {"av", "decord", "ffmpeg"}


def modules():
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path):
    """Full dotted names of all that a module imports, also inside its functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import"
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    inside = {name for name in imported(path) if name.split(".")[0] == "trackmatte"}
    assert "trackmatte" not in inside, "nothing inside imports the package's __init__"
    wrong = {name for name in inside if name.split(".")[1] not in ROOMS[room(path)]}
    assert not wrong


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_foreign_libraries_stay_in_their_rooms(path):
    foreign = {name.split(".")[0] for name in imported(path)}
    if room(path) != "io":
        assert not foreign & MEDIA
    if room(path) not in {"tracker", "kernels"}:
        assert not foreign & {"torch", "sam2"}
    if room(path) != "kernels":
        assert "triton" not in foreign
        assert "torch.compile(" not in path.read_text()


def test_the_test_sees_a_wrong_import(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def f():\n    from trackmatte.cli import main\n    return main\n")
    assert imported(wrong) == {"trackmatte.cli"}


@pytest.mark.parametrize(
    "command", ["import trackmatte; trackmatte.open_clip; trackmatte.track", "import trackmatte.cli"]
)
def test_importing_does_not_import_torch(command):
    code = f"{command}; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

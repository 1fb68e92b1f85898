"""The README and the pages in docs do what they say: their commands and code run, on a short piece of the sample clip.

A comment before a block says what is done with it:

- none: it is run. Blocks of a page are run in order, in one folder that holds `samples/bunny.mp4` (of a second) and
  `clip.mp4` (of two), and Python blocks share their names.
- `<!-- run: trackmatte -->`: of a shell block, the trackmatte commands alone.
- `<!-- not run: WHY -->`: its trackmatte commands are parsed, its Python is compiled.
- `<!-- file: NAME -->`: its text is that file.

What an inline `trackmatte ...` or `... --option` shows is parsed too.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import av
import click
import pytest

from trackmatte.cli import cli

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- ([^\n]*?) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    note: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block that are commands; in a console those after a `$`."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            return [line[2:] for line in lines if line.startswith("$ ")]
        return [line for line in lines if line.strip() and not line.startswith("#")]


def blocks(page):
    return [Block(note or "", language, text) for note, language, text in BLOCK.findall(page.read_text("utf-8"))]


def trackmatte_commands(line):
    """The arguments of each trackmatte command in a line of shell."""
    words = shlex.split(line, comments=True)
    starts = [i for i, word in enumerate(words) if Path(word).name == "trackmatte"]
    for start in starts:
        end = next((i for i in range(start, len(words)) if words[i] in ("&&", "|", ";", ">")), len(words))
        yield words[start + 1 : end]


def parse(arguments):
    """Raises click's error where a command line isn't one of ours."""
    command, name = cli, "trackmatte"
    arguments = [argument for argument in arguments if argument != "--debug"]
    while isinstance(command, click.Group) and arguments:
        name, *arguments = arguments
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    command.make_context(name, list(arguments))


def cut(sample, path, *, seconds):
    """Writes the first frames of the sample clip, with their sound, as they are."""
    with av.open(str(sample)) as source, av.open(str(path), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.pts is not None and packet.pts * packet.time_base < seconds:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)


@pytest.fixture
def place(sample, tmp_path, monkeypatch):
    """A folder as the pages suppose it: the clips, and a `trackmatte` that can be called."""
    (tmp_path / "samples").mkdir()
    cut(sample, tmp_path / "samples" / "bunny.mp4", seconds=1)
    cut(sample, tmp_path / "clip.mp4", seconds=2)
    (tmp_path / "bin").mkdir()
    for name, command in (("trackmatte", f"{sys.executable} -m trackmatte"), ("python", sys.executable)):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    return tmp_path


def run_shell(script):
    result = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, f"{script}\n{result.stdout}{result.stderr}"


def run(block, names):
    if block.note.startswith("file: "):
        Path(block.note[len("file: ") :]).write_text(block.text, encoding="utf-8")
    elif block.language == "python":
        code = compile(block.text, "a block of Python", "exec")
        if not block.note.startswith("not run: "):
            exec(code, names)
    elif block.language in ("sh", "console"):
        commands = [arguments for line in block.commands for arguments in trackmatte_commands(line)]
        for arguments in commands:
            parse(arguments)
        if block.note == "run: trackmatte":
            run_shell("\n".join(shlex.join(["trackmatte", *arguments]) for arguments in commands))
        elif not block.note.startswith("not run: "):
            run_shell("\n".join(block.commands))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_works(page, place):
    names = {"__name__": "__main__"}
    for block in blocks(page):
        run(block, names)


def check_json(text):
    """Raises where a text is neither one value nor one a line."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        for line in text.splitlines():
            json.loads(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_have_a_language_and_notes_a_meaning(page):
    text = page.read_text("utf-8")
    assert text.count("```") == 2 * len(blocks(page))
    for block in blocks(page):
        assert block.language in ("sh", "console", "python", "json", "text"), block
        assert re.fullmatch(r"|run: trackmatte|not run: \w.*|file: [\w.-]+", block.note), block.note
        if block.language == "json":
            check_json(block.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_inline_commands_parse(page):
    text = BLOCK.sub("", page.read_text("utf-8"))
    commands = re.findall(r"`(trackmatte [^`]+)`", text)
    commands += [f"trackmatte track clip.mp4 {options}" for options in re.findall(r"`\.\.\. (--[^`]+)`", text)]
    for command in commands:
        for arguments in trackmatte_commands(command):
            if len(arguments) > 1:
                parse(arguments)
            assert arguments[0] in cli.commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_what_is_wrong_on_a_page_is_found(place):
    with pytest.raises(click.NoSuchOption):
        run(Block("not run: why", "sh", "pip install x && trackmatte track a.mp4 --pint 1,2 --matte m.mp4\n"), {})
    with pytest.raises(AssertionError, match="there is no command trakc"):
        run(Block("", "console", "$ trackmatte trakc a.mp4\nout\n"), {})
    with pytest.raises(AssertionError, match="outside the picture"):
        run(Block("", "sh", "trackmatte preview clip.mp4 \\\n  --point 5000,1 a.png\n"), {})
    with pytest.raises(SyntaxError):
        run(Block("not run: why", "python", "for\n"), {})
    with pytest.raises(AttributeError):
        run(Block("", "python", "import trackmatte as tm\ntm.trakc\n"), {})

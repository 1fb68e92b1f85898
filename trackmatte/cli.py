"""The command line: `trackmatte track | render | preview | probe | models | evaluate`.

Only what a command needs is imported, inside it: `--help` answers without torch.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trackmatte.errors import ModelError, OutputError, TrackmatteError, UsageError, printable
from trackmatte.memory import shortage

if TYPE_CHECKING:
    from trackmatte.outputs import OutputKind, OutputRequest
    from trackmatte.types import Prompt, Range, Time

F = TypeVar("F", bound=Callable[..., Any])
PATH = click.Path(readable=False)  # what can't be read is told by who reads it, with the exit code of its kind


class Device(click.ParamType):  # type: ignore[type-arg]
    """`auto`, `cpu`, `cuda`, `mps`, or a GPU by its number, `cuda:1`."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value) is None:
            self.fail(f"{value!r} is none; choose auto, cpu, cuda, cuda:1 (a GPU by its number) or mps", param, context)
        return str(value)


EFFECTS = (
    "overlay outline blur pixelate grayscale fill cutout blur-background pixelate-background grayscale-background "
    "fill-background:#00ff00 replace-background:IMAGE"
)


def together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several option decorators as one, applied so that they show in the order given."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


seed_options = together(
    click.option("--point", "points", multiple=True, metavar="[NAME[@TIME]=]X,Y", help="A click on the object."),
    click.option(
        "--negative", "negatives", multiple=True, metavar="[NAME[@TIME]=]X,Y", help="A click on what is not the object."
    ),
    click.option("--box", "boxes", multiple=True, metavar="[NAME[@TIME]=]X0,Y0,X1,Y1", help="A box around the object."),
    click.option(
        "--mask",
        "masks",
        multiple=True,
        metavar="[NAME[@TIME]=]FILE",
        help="An image, non-zero is the object; without NAME, an indexed PNG seeds one object for each index.",
    ),
    click.option("--prompts", "prompt_files", multiple=True, metavar="FILE.json", help="The same as data.", type=PATH),
)
output_options = together(
    click.option(
        "--masks",
        "mask_outputs",
        multiple=True,
        metavar="DIR|FILE.jsonl|FILE.json",
        help="Indexed PNGs (DAVIS palette), native tracks, or COCO / YouTube-VIS RLE.",
    ),
    click.option("--separate", is_flag=True, help="For --masks DIR: a folder for each object, DIR/NAME/00000.png."),
    click.option(
        "--matte",
        "mattes",
        multiple=True,
        metavar="FILE|DIR",
        help="White object on black: .mp4 .mov .mkv .webm, or a folder of 8-bit PNGs.",
    ),
    click.option(
        "--alpha",
        "alphas",
        multiple=True,
        metavar="FILE|DIR",
        help="Straight alpha: .mov ProRes 4444, .webm VP9, .mkv FFV1 (lossless), or a folder of RGBA PNGs.",
    ),
    click.option(
        "--render", "renders", multiple=True, nargs=2, metavar="EFFECT[:ARG] FILE", help=f"Effects: {EFFECTS}."
    ),
    click.option("--only", multiple=True, metavar="NAME", help="Objects that the outputs show; default all."),
    click.option("--overwrite", is_flag=True, help="Replace outputs that exist."),
    click.option(
        "--keep-start",
        is_flag=True,
        help="Keep the times of a clip that begins far from 0 (default: from 0).",
    ),
)
model_options = together(
    click.option("--model", default="nano", show_default=True, metavar="NAME", help="See `trackmatte models`."),
    click.option("--checkpoint", metavar="FILE", type=PATH, help="Weights to use instead of the model's own."),
    click.option(
        "--device",
        type=Device(),
        default="auto",
        show_default=True,
        metavar="auto|cpu|cuda|cuda:N|mps",
        help="What computes.",
    ),
    click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto", show_default=True),
    click.option(
        "--speed",
        type=click.Choice(["exact", "fast"]),
        default="exact",
        show_default=True,
        help="Fast pools the memory and multiplies in 8 bits: slightly other masks.",
    ),
    click.option(
        "--compile/--no-compile",
        "compile_",
        default=False,
        help="Compile for this machine (slower start, faster frames).",
    ),
)
reading_options = together(
    click.option(
        "--backend",
        type=click.Choice(["av", "decord", "ffmpeg"]),
        default="av",
        show_default=True,
        help="What decodes.",
    ),
    click.option(
        "--damaged",
        type=click.Choice(["stop", "keep"]),
        default="stop",
        show_default=True,
        help="At damage: stop with exit 3, or finish with what decodes and say so.",
    ),
    click.option("--stream", type=int, metavar="N", help="The video stream to read, as `probe` numbers them."),
    click.option("--rate", metavar="N", help="Frames a second of a folder of images (24, 30000/1001); default 24."),
)
reporting_options = together(
    click.option("--quiet", is_flag=True, help="No progress and no summary."),
    click.option(
        "--json", "as_json", is_flag=True, help="The summary, as one JSON object, is all that goes to stdout."
    ),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="trackmatte")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Name an object once in a clip and get it back as masks, a matte, an alpha video or a rendered video."""
    if not debug:
        quieten()


def quieten() -> None:
    """Keeps what libraries say of odd image files off the terminal: what matters is an error or a note of ours."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    warnings.filterwarnings("ignore", module=r"PIL(\.|$)")


@cli.command()
@click.argument("clip", type=PATH)
@seed_options
@output_options
@model_options
@click.option("--start", metavar="TIME", help="Where to begin: a frame index (48) or seconds (1.6s).")
@click.option("--end", metavar="TIME", help="Where to end; that frame is left out.")
@reading_options
@reporting_options
@click.pass_obj
def track(
    arguments: Sequence[str],
    /,
    clip: str,
    points: Sequence[str],
    negatives: Sequence[str],
    boxes: Sequence[str],
    masks: Sequence[str],
    prompt_files: Sequence[str],
    model: str,
    checkpoint: str | None,
    device: str,
    precision: str,
    speed: str,
    compile_: bool,
    start: str | None,
    end: str | None,
    **options: Any,
) -> None:
    """Track the objects that the seeds name through CLIP (a video or a folder of images) and write the outputs.

    NAME is an object's name (default "1"); TIME is a frame index (48) or seconds (1.6s), default the first frame.
    Coordinates are pixels of the picture as displayed. A seed at a later frame adds its object there, or corrects it
    from there on. However many outputs, the clip is decoded and tracked once.
    """
    from trackmatte.runs import ModelOptions, run_track

    run_track(
        clip,
        prompts=_prompts(
            {"--point": points, "--negative": negatives, "--box": boxes, "--mask": masks, "--prompts": prompt_files},
            arguments,
        ),
        span=_range(start, end),
        outputs=_requests(options),
        model=ModelOptions(model, checkpoint, device, precision, speed, compile_),
        options=_run_options(options),
    )


@cli.command()
@click.argument("clip", type=PATH)
@click.option("--tracks", required=True, metavar="FILE.jsonl", type=PATH, help="From `track --masks FILE.jsonl`.")
@output_options
@reading_options
@reporting_options
def render(clip: str, tracks: str, **options: Any) -> None:
    """Write outputs again from saved tracks, with no model."""
    from trackmatte.runs import run_render

    run_render(clip, tracks=tracks, outputs=_requests(options), options=_run_options(options))


@cli.command()
@click.argument("clip", type=PATH)
@click.argument("output", metavar="OUT.png", type=PATH)
@click.option(
    "--frame", "time", default="0", show_default=True, metavar="TIME", help="A frame index (48) or seconds (1.6s)."
)
@seed_options
@click.option("--overwrite", is_flag=True, help="Replace a picture that exists.")
@model_options
@reading_options
@click.pass_obj
def preview(arguments: Sequence[str], /, clip: str, output: str, time: str, **options: Any) -> None:
    """Show one frame of CLIP with a ruler, to find coordinates, and the masks that seeds make on it.

    The ruler lies outside the frame: a place in an image viewer is a place in the clip (frames of less than 240 pixels
    are enlarged). Seeds without a TIME belong to the frame shown, those of another time are left out. Nothing is
    tracked, and without seeds no model is loaded.
    """
    from trackmatte.preview import run_preview
    from trackmatte.runs import ModelOptions

    seeds = {
        "--point": "points",
        "--negative": "negatives",
        "--box": "boxes",
        "--mask": "masks",
        "--prompts": "prompt_files",
    }
    names = ("model", "checkpoint", "device", "precision", "speed", "compile_")
    run_preview(
        clip,
        time=_time(time),
        prompts=_prompts({option: options.pop(name) for option, name in seeds.items()}, arguments),
        output=Path(output),
        model=ModelOptions(*(options.pop(name) for name in names)),
        options=_run_options(options),
    )


@cli.command()
@click.argument("clip", type=PATH)
@click.option("--stream", type=int, metavar="N", help="The video stream to describe.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def probe(clip: str, stream: int | None, as_json: bool) -> None:
    """Say what the reader sees of CLIP: size, rotation, rate, variable or not, colour, frames, audio."""
    from trackmatte.io.probe import probe as probe_clip
    from trackmatte.reporting import print_clip

    info = probe_clip(clip, stream=stream)
    if as_json:
        click.echo(json.dumps(asdict(info), default=_plain))
    else:
        print_clip(info)


@cli.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """What models are here, and what can be had."""
    if context.invoked_subcommand is None:
        context.invoke(list_models)


@models.command("list")
def list_models() -> None:
    """List all models, where each comes from and whether it is here."""
    from trackmatte.reporting import print_models

    print_models()


@models.command("download")
@click.argument("name")
def download_model(name: str) -> None:
    """Download the weights of NAME into the cache."""
    from trackmatte.tracker.weights import download

    click.echo(download(name))


@cli.command()
@click.option("--prediction", required=True, metavar="DIR", type=PATH, help="Indexed PNGs, or a folder of such.")
@click.option("--truth", required=True, metavar="DIR", type=PATH, help="The same for the ground truth.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def evaluate(prediction: str, truth: str, as_json: bool) -> None:
    """Region similarity J, contour accuracy F and J&F as DAVIS defines them, in percent."""
    from trackmatte.evaluation import evaluate as evaluate_folders
    from trackmatte.reporting import print_evaluation

    evaluation = evaluate_folders(Path(prediction), Path(truth))
    if as_json:
        click.echo(json.dumps(evaluation.to_json()))
    else:
        print_evaluation(evaluation)


def _plain(value: object) -> object:
    return float(value) if isinstance(value, Fraction) else str(value)


def _prompts(seeds: dict[str, Sequence[str]], arguments: Sequence[str]) -> list[Prompt]:
    """Prompts in the order in which the options stand on the command line, which is the order of the objects."""
    from trackmatte.io.prompts import read_prompts
    from trackmatte.seeds import parse_box, parse_mask, parse_point

    parse: dict[str, Callable[[str], Sequence[Prompt]]] = {
        "--point": lambda text: [parse_point(text)],
        "--negative": lambda text: [parse_point(text, positive=False)],
        "--box": lambda text: [parse_box(text)],
        "--mask": parse_mask,
        "--prompts": lambda text: read_prompts(Path(text)),
    }
    given = [(option, text) for option, texts in seeds.items() for text in texts]

    def place(seed: tuple[str, str]) -> int:
        option, text = seed
        pairs = zip(arguments, [*arguments[1:], None], strict=True)
        return next(i for i, pair in enumerate(pairs) if pair == (option, text) or pair[0] == f"{option}={text}")

    return [prompt for option, text in sorted(given, key=place) for prompt in parse[option](text)]


def _range(start: str | None, end: str | None) -> Range:
    from trackmatte.types import Range

    return Range(start=None if start is None else _time(start), end=None if end is None else _time(end))


def _time(text: str) -> Time:
    from trackmatte.seeds import parse_time
    from trackmatte.types import Time

    return Time(*parse_time(text))


def _requests(options: dict[str, Any]) -> list[OutputRequest]:
    from trackmatte.outputs import OutputRequest

    given: list[tuple[OutputKind, str, str]] = [("masks", "", path) for path in options.pop("mask_outputs")]
    given += [("matte", "", path) for path in options.pop("mattes")]
    given += [("alpha", "", path) for path in options.pop("alphas")]
    given += [("render", effect, path) for effect, path in options.pop("renders")]
    for kind, effect, path in given:
        if not path:
            raise UsageError(
                f"the name of an output is empty (--{kind} {effect}".rstrip() + "); give a file or a folder"
            )
    requests = [
        OutputRequest(kind, Path(path), effect, slash=path.endswith(("/", os.sep))) for kind, effect, path in given
    ]
    if options.pop("separate"):
        requests = [replace(one, separate=one.kind == "masks" and one.folder) for one in requests]
        if not any(one.separate for one in requests):
            raise UsageError("--separate is for a folder of masks; give --masks DIR")
    if not requests:
        raise UsageError("no output: give at least one of --masks, --matte, --alpha, --render")
    return requests


def _run_options(options: dict[str, Any]) -> Any:
    from trackmatte.numbers import frame_rate
    from trackmatte.runs import RunOptions

    rate = options.pop("rate")
    try:
        return RunOptions(**options, rate=None if rate is None else frame_rate(rate))
    except ValueError as error:
        raise UsageError(
            f"--rate {rate!r} is not a number of frames a second; give for example 24 or 30000/1001"
        ) from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with its code: 0, 2 to 5 by the kind of error, 130 when interrupted."""
    _fill_closed_streams()
    _handle_signals()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = cli.main(arguments or ["--help"], prog_name="trackmatte", standalone_mode=False, obj=arguments)
    except _Terminated as end:
        _complain(f"terminated; {_left_behind(end)}")
        code = end.code
    except (click.exceptions.Abort, KeyboardInterrupt) as end:
        _complain(f"interrupted; {_left_behind(end)}")
        code = 130
    except BrokenPipeError:  # whoever reads stdout has gone; nothing more can be said there
        code = 1
    except Exception as error:
        if debug:
            raise
        code = _report(_told(error))
    _flush()
    sys.exit(code if isinstance(code, int) else 0)


class _Terminated(SystemExit):
    """SIGTERM or SIGHUP came."""


def _left_behind(end: BaseException) -> str:
    """What a run that a signal ended has written; click raises its own error from an interrupt."""
    written = any(getattr(error, "written", False) for error in (end, end.__cause__, end.__context__))
    return "all outputs are written" if written else "nothing was written"


def _handle_signals() -> None:
    """SIGTERM and SIGHUP end a run as Ctrl-C does: outputs that are not complete are removed; a second one waits."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _end)


def _end(number: int, stack: object) -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if (other := getattr(signal, name, None)) is not None:
            signal.signal(other, signal.SIG_IGN)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise _Terminated(128 + number)


def _fill_closed_streams() -> None:
    """Puts /dev/null where stdin, stdout or stderr were closed, so that no file that is opened later becomes them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _flush() -> None:
    """What can't be printed any more is dropped here rather than in a traceback at the interpreter's end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _told(error: Exception) -> Exception:
    """An error in our words for what the system refused: memory, or a place to print to."""
    if isinstance(error, TrackmatteError | click.ClickException):
        return error
    if sentence := shortage(error):
        return ModelError(sentence)
    if isinstance(error, OSError) and error.filename is None and error.errno in (errno.ENOSPC, errno.EIO):
        return OutputError(f"the result can't be printed ({error.strerror}); give stdout a place with room")
    return error


def _complain(message: str) -> None:
    """One line on stderr, which is dropped where it can't be printed."""
    with contextlib.suppress(OSError):
        click.echo(f"trackmatte: {message}", err=True)


def _report(error: Exception) -> int:
    """Says in one line what is wrong; returns the exit code."""
    if isinstance(error, click.ClickException):
        message = error.format_message()
    elif isinstance(error, TrackmatteError):
        message = str(error)
    else:
        message = f"unexpected {type(error).__name__}: {error}; run again with --debug and report what it shows"
    _complain(printable(" ".join(message.split())))
    return error.exit_code if isinstance(error, TrackmatteError | click.ClickException) else 1

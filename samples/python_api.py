"""Track the rabbit of `bunny.mp4` from Python and print where it is in every twentieth frame.

python samples/python_api.py
"""

from pathlib import Path

import numpy as np

import trackmatte as tm

clip_path = Path(__file__).parent / "bunny.mp4"
model = tm.load_model("nano")
with tm.open_clip(clip_path) as clip:
    for result in tm.track(clip, [tm.Point(370, 420, name="bunny")], model=model):
        if result.index % 20:
            continue
        mask = result.masks[0]
        if result.present[0]:
            rows, columns = np.nonzero(mask)
            print(
                f"frame {result.index:3} at {float(result.pts_seconds):.2f} s: {mask.mean():6.1%} of the picture, "
                f"centre ({columns.mean():.0f}, {rows.mean():.0f}), score {result.scores[0]:.2f}"
            )
        else:
            print(f"frame {result.index:3}: lost")

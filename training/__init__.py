"""The training of `nano`. See README.md."""

import os

os.environ.setdefault("TQDM_DISABLE", "1")  # the reference predictor's bars; read when tqdm is imported

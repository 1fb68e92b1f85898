#!/usr/bin/env bash
# Two objects by name, a correction in the middle, saved tracks, and rendering again from them with no model.
set -euo pipefail
cd "$(dirname "$0")"


trackmatte track bunny.mp4 \
  --point bunny=370,420 \
  --point bunny@60=470,400 \
  --box stones@40=800,265,1155,430 \
  --masks out/tracks.jsonl --masks out/masks --overwrite

trackmatte render bunny.mp4 --tracks out/tracks.jsonl --render outline out/outline.mp4 --overwrite
trackmatte render bunny.mp4 --tracks out/tracks.jsonl --only bunny --render blur-background out/blur.mp4 --overwrite

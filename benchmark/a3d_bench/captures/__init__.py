"""Captures: heads with calibrated true pictures, from the folders that people have.

`open_captures` reads a folder for a protocol; `read_folder` reads all of it. Kinds: AnyHead data
sets (`anyhead`), NeRSemble V2 (`nersemble`), folders with a camera file (`camera_files`), and what
`a3d-bench data import` made of one of these (`imported`). Pictures are decoded when somebody asks
for them.
"""

from a3d_bench.captures.found import Found, Problem
from a3d_bench.captures.opening import CaptureSet, capture_digest, open_captures, read_folder

__all__ = ["CaptureSet", "Found", "Problem", "capture_digest", "open_captures", "read_folder"]

"""Bounds on what files may claim, checked before anything is allocated."""

PIXELS_MAX = 1 << 26  # 8192 x 8192: a picture of 0.8 GB as float32 RGB
DEFLATE_RATIO_MAX = 1032  # no deflate stream unpacks to more than this times its size (zlib)

"""Where fetched and derived files are kept between runs. Knows the standard library only."""

import os
from pathlib import Path


def cache_root() -> Path:
    """Return ``$A3D_CACHE``, or the platform's user cache folder for this project.

    The folder need not exist. On machines whose home folder is small, set ``A3D_CACHE``.
    """
    override = os.environ.get("A3D_CACHE")
    if override:
        return Path(override)
    import platformdirs

    return Path(platformdirs.user_cache_dir("any3davatar"))

"""The methods that the harness can score: a card each, and the classes of our own.

``METHODS`` is the table behind the entry point ``a3d_bench.methods``; a new row needs no reinstall.
"""

from pathlib import Path

METHODS: dict[str, Path] = {
    path.stem: path for path in sorted((Path(__file__).parent / "cards").glob("*.toml"))
}

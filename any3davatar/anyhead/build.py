"""Building a subset: in parallel, resumable, each head whole or not at all.

A head is built in a scratch folder and renamed into place, which is the moment it begins to exist;
the manifest is written after that. Whatever is interrupted, the next build sweeps the scratch
folder, takes into the manifest what is in place, and goes on; the bytes are the same in the end.
Only the process that called `build` touches the data set; workers write scratch folders.
"""

import fcntl
import multiprocessing
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from any3davatar.anyhead import layout
from any3davatar.anyhead.errors import DataError, Rejected
from any3davatar.anyhead.manifest import (
    Manifest,
    check_same_recipe,
    read_manifest,
    write_manifest,
)
from any3davatar.anyhead.recipes import Recipe
from any3davatar.anyhead.records import (
    Rejection,
    checked_groups,
    read_record,
    sha256_of,
    write_record,
)
from any3davatar.io import atomic_path

_PARENT_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    Attributes:
        subset: name of the subset's folder.
        built: heads built now.
        found: heads that were there already.
        rejected: heads that failed, now or in an earlier run, with the reason.
    """

    subset: str
    built: tuple[str, ...]
    found: tuple[str, ...]
    rejected: dict[str, str]


def build(
    root: Path,
    recipe: Recipe,
    seeds: Sequence[int],
    *,
    workers: int = 1,
    retry_rejected: bool = False,
    on_head: Callable[[str], None] | None = None,
) -> BuildReport:
    """Build the heads of these seeds that are not there yet.

    Args:
        root: root of the data set; created if needed.
        recipe: the subset's recipe; the one that it was begun with.
        seeds: one a head.
        workers: processes; with 1, the work is done in this one.
        retry_rejected: try heads again that an earlier run rejected.
        on_head: called with the id of each head that is done, found or rejected.

    Raises:
        DataError: another recipe made what is there, another build is running here, or a seed is
            given twice.
        OSError: the disk is full, or a folder can't be written.
    """
    wanted = {recipe.head_id(seed): seed for seed in seeds}
    if len(wanted) < len(seeds):
        raise DataError(f"got {len(seeds)} seeds, {len(wanted)} of them different; give each once")
    if workers < 1:
        raise DataError(f"workers: got {workers}, expected at least 1")
    folder = root / layout.checked_subset(recipe.subset)
    root.mkdir(parents=True, exist_ok=True)
    with _only_build(root), _scratch(root) as scratch:
        folder.mkdir(exist_ok=True)  # a subset without a manifest would be a damaged one
        manifest = _resumed(folder, recipe)
        if retry_rejected:
            manifest = Manifest(manifest.subset, manifest.recipe, manifest.heads)
        write_manifest(folder, manifest)
        with atomic_path(folder / layout.README) as temporary:
            temporary.write_text(recipe.readme(), encoding="utf-8")
        found = tuple(head for head in wanted if head in manifest.heads)
        settled = {*manifest.heads, *manifest.rejected}
        to_build = {head: seed for head, seed in wanted.items() if head not in settled}
        for head in wanted.keys() - to_build.keys():
            _tell(on_head, head)
        for head, outcome in _outcomes(recipe, to_build, scratch, workers):
            manifest = _commit(folder, manifest, head, scratch / head, outcome)
            _tell(on_head, head)
    return BuildReport(
        subset=recipe.subset,
        built=tuple(head for head in to_build if head in manifest.heads),
        found=found,
        rejected={
            head: manifest.rejected[head].reason for head in wanted if head in manifest.rejected
        },
    )


def _tell(on_head: Callable[[str], None] | None, head: str) -> None:
    if on_head is not None:
        on_head(head)


@contextmanager
def _only_build(root: Path) -> Iterator[None]:
    """Hold the root's lock; the system lets go of it however this process ends."""
    (root / layout.BUILD_FOLDER).mkdir(exist_ok=True)
    with (root / layout.BUILD_FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"{root}: another build is running in this folder; wait for it, or stop it"
            ) from error
        yield


@contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    """Yield an empty folder beside the data set, after sweeping what earlier builds left."""
    everything = root / layout.BUILD_FOLDER / "scratch"
    shutil.rmtree(everything, ignore_errors=True)
    # A name of its own: a worker that outlives a killed build for a moment can't meddle with this.
    scratch = everything / secrets.token_hex(8)
    scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(everything, ignore_errors=True)


def _resumed(folder: Path, recipe: Recipe) -> Manifest:
    """Return the manifest of what is in place, whatever the last run had time to note."""
    if not (folder / layout.MANIFEST).exists():
        if next(layout.heads_in(folder), None) is not None:
            raise DataError(
                f"{folder}: holds heads but no {layout.MANIFEST}, so nobody can tell how they were "
                "made; restore the file, or build into another folder"
            )
        return Manifest(recipe.subset, recipe.describe())
    manifest = read_manifest(folder)
    check_same_recipe(manifest, recipe.describe(), folder)
    heads = {}
    for head in layout.heads_in(folder):
        read_record(head)
        heads[head.name] = sha256_of(head / layout.HEAD_RECORD)
        if manifest.heads.get(head.name, heads[head.name]) != heads[head.name]:
            raise DataError(
                f"{head}: {layout.HEAD_RECORD} was changed after the build; run `any3davatar data "
                "verify`, and delete the folders that it names to build them again"
            )
    return Manifest(manifest.subset, recipe.describe(), heads, manifest.rejected)


def _commit(
    folder: Path, manifest: Manifest, head: str, built: Path, outcome: Rejection | None
) -> Manifest:
    """Move a head into place, or note why there is none; then write the manifest."""
    if outcome is None:
        built.rename(folder / head)
        _flush(folder)
        manifest = manifest.with_head(head, sha256_of(folder / head / layout.HEAD_RECORD))
    else:
        manifest = manifest.with_rejection(head, outcome)
    write_manifest(folder, manifest)
    return manifest


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _build_head(recipe: Recipe, head: str, seed: int, scratch: Path) -> Rejection | None:
    """Build one head in its scratch folder; return why it was rejected, or None."""
    folder = scratch / head
    folder.mkdir()
    try:
        record = checked_groups(recipe.build(seed, folder))
    except Rejected as rejected:
        shutil.rmtree(folder)
        return Rejection(rejected.reason, rejected.scores)
    write_record(folder, record)
    return None


def _outcomes(
    recipe: Recipe, to_build: dict[str, int], scratch: Path, workers: int
) -> Iterator[tuple[str, Rejection | None]]:
    """Yield heads as they get done: (head id, why it was rejected or None)."""
    if workers == 1 or len(to_build) < 2:
        for head, seed in to_build.items():
            yield head, _build_head(recipe, head, seed, scratch)
        return
    pool = ProcessPoolExecutor(
        workers,
        # A fork would copy locks that threads of torch hold.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_worker,
        initargs=(os.getpid(),),
    )
    waiting = iter(to_build.items())
    running: dict[Future[Rejection | None], str] = {}
    try:
        while True:
            for head, seed in waiting:
                running[pool.submit(_build_head, recipe, head, seed, scratch)] = head
                if len(running) >= 2 * workers:
                    break
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process was killed, perhaps for want of memory; everything that is done is "
            "kept: build again, with fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker(parent: int) -> None:
    """Use one thread, and end soon after a parent that was killed."""
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_SECONDS)
    os._exit(1)

"""Is a run what it says? Digests of all its files, and values computed again without the cache."""

import math
import random
from dataclasses import dataclass
from typing import Any

from a3d_bench.evaluate import evaluate, network_digests
from a3d_bench.names import slug
from a3d_bench.store import RunFolder
from a3d_bench.types import ALIGNMENTS, Alignment
from any3davatar.registry_files import sha256_of

# Values are float32 sums, which another processor adds in another order.
RELATIVE_TOLERANCE = 1e-5
ABSOLUTE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Verified:
    """What was checked.

    Attributes:
        files: whose digest was compared.
        values: that were computed again.
        all_values: that the run has.
        problems: in words, one a line.
    """

    files: int
    values: int
    all_values: int
    problems: tuple[str, ...]


def verify(run: RunFolder, *, share: float = 0.05, seed: int = 0) -> Verified:
    """Check a run against itself.

    Args:
        run: a finished run.
        share: of the views whose values are computed again, drawn at random; 1 for all.
        seed: of the draw.

    Raises:
        BenchError: the run has no scores, or a file of it is damaged.
    """
    record = run.read_run()
    problems = _settings(run, record)
    files, file_problems = _files(run)
    stored = run.scores()
    values, value_problems = _values(run, stored, share, seed)
    return Verified(files, values, len(stored), (*problems, *file_problems, *value_problems))


def _settings(run: RunFolder, record: dict[str, Any]) -> list[str]:
    problems = []
    said, found = record.get("protocol", {}).get("digest"), run.protocol().digest
    if said != found:
        problems.append(f"protocol.json has the digest {found}, run.json says {said}")
    now = network_digests(run.protocol().metrics)
    for metric, network in record.get("networks", {}).items():
        here = now.get(metric, {})
        if network["digest"] and here.get("digest") and here["digest"] != network["digest"]:
            problems.append(
                f"{metric} was computed with {network['digest'][:12]}; this machine has "
                f"{here['digest'][:12]}"
            )
    return problems


def _files(run: RunFolder) -> tuple[int, list[str]]:
    """Compare every file that a prediction lists with the digest that it has there."""
    count, problems = 0, []
    for method in run.methods():
        for capture in run.captures():
            prediction = run.prediction(method, capture.slug)
            if prediction is None:
                problems.append(f"{method}, {capture.id}: there is no prediction")
                continue
            folder = run.capture_folder("predictions", method, capture.slug)
            for name, digest in sorted(prediction.files.items()):
                path = folder / name
                count += 1
                if not path.resolve().is_relative_to(folder.resolve()):
                    problems.append(f"{method}, {capture.id}: {name!r} lies outside its folder")
                elif not path.is_file():
                    problems.append(f"{method}, {capture.id}: {name} is missing")
                elif sha256_of(path) != digest:
                    problems.append(f"{method}, {capture.id}: {name} was changed")
    return count, problems


def _values(run: RunFolder, stored: Any, share: float, seed: int) -> tuple[int, list[str]]:
    """Compute the values of some views again and compare."""
    slugs = {row.id: row.slug for row in run.captures()}
    strangers = sorted(set(stored["capture"]) - set(slugs))
    problems = [
        f"scores.parquet has {name!r}, which is no capture of the run" for name in strangers
    ]
    pairs = set(zip(stored["capture"], stored["view"], strict=True))
    views = sorted((slugs[name], int(view)) for name, view in pairs if name in slugs)
    count = math.ceil(share * len(views))
    drawn = set(random.Random(seed).sample(views, count))
    if not drawn:
        return 0, problems
    alignments: list[Alignment] = [kind for kind in ALIGNMENTS if kind in set(stored["alignment"])]
    methods = [method for method in run.methods() if method in set(stored["method"])]
    again = evaluate(
        run,
        methods=methods,
        alignments=alignments,
        metrics=run.read_run().get("metrics"),
        views=drawn,
        use_cache=False,
    )
    table = {
        (row.method, row.capture, row.view, row.alignment, row.metric): row
        for row in stored.itertuples(index=False)
        if (slugs.get(row.capture, slug(row.capture)), row.view) in drawn
    }
    for score in again:
        key = (score.method, score.capture, score.view, score.alignment, score.metric)
        row = table.pop(key, None)
        where = f"{score.method}, {score.capture}, view {score.view}, {score.alignment}"
        if row is None:
            problems.append(f"{where}: the table has no row for {score.metric}")
        elif row.status != score.status:
            problems.append(f"{where}: {score.metric} is {row.status}, found {score.status}")
        elif score.value is not None and not math.isclose(
            row.value, score.value, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE
        ):
            problems.append(f"{where}: {score.metric} is {row.value:.7g}, found {score.value:.7g}")
    problems += [f"the table has a row that nothing gives: {key}" for key in table]
    return len(again), problems

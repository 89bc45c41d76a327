"""What ``any3davatar data`` does."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from any3davatar.anyhead import layout, ready
from any3davatar.anyhead.backends import BackEnds, read_backends
from any3davatar.anyhead.build import BuildReport
from any3davatar.anyhead.build import build as build_subset
from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.manifest import read_manifest
from any3davatar.anyhead.preview import contact_sheet, write_review_sheets
from any3davatar.anyhead.readers import AnyHead
from any3davatar.anyhead.recipes import Recipe
from any3davatar.anyhead.splits import SplitRule, read_splits
from any3davatar.anyhead.stats import statistics
from any3davatar.anyhead.subsets.accessory_rich import AccessoryHeads
from any3davatar.anyhead.subsets.ai_generated import AiGeneratedHeads
from any3davatar.anyhead.subsets.digital_human import DigitalHumans, Drawing
from any3davatar.anyhead.verify import Thoroughness
from any3davatar.anyhead.verify import verify as verify_root
from any3davatar.commands.inputs import UsageError, console, progress_bar
from any3davatar.io import write_png

SINGLE_SUBSETS = ("digital-human", "accessory-rich", "ai-generated")
NAMES = (ready.MINI, ready.TRAIN, *SINGLE_SUBSETS)


@dataclass(frozen=True)
class BuildJob:
    """What `build` does; None means the recipe's own choice.

    Attributes:
        name: one of `NAMES`.
        out: root to build into; None: the cache.
        heads: persons.
        accessory_heads: of ``anyhead-train``: how many persons also appear with accessories.
        ai_heads: of ``anyhead-train``: AI-generated heads.
        first_seed: of a single subset.
        size_px: width and height of the pictures.
        rig: of a single subset.
        groups: expressions or accessories a person; of ``anyhead-train``: expressions.
        worn: of ``digital-human``: share of the persons who wear something.
        draft: of ``digital-human``: whether heads are built coarsely.
        workers: processes.
        resume: whether heads may be there already.
        retry_rejected: whether rejected heads of a single subset are tried again.
        backends: file that names back ends, of a single subset.
        cost_limit: most that paid back ends may cost.
    """

    name: str
    out: Path | None
    heads: int
    accessory_heads: int
    ai_heads: int
    first_seed: int | None
    size_px: int
    rig: str | None
    groups: int | None
    worn: float | None
    draft: bool
    workers: int | None
    resume: bool
    retry_rejected: bool
    backends: Path | None
    cost_limit: float | None


def build(job: BuildJob) -> int:
    """Build; return how many heads are rejected."""
    if job.name not in NAMES:
        raise UsageError(f"unknown data set {job.name!r}; known: {', '.join(NAMES)}")
    root = job.out or ready.ready_root(job.name, job.size_px)
    if not job.resume and root.exists() and any(root.iterdir()):
        raise UsageError(f"{root} is not empty; leave out --no-resume to go on there")
    root.mkdir(parents=True, exist_ok=True)
    workers = job.workers if job.workers is not None else len(os.sched_getaffinity(0))
    if job.name in SINGLE_SUBSETS:
        reports = [_build_single(job, root, workers)]
    else:
        reports = _build_ready(job, root, workers)
    for report in reports:
        console.print(
            f"{report.subset}: {len(report.built)} built, {len(report.found)} were there, "
            f"{len(report.rejected)} rejected; in {root}",
            highlight=False,
            soft_wrap=True,
        )
        for head, reason in report.rejected.items():
            console.print(f"rejected: {head}: {reason}", style="yellow", markup=False)
    return sum(len(report.rejected) for report in reports)


def _build_ready(job: BuildJob, root: Path, workers: int) -> list[BuildReport]:
    odd = {
        "--first-seed": job.first_seed,
        "--rig": job.rig,
        "--groups": job.groups if job.name == ready.MINI else None,
        "--worn": job.worn,
        "--draft": job.draft or None,
        "--backends": job.backends,
        "--cost-limit": job.cost_limit,
    }
    given = [option for option, value in odd.items() if value is not None]
    if given:
        raise UsageError(f"{job.name} is a fixed recipe; leave out {', '.join(given)}")
    if job.name == ready.MINI:
        with progress_bar(job.name, len(ready.EVALUATION_ROLES)) as advance:
            return ready.build_mini(
                root, size_px=job.size_px, workers=workers, on_head=lambda _: advance()
            )
    expressions = ready.TrainingSize(1).expressions if job.groups is None else job.groups
    size = ready.TrainingSize(job.heads, job.accessory_heads, job.ai_heads, expressions)
    with progress_bar(job.name, job.heads + job.accessory_heads + job.ai_heads) as advance:
        return ready.build_train(
            root, size, size_px=job.size_px, workers=workers, on_head=lambda _: advance()
        )


def _build_single(job: BuildJob, root: Path, workers: int) -> BuildReport:
    if job.accessory_heads or job.ai_heads:
        raise UsageError(f"--accessory-heads and --ai-heads belong to {ready.TRAIN}")
    ledger = root / layout.BUILD_FOLDER / "costs.txt"
    backends = (
        BackEnds()
        if job.backends is None
        else read_backends(job.backends, ledger=ledger, cost_limit=job.cost_limit)
    )
    recipe = _single_recipe(job, backends)
    first = ready.TRAINING_SEEDS if job.name != "ai-generated" else ready.TRAINING_SEEDS_AI
    start = first.start if job.first_seed is None else job.first_seed
    if start < 0 or job.heads < 1:
        raise UsageError("--first-seed must be at least 0, and --heads at least 1")
    with progress_bar(job.name, job.heads) as advance:
        return build_subset(
            root,
            recipe,
            list(range(start, start + job.heads)),
            workers=workers,
            retry_rejected=job.retry_rejected,
            on_head=lambda _: advance(),
        )


def _single_recipe(job: BuildJob, backends: BackEnds) -> Recipe:
    drawing = Drawing(job.size_px)
    if job.name == "digital-human":
        default = DigitalHumans()
        return DigitalHumans(
            drawing,
            job.rig or default.rig,
            job.groups or default.expressions,
            job.worn or 0.0,
            job.draft,
        )
    for option, given in (("--worn", job.worn is not None), ("--draft", job.draft)):
        if given:
            raise UsageError(f"{option} belongs to digital-human")
    if job.name == "accessory-rich":
        if job.rig is not None:
            raise UsageError("the accessory grid has a rig of its own; leave out --rig")
        count = job.groups or AccessoryHeads().accessories
        return AccessoryHeads(drawing, count, backends.editor)
    if job.groups is not None:
        raise UsageError("an AI-generated head has one group; leave out --groups")
    return AiGeneratedHeads(
        drawing,
        job.rig or AiGeneratedHeads().rig,
        backends.text_to_image,
        backends.image_to_views,
        backends.enhancement,
        backends.head_filter,
    )


def verify(root: Path, *, silhouettes: bool, redraw: int) -> int:
    """Print every problem; return how many there are."""
    heads = sum(_head_count(root / subset) for subset in layout.subsets_in(root))
    with progress_bar("verifying", heads) as advance:
        problems = verify_root(root, Thoroughness(silhouettes, redraw), on_head=lambda _: advance())
    for problem in problems:
        console.print(str(problem), style="red", markup=False, highlight=False, soft_wrap=True)
    if not problems:
        console.print(f"{root}: {heads} heads, nothing is wrong", highlight=False, soft_wrap=True)
    return len(problems)


def _head_count(subset_folder: Path) -> int:
    return sum(1 for _ in layout.heads_in(subset_folder))


def stats(root: Path, *, as_json: bool) -> None:
    """Print the row of table 6 and the other counts to stdout."""
    import typer

    found = statistics(root)
    digests = {subset: read_manifest(root / subset).digest for subset in layout.subsets_in(root)}
    if as_json:
        typer.echo(json.dumps({**asdict(found), "table_6": found.table_row, "sha256": digests}))
        return
    width = max(map(len, found.table_row))
    for name, value in found.table_row.items():
        typer.echo(f"{name:<{width}}  {value}")
    typer.echo(_counts(found.heads, "heads"))
    typer.echo(f"{found.groups} groups, {found.pictures} pictures, {found.bytes / 1e6:.1f} MB")
    if found.accessory_kinds:
        typer.echo(_counts(found.accessory_kinds, "groups with accessories"))
    for subset, digest in digests.items():
        typer.echo(f"{subset} sha256 {digest}")


def _counts(counts: Mapping[str, int], what: str) -> str:
    return f"{what}: " + ", ".join(f"{name} {count}" for name, count in counts.items())


def preview(root: Path, out: Path, *, rows: int, columns: int, cell_px: int) -> None:
    """Write a contact sheet of groups that are spread over the set."""
    data_set = AnyHead(root)
    step = max(1, len(data_set) // rows)
    chosen = [data_set[i] for i in range(0, len(data_set), step)][:rows]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_png(out, contact_sheet(chosen, columns=columns, cell_px=cell_px))


def review(root: Path, subset: str) -> None:
    """Write the sheets and the file of the manual quality control."""
    if subset not in layout.subsets_in(root):
        raise UsageError(f"{root} has no {subset}; it has {', '.join(layout.subsets_in(root))}")
    decisions, *sheets = write_review_sheets(root, subset)
    console.print(
        f"{len(sheets)} sheets in {decisions.parent / '.review'}; decide in {decisions}",
        soft_wrap=True,
    )


def split(root: Path, *, validation: float, test: float, salt: str) -> None:
    """Assign subjects; a stored split is kept unless the rule is the same."""
    rule = SplitRule(salt, validation, test)
    if (root / layout.SPLITS).exists() and read_splits(root).rule != rule:
        raise DataError(
            f"{root / layout.SPLITS} was made by {read_splits(root).rule}; a stored split is not "
            "changed. Ask for the same rule, or delete the file if nobody trained on it yet"
        )
    ready.store_splits(root, rule)
    console.print(f"{read_splits(root).counts}", highlight=False)

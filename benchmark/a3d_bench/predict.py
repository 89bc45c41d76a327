"""One method on one capture: a job is written, run, and what it left becomes a prediction.

``prediction.json`` is written last. Whatever ends the run before that (a crash, Ctrl-C, kill -9)
costs this capture only: the next run finds no ``prediction.json``, clears the folder and does the
capture again.
"""

import logging
import secrets
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from a3d_bench.errors import BenchError
from a3d_bench.methods.job import Job, write_job
from a3d_bench.methods.outputs import Harvest, harvest, sha256_of
from a3d_bench.methods.registry import RegisteredMethod
from a3d_bench.methods.runners import MethodRun, Outcome
from a3d_bench.names import slug
from a3d_bench.pictures import portrait_of, protocol_cameras, write_truth
from a3d_bench.protocol import Protocol
from a3d_bench.store import RunFolder
from a3d_bench.types import Capture, Prediction

logger = logging.getLogger(__name__)


def predict(
    run: RunFolder,
    method: MethodRun,
    capture: Capture,
    protocol: Protocol,
    *,
    retry_failures: bool = False,
) -> Prediction:
    """Return what a method makes of a capture: what is there already, or a new run's.

    Args:
        run: where it is kept.
        method: `a3d_bench.methods.open_method`; it keeps a loaded model between captures.
        capture: what it is about; its views are those of the protocol.
        protocol: the rules.
        retry_failures: do again what is there but failed.

    Returns:
        A prediction, also where the method failed: then its status and reason say how.
    """
    known = finished(run, method, capture, protocol)
    if known is not None and not (retry_failures and known.status != "ok"):
        return known
    folder = run.capture_folder("predictions", method.method.id, slug(capture.id))
    if folder.is_symlink():
        raise BenchError(f"{folder} is a link, expected a folder of this run; remove it")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    log = folder / "log.txt"
    log.touch()
    # A name of its own: what a killed run left running can't write into this one's job.
    work = folder / f"job-{secrets.token_hex(4)}"
    try:
        job = _job(run, method.method, capture, protocol, work)
        outcome = method.reconstruct(job, log.resolve())
        outcome, found = _harvested(method.method, job, outcome, folder)
        prediction = _prediction(method, job, outcome, found, protocol, folder)
        run.write_prediction(slug(capture.id), prediction)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    logger.info("%s on %s: %s", method.method.id, capture.id, prediction.status)
    return prediction


def finished(
    run: RunFolder, method: MethodRun, capture: Capture, protocol: Protocol
) -> Prediction | None:
    """Return the prediction that is there, if it is whole and still answers the same question.

    It does when protocol, card, code of the method (or the outputs it was taken from) and all
    files are what they were.
    """
    name = slug(capture.id)
    try:
        known = run.prediction(method.method.id, name)
    except BenchError as error:
        logger.warning("done again: %s", error)
        return None
    if known is None or known.protocol_digest != protocol.digest:
        return None
    if any(known.details.get(key) != value for key, value in _identity(method, capture).items()):
        return None
    folder = run.capture_folder("predictions", method.method.id, name)
    for relative, digest in known.files.items():
        path = folder / relative
        if ".." in Path(relative).parts or not path.is_file() or sha256_of(path) != digest:
            return None
    return known


def predict_all(
    run: RunFolder,
    method: MethodRun,
    captures: list[Capture],
    protocol: Protocol,
    *,
    on_done: Callable[[Prediction], None] | None = None,
    retry_failures: bool = False,
) -> list[Prediction]:
    """Return the predictions of a method for every capture; one that fails stops no other."""
    predictions = []
    for capture in captures:
        predictions.append(predict(run, method, capture, protocol, retry_failures=retry_failures))
        if on_done is not None:
            on_done(predictions[-1])
    return predictions


def _identity(method: MethodRun, capture: Capture) -> dict[str, str]:
    fields = {
        "capture": slug(capture.id),
        "capture_path": "/".join(slug(part) for part in capture.id.split("/")),
        "subject": slug(capture.subject),
    }
    return {"card": method.method.card.digest, "source": method.fingerprint(fields)}


def _job(
    run: RunFolder, method: RegisteredMethod, capture: Capture, protocol: Protocol, work: Path
) -> Job:
    name, picture = slug(capture.id), protocol.picture
    truth = None
    if method.card.sees_truth:
        truth = [run.truth_path(name, view) for view in range(len(capture))]
        for view, path in enumerate(truth):
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_truth(capture, view, picture, path)
    return write_job(
        work,
        capture=capture,
        portrait=portrait_of(capture, protocol),
        cameras=protocol_cameras(capture, picture),
        background=picture.background,
        seed=protocol.seed,
        truth=truth,
    )


def _harvested(
    method: RegisteredMethod, job: Job, outcome: Outcome, folder: Path
) -> tuple[Outcome, Harvest]:
    """Take over what the method left; what can't be used becomes the reason of a failure."""
    if outcome.status != "ok":
        return outcome, Harvest()
    try:
        return outcome, harvest(method, job, outcome.source, folder)
    except BenchError as error:
        given = method.card.runner.kind == "external"
        status = "missing" if given else "method_error"
        # Half of an output is none: what was written before the failure goes.
        shutil.rmtree(folder / "views", ignore_errors=True)
        (folder / "gaussians.ply").unlink(missing_ok=True)
        return replace(outcome, status=status, reason=str(error)), Harvest()


def _prediction(
    method: MethodRun,
    job: Job,
    outcome: Outcome,
    found: Harvest,
    protocol: Protocol,
    folder: Path,
) -> Prediction:
    files = {f"views/{view:03d}.png": "" for view in found.views}
    if (folder / "gaussians.ply").is_file():
        files["gaussians.ply"] = ""
    seconds = outcome.seconds
    if found.rendered is not None:
        took = found.rendered
        seconds = replace(seconds, render=took.median, render_p95=took.p95, frames=took.frames)
    identity = {
        "card": method.method.card.digest, "source": method.fingerprint(job.result_fields())
    }  # fmt: skip
    return Prediction(
        protocol_digest=protocol.digest,
        method=method.method.id,
        capture=job.capture,
        subject=job.subject,
        status=outcome.status,
        reason=outcome.reason,
        files={name: sha256_of(folder / name) for name in files},
        seconds=seconds,
        timed_by=outcome.timed_by,
        peak_rss_bytes=outcome.peak_rss_bytes,
        peak_gpu_bytes=outcome.peak_gpu_bytes,
        device=outcome.device,
        details={**outcome.details, **found.notes, **identity},
    )

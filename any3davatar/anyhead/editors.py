"""Editors: a grid of views goes in, the same grid with an accessory comes out.

`ProceduralEditor` is the embedded one. The others reach any image editing model: `CommandEditor`
runs a program, `HttpEditor` asks an endpoint. Their result is a picture on white, so its alpha is
estimated; a failure after the last attempt is a `BackEndFailed`, which rejects the group.
"""

import base64
import binascii
import fcntl
import json
import logging
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable
from urllib.parse import urlsplit

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.anyhead import people
from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.grid import join_grid, split_grid
from any3davatar.anyhead.heads.spec import HeadSpec
from any3davatar.anyhead.lexicon import WornThing
from any3davatar.anyhead.matte import WHITE, views_from_white
from any3davatar.anyhead.programs import BackEndFailed, Program, described
from any3davatar.core import Cameras, Views
from any3davatar.core.images import composite
from any3davatar.io import FormatError, read_png, write_png

RESPONSE_LIMIT_BYTES = 1 << 28
_RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


@dataclass(frozen=True, eq=False)
class EditRequest:
    """One edit.

    Attributes:
        views: (16, ...) the views before the edit, straight colour and alpha.
        cameras: (16,) their cameras.
        spec: the person in them.
        worn: what to add.
        prompt: the text that asks for it.
        supersampling: samples a pixel and axis, for the editor that renders.
    """

    views: Views
    cameras: Cameras
    spec: HeadSpec
    worn: WornThing
    prompt: str
    supersampling: int

    @property
    def grid(self) -> Float[Tensor, "3 GH GW"]:
        """The views over white in one picture: what an image model sees."""
        return join_grid(composite(self.views.rgb, self.views.alpha, WHITE))


@runtime_checkable
class GridEditor(Protocol):
    """Adds an accessory to all views at once. Frozen, and fit for sending to another process."""

    def edit(self, request: EditRequest) -> Views:
        """Return the edited views, straight colour and alpha, in the order of the request.

        Raises:
            BackEndFailed: there is no usable result for this request.
            DataError: there will be none for any request.
        """
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return what the recipe records about the editor, as JSON; no secrets."""
        ...


@dataclass(frozen=True)
class ProceduralEditor:
    """Renders the same head again, wearing the accessory: consistent by construction."""

    def edit(self, request: EditRequest) -> Views:
        """See `GridEditor`; the prompt is not read, the accessory it stands for is."""
        dressed = people.with_accessories(request.spec, request.worn.accessory)
        return people.draw(dressed, request.cameras, request.supersampling)

    def describe(self) -> Mapping[str, Any]:
        """See `GridEditor`."""
        return {"kind": "procedural"}


@dataclass(frozen=True)
class CommandEditor:
    """Runs a program that reads the grid ``{input}`` (PNG) and writes the edited ``{output}``.

    Attributes:
        program: the command line; ``{prompt}`` is the text.
        attempts: how often to try.
    """

    program: Program
    attempts: int = 2

    def __post_init__(self) -> None:
        _check_attempts(self.attempts)

    def edit(self, request: EditRequest) -> Views:
        """See `GridEditor`."""
        return _tried(self.attempts, 0.0, BackEndFailed, lambda: self._edit_once(request))

    def _edit_once(self, request: EditRequest) -> Views:
        with tempfile.TemporaryDirectory(prefix="grid-") as folder:
            grid, edited = Path(folder) / "grid.png", Path(folder) / "edited.png"
            write_png(grid, request.grid)
            self.program.run({"input": str(grid), "output": str(edited), "prompt": request.prompt})
            return _edited_views(edited, request)

    def describe(self) -> Mapping[str, Any]:
        """See `GridEditor`."""
        return {"kind": "command", "arguments": described(self.program.arguments)}


@dataclass(frozen=True)
class Budget:
    """A limit on what a build may spend, kept in a file so that a stopped build does not forget.

    Attributes:
        ledger: the file; shared by all workers.
        limit: no request is sent that would lead above this, in the same currency as the costs.
    """

    ledger: Path
    limit: float

    def spend(self, cost: float) -> None:
        """Note a cost before it is incurred; raises `DataError` where the limit forbids it."""
        self.ledger.parent.mkdir(parents=True, exist_ok=True)
        with self.ledger.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            spent = sum(float(line) for line in file.read().split())
            if spent + cost > self.limit:
                raise DataError(
                    f"the cost limit is reached: {spent:g} of {self.limit:g} is spent and the next "
                    f"request costs {cost:g}; what is built is kept. Raise the limit to go on"
                )
            file.write(f"{cost!r}\n")
            file.flush()
            os.fsync(file.fileno())


@dataclass(frozen=True)
class HttpEditor:
    """Asks an endpoint.

    The request is a POST of ``{"prompt": text, "image_png_base64": grid}``. The answer is either
    the edited PNG itself (``Content-Type: image/png``) or ``{"image_png_base64": ...}``. A service
    that speaks otherwise needs a small relay, or a program for `CommandEditor`.

    Attributes:
        url: http or https.
        token_variable: environment variable with a bearer token; None sends none.
        timeout_seconds: for one attempt, from connecting to the last byte.
        attempts: how often to try; only what may pass by itself is tried again.
        backoff_seconds: pause before the second attempt; doubled for each further one.
        cost_per_request: every request sent is charged with this, answered or not.
        budget: the limit; None means that requests are free.
    """

    url: str
    token_variable: str | None = None
    timeout_seconds: float = 120.0
    attempts: int = 4
    backoff_seconds: float = 2.0
    cost_per_request: float = 0.0
    budget: Budget | None = None

    def __post_init__(self) -> None:
        _check_attempts(self.attempts)
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DataError(f"got the URL {self.url!r}, expected http://... or https://...")
        if parts.username or parts.password:
            raise DataError("a URL must not hold a password: name a token variable instead")
        if not self.timeout_seconds > 0:
            raise DataError(f"timeout_seconds must be positive; got {self.timeout_seconds}")
        if self.cost_per_request > 0 and self.budget is None:
            raise DataError("requests that cost something need a budget: set a cost limit")

    def edit(self, request: EditRequest) -> Views:
        """See `GridEditor`."""
        with tempfile.TemporaryDirectory(prefix="grid-") as folder:
            grid, edited = Path(folder) / "grid.png", Path(folder) / "edited.png"
            write_png(grid, request.grid)
            body = json.dumps(
                {
                    "prompt": request.prompt,
                    "image_png_base64": base64.b64encode(grid.read_bytes()).decode(),
                }
            ).encode()
            picture = _tried(self.attempts, self.backoff_seconds, _MayPass, lambda: self._ask(body))
            edited.write_bytes(picture)
            return _edited_views(edited, request)

    def _ask(self, body: bytes) -> bytes:
        if self.budget is not None:
            self.budget.spend(self.cost_per_request)
        headers = {"Content-Type": "application/json", "Accept": "image/png, application/json"}
        if self.token_variable is not None:
            token = os.environ.get(self.token_variable)
            if not token:
                raise DataError(f"the environment variable {self.token_variable} is not set")
            headers["Authorization"] = f"Bearer {token}"
        question = urllib.request.Request(self.url, body, headers, method="POST")
        deadline = time.monotonic() + self.timeout_seconds
        try:
            with _opener().open(question, timeout=self.timeout_seconds) as answer:
                content = _read_until(answer, deadline)
                kind = answer.headers.get_content_type()
        except urllib.error.HTTPError as error:
            with error:
                failure = f"the endpoint answered {error.code}"
            if error.code in _RETRIED_STATUS:
                raise _MayPass(failure) from error
            raise BackEndFailed(failure) from error
        except TimeoutError as error:
            raise _MayPass(f"no answer within {self.timeout_seconds:g} seconds") from error
        except OSError as error:  # URLError is one
            raise _MayPass(f"the endpoint can't be reached: {error}") from error
        return content if kind == "image/png" else _picture_in_json(content)

    def describe(self) -> Mapping[str, Any]:
        """See `GridEditor`."""
        return {"kind": "http", "url": self.url}


class _MayPass(BackEndFailed):
    """A failure that another attempt may not meet."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST becomes a GET and would carry the token elsewhere: refuse it."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirects)


def _read_until(answer: Any, deadline: float) -> bytes:
    """Read an answer that may drip; the socket's own timeout only bounds each piece."""
    content = bytearray()
    while piece := answer.read1(1 << 16):
        content += piece
        if len(content) > RESPONSE_LIMIT_BYTES:
            raise BackEndFailed(f"the answer is larger than {RESPONSE_LIMIT_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(content)


def _picture_in_json(content: bytes) -> bytes:
    try:
        answer = json.loads(content)
        return base64.b64decode(answer["image_png_base64"], validate=True)
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise BackEndFailed(
            f"the answer holds no picture: got {content[:60]!r}, expected a PNG or JSON with "
            "image_png_base64"
        ) from error


def _tried(
    attempts: int,
    backoff_seconds: float,
    retried: type[BackEndFailed],
    attempt: Callable[[], _Result],
) -> _Result:
    for number in range(1, attempts + 1):
        try:
            return attempt()
        except retried as error:
            if number == attempts:
                raise
            _log.warning("attempt %d of %d failed: %s", number, attempts, error)
            time.sleep(backoff_seconds * 2 ** (number - 1))
    raise AssertionError("attempts is at least 1")


def _check_attempts(attempts: int) -> None:
    if attempts < 1:
        raise DataError(f"attempts: got {attempts}, expected at least 1")


def _edited_views(path: Path, request: EditRequest) -> Views:
    """Read an edited grid and cut it; where it was not edited, the alpha stays what it was."""
    try:
        rgb, alpha = read_png(path)
    except (FormatError, OSError) as error:
        raise BackEndFailed(f"the editor's result is no picture: {error}") from error
    expected = tuple(request.grid.shape)
    if tuple(rgb.shape) != expected:
        raise BackEndFailed(
            f"the editor returned {rgb.shape[2]} x {rgb.shape[1]} pixels, expected "
            f"{expected[2]} x {expected[1]}"
        )
    if alpha is not None:
        return Views(split_grid(rgb), split_grid(alpha))
    before, after = split_grid(request.grid), split_grid(rgb)
    estimated = views_from_white(after)
    same = (after - before).abs().amax(1, keepdim=True) < 2 / 255
    return Views(
        torch.where(same, request.views.rgb, estimated.rgb),
        torch.where(same, request.views.alpha, estimated.alpha),
    )

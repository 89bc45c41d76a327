"""External editors against a loopback server and small programs; the scene is made of spheres."""

import base64
import http.server
import io
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from any3davatar.anyhead.backends import BackEnds, read_backends
from any3davatar.anyhead.editors import Budget, CommandEditor, EditRequest, HttpEditor
from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.heads.spec import HeadSpec
from any3davatar.anyhead.lexicon import ACCESSORIES
from any3davatar.anyhead.programs import BackEndFailed, Program
from any3davatar.anyhead.prompts import accessory_prompt
from any3davatar.anyhead.rigs import make_rig
from any3davatar.core.images import composite
from any3davatar.io import FormatError
from tests.anyhead.spheres import HAT, draw, head_of

CAMERAS = make_rig("accessory16", 32, 0).cameras
BEFORE = draw(head_of(1), CAMERAS)
AFTER = draw([*head_of(1), HAT], CAMERAS)
WORN = ACCESSORIES[0]
REQUEST = EditRequest(BEFORE, CAMERAS, HeadSpec(), WORN, accessory_prompt(WORN), 1)


def png_of(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def edited_grid() -> bytes:
    edited = EditRequest(AFTER, CAMERAS, HeadSpec(), WORN, "", 1).grid
    return png_of((edited.movedim(0, -1) * 255).round().byte().numpy())


class Endpoint(http.server.ThreadingHTTPServer):
    """Answers by path, and remembers the questions."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.questions: list[dict[str, str]] = []
        self.tokens: list[str | None] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(http.server.BaseHTTPRequestHandler):
    server: Endpoint  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.questions.append(json.loads(self.rfile.read(length)))
        self.server.tokens.append(self.headers.get("Authorization"))
        picture = edited_grid()
        if self.path == "/png":
            self.answer(200, "image/png", picture)
        elif self.path == "/json":
            content = {"image_png_base64": base64.b64encode(picture).decode()}
            self.answer(200, "application/json", json.dumps(content).encode())
        elif self.path == "/flaky":
            first = len(self.server.questions) == 1
            self.answer(500 if first else 200, "image/png", b"busy" if first else picture)
        elif self.path == "/hang":
            self.server.released.wait(20)
        elif self.path == "/drip":
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.end_headers()
            while not self.server.released.wait(0.05):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return
        elif self.path == "/small":
            self.answer(200, "image/png", png_of(np.zeros((64, 64, 3), np.uint8)))
        elif self.path == "/garbage":
            self.answer(200, "image/png", b"\x89PNG but not really")
        elif self.path == "/words":
            self.answer(200, "application/json", b'{"error": "I can not do that"}')
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/png")
            self.end_headers()
        else:
            self.answer(403, "text/plain", b"no")

    def answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def editor(endpoint: Endpoint, path: str, attempts: int = 1, timeout: float = 20.0) -> HttpEditor:
    return HttpEditor(
        endpoint.url + path, timeout_seconds=timeout, attempts=attempts, backoff_seconds=0.01
    )


@pytest.mark.parametrize("path", ["/png", "/json"])
def test_an_edited_grid_comes_back_as_views(endpoint: Endpoint, path: str) -> None:
    views = editor(endpoint, path).edit(REQUEST)
    white = torch.ones(3)
    got = composite(views.rgb, views.alpha, white)
    expected = composite(AFTER.rgb, AFTER.alpha, white)
    # One step of 8 bits, from rounding before and after.
    torch.testing.assert_close(got, expected, atol=1.01 / 255, rtol=0)
    # The outline of the hat is estimated: everything else is exact.
    assert float((views.alpha - AFTER.alpha).abs().mean()) < 0.005
    (question,) = endpoint.questions
    assert question["prompt"] == REQUEST.prompt
    sent = Image.open(io.BytesIO(base64.b64decode(question["image_png_base64"])))
    assert sent.size == (128, 128)


def test_a_failure_that_may_pass_is_tried_again(endpoint: Endpoint) -> None:
    editor(endpoint, "/flaky", attempts=2).edit(REQUEST)
    assert len(endpoint.questions) == 2


def test_a_refusal_is_not_tried_again(endpoint: Endpoint) -> None:
    with pytest.raises(BackEndFailed, match="the endpoint answered 403"):
        editor(endpoint, "/forbidden", attempts=5).edit(REQUEST)
    assert len(endpoint.questions) == 1


@pytest.mark.parametrize("path", ["/hang", "/drip"])
def test_an_endpoint_that_hangs_or_drips_is_given_up(endpoint: Endpoint, path: str) -> None:
    begun = time.monotonic()
    with pytest.raises(BackEndFailed, match=r"no answer within 0\.3 seconds"):
        editor(endpoint, path, attempts=2, timeout=0.3).edit(REQUEST)
    assert time.monotonic() - begun < 10
    assert len(endpoint.questions) == 2


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/small", "the editor returned 64 x 64 pixels, expected 128 x 128"),
        ("/garbage", "the editor's result is no picture"),
        ("/words", "the answer holds no picture"),
        ("/moved", "the endpoint answered 302"),
    ],
)
def test_useless_answers_are_failures_that_say_why(
    endpoint: Endpoint, path: str, text: str
) -> None:
    with pytest.raises(BackEndFailed, match=text):
        editor(endpoint, path).edit(REQUEST)


def test_an_endpoint_that_is_not_there_is_a_failure(endpoint: Endpoint) -> None:
    nobody = HttpEditor("http://127.0.0.1:1/", attempts=2, backoff_seconds=0.01)
    with pytest.raises(BackEndFailed, match="the endpoint can't be reached"):
        nobody.edit(REQUEST)


def test_no_request_goes_beyond_the_cost_limit_even_after_a_restart(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    def paid() -> HttpEditor:
        budget = Budget(tmp_path / "costs.txt", 0.1)
        return HttpEditor(endpoint.url + "/png", cost_per_request=0.04, budget=budget)

    paid().edit(REQUEST)
    paid().edit(REQUEST)
    with pytest.raises(DataError, match=r"the cost limit is reached: 0\.08 of 0\.1 is spent"):
        paid().edit(REQUEST)
    assert len(endpoint.questions) == 2


def test_a_token_comes_from_the_environment_and_is_not_recorded(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_token = HttpEditor(endpoint.url + "/png", token_variable="EDITOR_TOKEN")
    with pytest.raises(DataError, match="EDITOR_TOKEN is not set"):
        with_token.edit(REQUEST)
    monkeypatch.setenv("EDITOR_TOKEN", "open sesame")
    with_token.edit(REQUEST)
    assert endpoint.tokens == ["Bearer open sesame"]
    assert "sesame" not in json.dumps(with_token.describe())


def test_editors_that_make_no_sense_are_refused() -> None:
    with pytest.raises(DataError, match="expected http"):
        HttpEditor("file:///etc/passwd")
    with pytest.raises(DataError, match="must not hold a password"):
        HttpEditor("https://me:secret@example.org/")
    with pytest.raises(DataError, match="need a budget"):
        HttpEditor("https://example.org/", cost_per_request=1.0)
    with pytest.raises(DataError, match="attempts: got 0"):
        HttpEditor("https://example.org/", attempts=0)
    with pytest.raises(DataError, match=r"must hold the placeholder \{output\}"):
        Program(("edit", "{input}"))


def command(code: str, *, timeout: float = 30.0, attempts: int = 1) -> CommandEditor:
    arguments = (sys.executable, "-c", code, "{input}", "{output}", "{prompt}")
    return CommandEditor(Program(arguments, timeout), attempts)


def test_a_program_edits_the_grid_it_is_given() -> None:
    code = (
        "import sys; from PIL import Image; p = Image.open(sys.argv[1]);"
        "assert 'black-framed glasses' in sys.argv[3]; p.putpixel((16, 16), (255, 0, 0));"
        "p.save(sys.argv[2])"
    )
    views = command(code).edit(REQUEST)
    assert views.rgb[0, :, 16, 16].tolist() == [1.0, 0.0, 0.0]
    assert torch.equal(views.rgb[1:], BEFORE.rgb[1:])
    assert torch.equal(views.alpha, BEFORE.alpha)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import sys; sys.exit('no credit left')", "ended with status 1: no credit left"),
        ("pass", "the editor's result is no picture"),
        ("import sys; open(sys.argv[2], 'w').write('x')", "the editor's result is no picture"),
    ],
)
def test_a_program_that_fails_says_why(code: str, text: str) -> None:
    with pytest.raises(BackEndFailed, match=text):
        command(code).edit(REQUEST)


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    note = tmp_path / "alive"
    child = f"import time; time.sleep(3); open({str(note)!r}, 'w')"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with pytest.raises(BackEndFailed, match=r"took longer than 1 seconds"):
        command(code, timeout=1.0).edit(REQUEST)
    time.sleep(3)
    assert not note.exists()


def test_a_program_that_is_not_there_is_a_failure() -> None:
    missing = CommandEditor(Program(("no-such-editor", "{output}")), attempts=1)
    with pytest.raises(BackEndFailed, match=r"no-such-editor can't be started: No such file"):
        missing.edit(REQUEST)


def test_braces_in_a_prompt_reach_the_program_untouched(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
    program = Program((sys.executable, "-c", code, "{output}", "{prompt} {unknown}"))
    program.run({"output": str(out), "prompt": "{output}{"})
    assert out.read_text() == "{output}{ {unknown}"


def test_back_ends_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "backends.json"
    content = {
        "editor": {"kind": "http", "url": "https://example.org/", "cost_per_request": 0.1},
        "text_to_image": {"kind": "diffusers", "checkpoint": "sd"},
        "filter": {"kind": "command", "arguments": ["judge", "{output}"]},
    }
    path.write_text(json.dumps(content))
    chosen = read_backends(path, ledger=tmp_path / "costs", cost_limit=5.0)
    assert chosen.editor.describe() == {"kind": "http", "url": "https://example.org/"}
    assert chosen.text_to_image.describe()["checkpoint"] == "sd"
    assert chosen.head_filter.describe() == {"kind": "command", "arguments": "judge {output}"}
    assert chosen.enhancement == BackEnds().enhancement
    with pytest.raises(DataError, match="need a budget"):
        read_backends(path, ledger=tmp_path / "costs", cost_limit=None)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"editors": {}}, "got 'editors', expected editor, text_to_image"),
        ({"editor": {"kind": "magic"}}, "expected one of procedural, command, http"),
        ({"editor": {"kind": "command", "arguments": "x"}}, "expected a list of texts"),
        ({"filter": "embedded"}, "an object with a kind"),
    ],
)
def test_unknown_back_ends_are_refused(tmp_path: Path, content: object, text: str) -> None:
    path = tmp_path / "backends.json"
    path.write_text(json.dumps(content))
    with pytest.raises((DataError, FormatError), match=text):
        read_backends(path, ledger=tmp_path / "costs", cost_limit=None)

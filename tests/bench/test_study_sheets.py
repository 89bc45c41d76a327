"""Claims about sheets: blind, whole, balanced, and exactly what the key says."""

import base64
import hashlib
import io
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from a3d_bench.errors import BenchError
from a3d_bench.report.pictures import read_over
from a3d_bench.store import RunFolder
from a3d_bench.study.entries import parse_directions, study_data
from a3d_bench.study.key import KEY_NAME, Key, read_key
from tests.bench.study_examples import (
    DIRECTIONS,
    METHODS,
    SHOWN,
    SIZE_PX,
    write_small_study,
    write_study_run,
)
from tests.bench.synthetic_run import FakeMethod


class _Sheet(HTMLParser):
    """Collects the entries of a sheet, and what the page refers to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.places: list[str] = []
        self.pictures: dict[str, list[str]] = {}
        self.links: list[str] = []
        self.asked: list[tuple[str, str, str]] = []
        self.radios = 0
        self._entry = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag == "section" and said.get("class") == "entry":
            self._entry = said["aria-labelledby"].removeprefix("entry-")
            self.pictures[self._entry] = []
        elif tag == "img":
            self.pictures[self._entry].append(said["src"])
        elif tag == "div" and said.get("class") == "nothing":
            self.pictures[self._entry].append("")
        elif tag == "fieldset":
            self.asked.append((said["data-head"], said["data-entry"], said["data-question"]))
        elif tag == "input" and said.get("type") == "radio":
            self.radios += 1
        self.links += [said[name] for name in ("src", "href", "action", "srcset") if name in said]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_study_run(tmp_path_factory.mktemp("run") / "zz-secret-run")


@pytest.fixture(scope="module")
def study(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Key]:
    out = tmp_path_factory.mktemp("study") / "study"
    key, _ = write_small_study([run], out)
    return out, key


def test_a_sheet_tells_nothing_of_methods_heads_and_data(
    run: RunFolder, study: tuple[Path, Key]
) -> None:
    out, key = study
    secrets = [word for method in METHODS for word in (method.id, method.title)]
    secrets += [part for row in run.captures() for part in (row.id, row.slug, row.subject)]
    secrets += ["zz-", "Zz", "<script>alert", "anyhead", "smoke", run.path.name, "truth", "method"]
    for sheet in key.sheets:
        text = (out / f"sheet-{sheet.number:03d}.html").read_text(encoding="utf-8")
        # The style is every page's, and shared with reports.
        hidden = r"data:image/webp;base64,[A-Za-z0-9+/=]+|<style>.*?</style>"
        readable = re.sub(hidden, "", text, flags=re.DOTALL).lower()
        assert not [secret for secret in secrets if secret.lower() in readable]


def test_pictures_carry_no_metadata(study: tuple[Path, Key]) -> None:
    out, _ = study
    uris = [uri for shown in _Sheet(out / "sheet-001.html").pictures.values() for uri in shown]
    for uri in filter(None, uris):
        with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
            assert not {"exif", "xmp", "icc_profile", "comment"} & set(picture.info)


def test_a_sheet_needs_nothing_beside_it(study: tuple[Path, Key]) -> None:
    out, _ = study
    sheet = _Sheet(out / "sheet-001.html")
    assert sheet.links
    assert all(link.startswith("data:image/webp;base64,") for link in sheet.links)
    text = (out / "sheet-001.html").read_text(encoding="utf-8")
    assert "default-src 'none'; img-src data:" in text
    assert not re.search(r"url\(|@import|https?://", text)


def test_each_letter_shows_the_method_that_the_key_says(
    run: RunFolder, study: tuple[Path, Key]
) -> None:
    out, key = study
    captures = {row.id: row for row in run.captures()}
    missing = 0
    for sheet in key.sheets:
        page = _Sheet(out / f"sheet-{sheet.number:03d}.html")
        for number, head in enumerate(sheet.heads, 1):
            row = captures[head.capture]
            truth = run.truth_path(row.slug, row.input_view)
            for entry in head.entries:
                portrait, *shown = page.pictures[f"{number}-{entry.letter}"]
                _assert_shows(portrait, truth)
                for direction, uri in zip(DIRECTIONS, shown, strict=True):
                    view = row.nearest_view(direction.azimuth_deg)
                    path = run.view_path(entry.method, row.slug, view)
                    if uri:
                        _assert_shows(uri, path)
                    else:
                        missing += 1
                        assert not path.is_file() or _size(path) != (SIZE_PX, SIZE_PX)
    assert missing


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def _assert_shows(uri: str, path: Path) -> None:
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        seen = np.asarray(picture.convert("RGB"))
    # Pictures of up to 128 pixels are kept without loss.
    np.testing.assert_array_equal(seen, read_over(path, (1.0, 1.0, 1.0)))


def test_what_failed_is_said_and_not_asked_about(study: tuple[Path, Key]) -> None:
    out, key = study
    places = [(sheet, head) for sheet in key.sheets for head in sheet.heads]
    nothing = [(s, h, e) for s, h in places for e in h.entries if not e.pictures]
    partly = [e for _, h in places for e in h.entries if 0 < e.pictures < len(DIRECTIONS)]
    assert {entry.method for *_, entry in nothing} == {"zz-faulty"}
    assert {entry.method for entry in partly} == {"zz-hostile"}
    sheet, _, entry = nothing[0]
    page = _Sheet(out / f"sheet-{sheet.number:03d}.html")
    assert ("1", entry.letter, "texture") not in page.asked
    assert len(page.asked) == 2 * (len(SHOWN) - 1)
    assert page.radios == 10 * len(page.asked)
    text = (out / f"sheet-{sheet.number:03d}.html").read_text(encoding="utf-8")
    assert text.count('<div class="nothing">no picture</div>') >= len(DIRECTIONS)


def test_methods_that_see_the_truth_are_shown_only_if_asked_for(run: RunFolder) -> None:
    (plain,) = study_data([run], DIRECTIONS)
    assert [entrant.id for entrant in plain.entrants] == list(SHOWN)
    (chosen,) = study_data([run], DIRECTIONS, ["zz-oracle", "zz-ours"])
    assert {entrant.id for entrant in chosen.entrants} == {"zz-oracle", "zz-ours"}
    with pytest.raises(BenchError, match="got 'zz-nobody', expected methods of these runs"):
        study_data([run], DIRECTIONS, ["zz-nobody"])


def test_methods_and_heads_are_balanced_over_participants(study: tuple[Path, Key]) -> None:
    _, key = study
    heads = [head for sheet in key.sheets for head in sheet.heads]
    places = Counter((p, e.method) for head in heads for p, e in enumerate(head.entries))
    assert set(places.values()) == {len(key.sheets) // len(SHOWN)}
    assert set(Counter(head.capture for head in heads).values()) == {2}
    assert all([e.letter for e in head.entries] == ["A", "B", "C"] for head in heads)


def test_two_data_sets_make_the_papers_28_ratings(tmp_path: Path) -> None:
    seven = tuple(FakeMethod(f"zz-{index}", f"Zz {index}", float(index)) for index in range(7))
    runs = [
        write_study_run(
            tmp_path / name, methods=seven, dataset=name, subjects=2, views=4, rules=rules
        )
        for name, rules in (("one", ()), ("two", ("seed=5",)))
    ]
    key, sets = write_small_study(runs, tmp_path / "study", participants=32)
    assert len(sets) == 2
    asked = [
        sum(entry.pictures > 0 for head in sheet.heads for entry in head.entries) * 2
        for sheet in key.sheets
    ]
    assert asked == [28] * 32
    assert sum(asked) == 896
    first = Counter(sheet.heads[0].data_set for sheet in key.sheets)
    assert first == {0: 16, 1: 16}


def test_runs_on_the_same_data_are_one_data_set(run: RunFolder, tmp_path: Path) -> None:
    other = write_study_run(tmp_path / "other", methods=METHODS[1:2])
    (data,) = study_data([run, other], DIRECTIONS)
    ids = [entrant.id for entrant in data.entrants]
    assert ids == ["zz-ours (zz-secret-run)", *SHOWN[1:], "zz-ours (other)"]


def test_a_study_is_that_of_its_seed(run: RunFolder, tmp_path: Path) -> None:
    def digests(name: str, seed: int) -> dict[str, str]:
        write_small_study([run], tmp_path / name, seed=seed, participants=2)
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((tmp_path / name).iterdir())
        }

    first = digests("one", 1)
    assert list(first) == ["README.txt", KEY_NAME, "sheet-001.html", "sheet-002.html"]
    assert digests("same", 1) == first
    assert digests("other", 2) != first
    assert "Do not hand it out" in (tmp_path / "one" / "README.txt").read_text()


def test_more_heads_a_participant_are_different_ones(run: RunFolder, tmp_path: Path) -> None:
    key, _ = write_small_study([run], tmp_path / "study", subjects=3, participants=4)
    assert all(len({head.capture for head in sheet.heads}) == 3 for sheet in key.sheets)
    with pytest.raises(BenchError, match=r"4 heads a participant, and .* has 3; ask for fewer"):
        write_small_study([run], tmp_path / "more", subjects=4)


def test_a_folder_with_a_study_is_left_alone(run: RunFolder, study: tuple[Path, Key]) -> None:
    with pytest.raises(BenchError, match="holds a study already, whose sheets may be out"):
        write_small_study([run], study[0], seed=9)


def test_the_key_names_runs_and_pictures_by_digest(run: RunFolder, study: tuple[Path, Key]) -> None:
    out, key = study
    assert read_key(out) == key
    (data_set,) = key.data_sets
    (mark,) = data_set.runs
    record = (run.path / "run.json").read_bytes()
    assert (mark.name, mark.run_json_sha256) == (run.path.name, hashlib.sha256(record).hexdigest())
    captures = {row.id: row.slug for row in run.captures()}
    for shown in data_set.pictures:
        slug = captures[shown.capture]
        path = run.truth_path(slug, shown.view)
        if shown.method:
            path = run.view_path(shown.method, slug, shown.view)
        if shown.sha256:
            assert shown.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert any(not shown.sha256 for shown in data_set.pictures)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"seed": 0', '"seed": 1', "its digest is another"),
        (
            '"method": "zz-ours",\n       "pictures"',
            '"method": "x",\n       "pictures"',
            "shows 'x'",
        ),
        ('"data_set": 0', '"data_set": 7', "shows data set 7"),
        ('"version": 1', '"version": 2', "no key of this version"),
        ('"study"', '"studi"', "is damaged"),
        ("{", "[", "is damaged"),
    ],
)
def test_a_key_that_was_changed_is_refused(
    study: tuple[Path, Key], tmp_path: Path, old: str, new: str, said: str
) -> None:
    text = (study[0] / KEY_NAME).read_text()
    assert old in text
    (tmp_path / KEY_NAME).write_text(text.replace(old, new, 1))
    with pytest.raises(BenchError, match=said):
        read_key(tmp_path)


def test_directions_are_names_or_degrees() -> None:
    titles = [each.title for each in parse_directions("front, 45,-45,270,180")]
    assert titles == ["front", "45° to the left", "45° to the right", "right side", "back"]
    for text, said in (
        ("top", "got 'top'"),
        ("nan", "got 'nan'"),
        ("back,180", "every direction once"),
    ):
        with pytest.raises(BenchError, match=said):
            parse_directions(text)


def test_a_direction_that_no_view_looks_from_is_left_out_for_everybody(run: RunFolder) -> None:
    (data,) = study_data([run], parse_directions("front,45"))
    capture = data.results.captures[0].id
    assert data.shown(capture) == ("front",)
    assert data.lacking == {"45° to the left": 3}
    with pytest.raises(BenchError, match="no view of head-00/neutral lies within 30 degrees"):
        study_data([run], parse_directions("45"))


def test_an_unreadable_portrait_is_refused(tmp_path: Path) -> None:
    broken = write_study_run(tmp_path / "broken")
    row = broken.captures()[0]
    broken.truth_path(row.slug, row.input_view).write_bytes(b"no picture")
    with pytest.raises(BenchError, match="no portrait that can be read"):
        study_data([broken], DIRECTIONS)

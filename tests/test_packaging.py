"""The wheel holds what it must and nothing else, and commands start without heavy imports."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODECS = ("scipy", "numba", "PIL", "av", "imageio", "gsply", "gsplat", "matplotlib")
HEAVY = ("torch", "numpy", *CODECS)


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--quiet", "--wheel-dir", str(folder), str(ROOT)], check=True, timeout=120
    )
    (wheel,) = folder.glob("any3davatar-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_installs_three_packages_and_no_other_name(wheel_names: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel_names}
    packages = {top for top in tops if not top.endswith(".dist-info")}
    assert packages == {"any3davatar", "a3d_bench", "a3d_baselines"}


def test_the_wheel_carries_data_sources_and_licence(wheel_names: list[str]) -> None:
    names = set(wheel_names)
    assert any(n.startswith("a3d_bench/_assets/protocols/") for n in names)
    assert any(n.startswith("a3d_bench/_assets/reports/") for n in names)
    assert any(n.startswith("any3davatar/render/cpu/") and n.endswith(".cpp") for n in names)
    assert "any3davatar/assets/mini.safetensors" in names
    assert "a3d_baselines/assets/mean_head.spz" in names
    assert "a3d_baselines/cards/any3davatar.toml" in names
    assert any(n.startswith("a3d_bench/methods/scaffold_files/") for n in names)
    assert "a3d_bench/_assets/protocols/anyhead.toml" in names
    assert "a3d_bench/_assets/reports/report.html.j2" in names
    assert any(n.endswith(".dist-info/licenses/LICENSE") for n in names)
    assert not any("__pycache__" in n or n.startswith("tests") for n in names)


@pytest.mark.parametrize("module", ["any3davatar.cli", "a3d_bench.cli"])
def test_help_imports_nothing_heavy(module: str) -> None:
    # What keeps --help under half a second, without a clock that fails on a busy machine.
    program = (
        f"import sys; from {module} import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit as stop:\n    assert not stop.code\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert "Usage" in done.stdout
    assert done.stdout.strip().endswith("HEAVY []")


def test_the_library_imports_no_codec_and_no_compiler_until_used() -> None:
    program = (
        "import sys, any3davatar.core, any3davatar.io, any3davatar.render\n"
        f"print([m for m in {CODECS!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_versions_agree() -> None:
    import tomllib
    from importlib.metadata import version

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version("any3davatar") == declared
    assert f'version = "{declared}"' in (ROOT / "pyproject.toml").read_text()
    assert f"version: {declared}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {declared}" in (ROOT / "CHANGELOG.md").read_text()

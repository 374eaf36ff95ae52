"""The wheel: its metadata, its files, and a run from it outside of the checkout, without network."""

import email
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile

import pytest
from packaging.requirements import Requirement

import soar_jax
from tests.conftest import ROOT
from tests.experiments.runs import TINY

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DIST_INFO = f"soar_jax-{PROJECT['version']}.dist-info"
REQUIREMENTS = [
    line.partition("#") for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines() if line
]


def pip(*arguments):
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of the checkout, built from a copy: a build leaves files among its sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("soar_jax", "configs", "experiments", "benchmarks", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
    pip("wheel", *options, f"--wheel-dir={folder}", str(source))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def metadata(wheel):
    with zipfile.ZipFile(wheel) as files:
        return email.message_from_bytes(files.read(f"{DIST_INFO}/METADATA"))


def test_one_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert soar_jax.__version__ == PROJECT["version"]
    assert f"\nversion: {PROJECT['version']}\n" in citation
    headings = [line for line in changes.splitlines() if line.startswith("## ") and line != "## Unreleased"]
    assert headings[0] == f"## {PROJECT['version']}"


def test_requirements_say_the_same_as_the_project():
    assert [text.strip() for text, *_ in REQUIREMENTS if text.strip()] == PROJECT["dependencies"]


def test_every_requirement_says_what_it_is_for():
    for text, _, purpose in REQUIREMENTS:
        assert purpose.strip() or not text.strip(), text


@pytest.mark.slow
def test_wheel_has_the_metadata_of_the_project(metadata):
    assert (metadata["Name"], metadata["Version"]) == (PROJECT["name"], PROJECT["version"])
    assert metadata["License-Expression"] == PROJECT["license"]
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    required = [Requirement(text) for text in metadata.get_all("Requires-Dist")]
    assert [each for each in required if each.marker is None] == list(map(Requirement, PROJECT["dependencies"]))
    assert set(metadata.get_all("Provides-Extra")) == PROJECT["optional-dependencies"].keys()
    for extra, packages in PROJECT["optional-dependencies"].items():
        own = {each.name for each in required if each.marker and each.marker.evaluate({"extra": extra})}
        assert own == {Requirement(package).name for package in packages}


@pytest.mark.slow
def test_wheel_holds_the_package_alone(wheel):
    with zipfile.ZipFile(wheel) as files:
        names = {name for name in files.namelist() if ".dist-info/" not in name}
        entries = files.read(f"{DIST_INFO}/entry_points.txt").decode()
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "soar_jax").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == package
    assert entries.split() == ["[console_scripts]", "soar-jax", "=", "soar_jax.cli.main:main"]


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory, compilation_cache):
    """A new environment with the wheel, and variables of a process in it.

    It finds the dependencies where the tests have them, through a .pth file. Python follows no such files of that
    folder, so that it does not find the checkout, which is installed there by one.
    """
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    options = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
    pip(f"--python={folder / 'bin' / 'python'}", "install", *options, str(wheel))
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(compilation_cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    environment.pop("PYTHONPATH", None)
    return folder, packages, environment


def run_outside(arguments, folder, environment):
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_method_runs_from_the_wheel_by_its_name(installed, tmp_path):
    folder, packages, environment = installed
    where = "import soar_jax.cli.run; print(soar_jax.cli.run.__file__)"
    found = run_outside([str(folder / "bin" / "python"), "-c", where], tmp_path, environment).strip()
    assert found == str(packages / "soar_jax" / "cli" / "run.py")
    overrides = [f"--config.{key}={value}" for key, value in (TINY | {"num_outer_steps": 1}).items()]
    program = [str(folder / "bin" / "soar-jax"), "run", "--config=soar_math:nano"]
    run_outside([*program, *overrides], tmp_path, environment)
    workdir = tmp_path / "runs" / "soar_math_nano_seed0"
    assert (workdir / "summary.json").exists()
    assert (workdir / "results" / "hard_only.json").exists()

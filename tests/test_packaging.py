"""What is built and run around the code: the wheel, the Makefile, the CI script, the hooks, the container."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import rewardkit

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
IN_THE_WHEEL = ("rewardkit", "callbacks", "recipes", "pyproject.toml", "README.md", "LICENSE")


def requirements(extra: str | None = None) -> dict[str, Requirement]:
    """The dependencies, or those of an extra with the extras it names."""
    listed = PROJECT["project"]["dependencies"] if extra is None else PROJECT["project"]["optional-dependencies"][extra]
    found: dict[str, Requirement] = {}
    for text in listed:
        requirement = Requirement(text)
        if requirement.name == "rewardkit":
            for inner in requirement.extras:
                found |= requirements(inner)
        else:
            found[requirement.name] = requirement
    return found


def test_lightning_versions_that_steal_credentials_are_excluded() -> None:
    lightning = requirements()["lightning"].specifier
    assert "2.6.2" not in lightning and "2.6.3" not in lightning
    assert "2.6.1" in lightning and "2.6.4" in lightning


def test_dev_holds_all_that_the_tests_need() -> None:
    dev = requirements("dev")
    assert {"deepspeed", "wandb", "peft", "pytest", "hypothesis", "ray", "ruff", "mypy", "pre-commit"} <= set(dev)
    assert "82" in dev["setuptools"].specifier and "65.5" not in dev["setuptools"].specifier  # builds the wheel here


def test_python_3_11_and_later() -> None:
    assert PROJECT["project"]["requires-python"] == ">=3.11"


def test_version_is_one() -> None:
    assert PROJECT["project"]["version"] == rewardkit.__version__
    assert rewardkit.__version__ in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


def packages_on_disk() -> Iterator[str]:
    for folder in ("rewardkit", "callbacks", "recipes"):
        for path in (REPOSITORY / folder).rglob("__init__.py"):
            name = ".".join(path.parent.relative_to(REPOSITORY).parts)
            yield name if folder == "rewardkit" else f"rewardkit.{name}"


def test_every_package_is_listed() -> None:
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(packages_on_disk())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: nothing is written into the checkout."""
    scratch = tmp_path_factory.mktemp("wheel")
    for name in IN_THE_WHEEL:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, scratch / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (scratch / "source").mkdir(exist_ok=True)
            shutil.copy(source, scratch / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(scratch / "out"), str(scratch / "source")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (built,) = (scratch / "out").glob("rewardkit-*.whl")
    return built


@pytest.mark.slow
def test_wheel_holds_code_recipes_and_templates(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    here = {
        ("rewardkit/" if folder != "rewardkit" else "") + str(path.relative_to(REPOSITORY))
        for folder in ("rewardkit", "callbacks", "recipes")
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert here - names == set(), "files that are in the checkout and not in the wheel"
    assert {"rewardkit/py.typed", "rewardkit/recipes/hpsv2.yaml", "rewardkit/callbacks/guards.py"} <= names
    assert {"rewardkit/report/templates/report.html.j2", "rewardkit/report/templates/report.css"} <= names
    assert not any(name.startswith(("tests", "tools", "callbacks", "recipes", "docs")) for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_wheel_works_by_itself(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import rewardkit, rewardkit.callbacks.guards, rewardkit.report.template as template\n"
        "print(rewardkit.__file__); template.environment().get_template('report.html.j2')\n"
        "from rewardkit.config.recipes import shipped_recipes, compose_fit\n"
        "print(*[compose_fit({'recipe': name}).options.recipe for name in shipped_recipes()])"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    where, recipes = done.stdout.splitlines()
    assert where.startswith(str(tmp_path)) and "hpsv2" in recipes.split()


SHIM = """#!/bin/sh
# Stands in for python: notes what it is asked for, and makes no environment and no installation.
case "$1 $2" in
  "-c "*) exit {too_old} ;;
  "--version "*) echo "Python 3.9.1"; exit 0 ;;
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
esac
echo "$@" >> "{log}"
"""


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Runs a target of the Makefile on a stand-in for Python; gives its exit code, its errors and the calls made."""

    def run(target: str, *, too_old: bool = False, arguments: str = "") -> tuple[int, str, list[str]]:
        log = tmp_path / "log"
        log.write_text("", encoding="utf-8")
        shim = tmp_path / "python3"
        shim.write_text(SHIM.format(log=log, too_old=int(too_old)), encoding="utf-8")
        shim.chmod(0o755)
        variables = [f"PYTHON={shim}", f"VENV={tmp_path / 'venv'}", f"ARGS={arguments}"]
        done = subprocess.run(
            ["make", "-f", str(REPOSITORY / "Makefile"), "-C", str(REPOSITORY), target, *variables],
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stderr, log.read_text(encoding="utf-8").splitlines()

    return run


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
class TestMakefile:
    def test_fit_installs_once(self, make: Any) -> None:
        code, errors, calls = make("fit", arguments="seed=1")
        assert code == 0, errors
        assert [call.split()[1] for call in calls] == ["venv", "pip", "rewardkit"]
        assert calls[1].endswith("-e .") and calls[2] == "-m rewardkit fit recipe=hpsv2 seed=1"
        assert make("fit")[2] == ["-m rewardkit fit recipe=hpsv2"]

    def test_test_installs_the_extra(self, make: Any) -> None:
        code, errors, calls = make("test")
        assert code == 0, errors
        assert calls[1].endswith("-e .[dev]") and calls[2].startswith("-m pytest -n auto")
        assert make("fit")[2] == ["-m rewardkit fit recipe=hpsv2"], "the test environment serves fit as well"

    def test_lint(self, make: Any) -> None:
        calls = make("lint")[2]
        assert calls[2:] == ["-m ruff check .", "-m ruff format --check .", "-m mypy"]

    def test_docs_names_a_script_that_is_there(self, make: Any) -> None:
        assert (REPOSITORY / make("docs")[2][-1]).is_file()

    def test_an_old_python_is_refused_with_a_message(self, make: Any) -> None:
        code, errors, calls = make("fit", too_old=True)
        assert code != 0 and calls == []
        assert "needs Python 3.11 or later" in errors and "Python 3.9.1" in errors and "make fit PYTHON=" in errors

    def test_clean_removes_only_what_can_be_made_again(self) -> None:
        recipe = (REPOSITORY / "Makefile").read_text(encoding="utf-8").split("\nclean:")[1]
        assert "runs" not in recipe and "$(VENV)" not in recipe


def run_ci(tmp_path: Path, *, make: str, shared: bool) -> subprocess.CompletedProcess[str]:
    """Runs a copy of .ci/run in a folder of its own, with a stand-in for make."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "checkout" / ".ci").mkdir(parents=True)
    if shared:
        (tmp_path / "shared").mkdir()
    script = tmp_path / "bin" / "make"
    script.write_text(f"#!/bin/sh\n{make}\n", encoding="utf-8")
    script.chmod(0o755)
    copy = shutil.copy(REPOSITORY / ".ci" / "run", tmp_path / "checkout" / ".ci" / "run")
    environment = {name: value for name, value in os.environ.items() if name != "REWARDKIT_SHARED"}
    environment["PATH"] = f"{tmp_path / 'bin'}:{environment['PATH']}"
    return subprocess.run([copy], capture_output=True, text=True, timeout=60, env=environment)


PASSING = (
    'case "$2" in test) echo "shared: ${REWARDKIT_SHARED:-none}"; echo "3 passed, 1 skipped in 1.25s"; echo;; esac'
)


class TestCI:
    def test_is_executable(self) -> None:
        assert os.access(REPOSITORY / ".ci" / "run", os.X_OK)

    def test_ends_with_the_closing_line(self, tmp_path: Path) -> None:
        done = run_ci(tmp_path, make=PASSING, shared=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "3 passed, 1 skipped in 1.25s"
        assert f"shared: {tmp_path / 'shared'}" in done.stdout

    def test_without_shared_data(self, tmp_path: Path) -> None:
        assert "shared: none" in run_ci(tmp_path, make=PASSING, shared=False).stdout

    def test_failing_tests_fail(self, tmp_path: Path) -> None:
        failing = 'case "$2" in test) echo "FAILED a in 2s"; echo "1 failed, 2 passed in 1.25s"; exit 2;; esac'
        done = run_ci(tmp_path, make=failing, shared=False)
        assert done.returncode == 2
        assert done.stdout.splitlines()[-1] == "1 failed, 2 passed in 1.25s"

    def test_failing_linters_fail_after_the_tests(self, tmp_path: Path) -> None:
        done = run_ci(tmp_path, make=f'case "$2" in lint) exit 2;; esac\n{PASSING}', shared=False)
        assert done.returncode == 2
        assert done.stdout.splitlines()[-1] == "3 passed, 1 skipped in 1.25s"


def test_hooks_are_local_and_use_the_tools_of_the_environment() -> None:
    config = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    hooks = {hook["id"]: hook for hook in config["repos"][0]["hooks"]}
    assert {"ruff", "ruff-format", "mypy"} <= set(hooks)
    for hook in hooks.values():
        assert hook["language"] == "system"
        first, *rest = shlex.split(hook["entry"])
        assert first in {"ruff", "mypy", "python"}
        assert all((REPOSITORY / word).is_file() for word in rest if word.endswith(".py"))


class TestContainer:
    LINES = re.sub(r"\\\n\s*", " ", (REPOSITORY / "docker" / "Dockerfile").read_text(encoding="utf-8")).splitlines()

    def commands(self, name: str) -> list[str]:
        return [line.partition(" ")[2] for line in self.LINES if line.startswith(f"{name} ")]

    def test_what_is_copied_exists_and_is_not_ignored(self) -> None:
        ignored = (REPOSITORY / "docker" / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
        copied = [source for line in self.commands("COPY") if "--from" not in line for source in line.split()[:-1]]
        assert set(copied) == set(IN_THE_WHEEL)
        for source in copied:
            assert (REPOSITORY / source).exists(), source
            assert f"!{source}" in ignored

    def test_pip_line(self) -> None:
        (line,) = [line for line in self.commands("RUN") if "pip install" in line]
        assert subprocess.run(["sh", "-n", "-c", line]).returncode == 0
        install = shlex.split(line.split("&&")[-1])
        assert install[:2] == ["pip", "install"]
        done = subprocess.run(
            [sys.executable, "-m", "pip", *install[1:-1], "--dry-run", "--no-index", "--quiet", "rewardkit"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "no such option" not in done.stderr and "Usage:" not in done.stderr
        for extras, expected in (("", "."), ("deepspeed,mllm", ".[deepspeed,mllm]")):
            echo = ["sh", "-c", f'EXTRAS={extras}; echo "{install[-1]}"']
            assert subprocess.run(echo, capture_output=True, text=True).stdout.strip() == expected

    def test_stages_and_user(self) -> None:
        assert len(self.commands("FROM")) == 2
        assert all(f" AS {name}" in line for line, name in zip(self.commands("FROM"), ("build", "run"), strict=True))
        assert self.commands("USER") == ["rewardkit"]
        assert self.LINES.index("USER rewardkit") < next(n for n, x in enumerate(self.LINES) if x.startswith("ENTRY"))
        assert self.commands("ENTRYPOINT") == ['["python", "-m", "rewardkit"]']

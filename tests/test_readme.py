"""Runs the commands of README.md and docs/*.md as they are printed.

A fenced ``sh`` or ``python`` block is run when the line above its fence is one of::

    <!-- test -->                     with every test run
    <!-- test slow -->                with the slow tests
    <!-- test slow timeout=900 -->    seconds it may take; 60 and 600 otherwise

The blocks of one page run in order, in one scratch folder with the repository's tools/ and tests/ in it, so that one
may use what an earlier one made (one that builds on a slow one is slow itself). A block fails at its first command that
fails.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
LINKED = ("tools", "tests", "recipes", "docs")
"""What commands may name relative to the repository; the package itself is installed."""

MARK = re.compile(r"<!--\s*test\b(.*?)-->")
LANGUAGES = ("sh", "python")


@dataclass(frozen=True)
class Block:
    """One block that is run."""

    page: str
    line: int
    language: str
    text: str
    slow: bool
    timeout: int


class WrongMark(Exception):
    """A mark that marks nothing, or says something that is not understood."""


def blocks(text: str, page: str) -> list[Block]:
    """The marked blocks of a page.

    Raises:
        WrongMark: A mark without a fenced block right below it, with words that it does not know, or of a language that
            cannot be run.
    """
    lines = text.splitlines()
    found = []
    inside = False
    for n, line in enumerate(lines):
        if line.lstrip().startswith("```"):
            inside = not inside
        mark = None if inside else MARK.fullmatch(line.strip())
        if mark is None:
            continue
        where = f"{page}, line {n + 1}"
        fence = lines[n + 1].strip() if n + 1 < len(lines) else ""
        if not fence.startswith("```"):
            raise WrongMark(f"{where}: the line below is no fence")
        if fence[3:] not in LANGUAGES:
            raise WrongMark(f"{where}: {fence[3:] or 'no language'} cannot be run, only {', '.join(LANGUAGES)}")
        try:
            end = next(m for m in range(n + 2, len(lines)) if lines[m].strip() == "```")
        except StopIteration:
            raise WrongMark(f"{where}: the block has no end") from None
        slow, timeout = False, None
        for word in mark[1].split():
            key, _, value = word.partition("=")
            if word == "slow":
                slow = True
            elif key == "timeout" and value.isdigit():
                timeout = int(value)
            else:
                raise WrongMark(f"{where}: {word!r} is not understood")
        body = "\n".join(lines[n + 2 : end])
        found.append(Block(page, n + 1, fence[3:], body, slow, timeout or (600 if slow else 60)))
    return found


def run_block(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a block in a folder, with this Python first in the path and a cache of its own."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(folder / ".cache"),
        "COLUMNS": "100",
        # Threads that wait for each other while something else has a core take ten times as long.
        "OMP_NUM_THREADS": "1",
    }
    command = ["bash", "-euo", "pipefail", "-c", block.text] if block.language == "sh" else [sys.executable, "-"]
    return subprocess.run(
        command,
        input="" if block.language == "sh" else block.text,
        capture_output=True,
        text=True,
        timeout=block.timeout,
        env=environment,
        cwd=folder,
    )


def all_blocks() -> list[Block]:
    return [b for page in PAGES for b in blocks(page.read_text(encoding="utf-8"), str(page.relative_to(REPOSITORY)))]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A scratch folder for each page."""
    made = {}
    for page in PAGES:
        name = str(page.relative_to(REPOSITORY))
        folder = tmp_path_factory.mktemp(page.stem)
        for link in LINKED:
            (folder / link).symlink_to(REPOSITORY / link)
        made[name] = folder
    return made


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(
            block,
            id=f"{block.page}:{block.line}",
            # Blocks of a page stay together where several processes share the tests.
            marks=[pytest.mark.xdist_group(block.page), *([pytest.mark.slow] if block.slow else [])],
        )
        for block in all_blocks()
    ],
)
def test_block(block: Block, folders: dict[str, Path]) -> None:
    done = run_block(block, folders[block.page])
    told = f"{block.text}\n--- output\n{done.stdout[-4000:]}\n--- errors\n{done.stderr[-4000:]}"
    assert done.returncode == 0, f"{block.page}, line {block.line}: exit code {done.returncode}\n{told}"


DEMO_TARGETS = {
    "overall": 0.80,
    "prompt_following": 0.75,
    "aesthetic": 0.87,
    "fidelity": 0.84,
    "harmlessness": 0.88,
}
"""Held-out accuracies that the first command must reach on the embedded dataset, whatever its seed."""


@pytest.mark.slow
@pytest.mark.xdist_group("README.md")
def test_the_first_command_reaches_its_accuracies(folders: dict[str, Path]) -> None:
    summaries = sorted((folders["README.md"] / "runs" / "hpsv2").glob("*/summary.json"))
    if not summaries:
        pytest.skip("the block of README.md that trains was not run before")
    summary = json.loads(summaries[-1].read_text(encoding="utf-8"))
    reached = {name: summary["accuracies"][name]["value"] for name in DEMO_TARGETS}
    assert all(reached[name] >= target for name, target in DEMO_TARGETS.items()), reached
    assert 0.88 <= summary["ceilings"]["best"]["overall"] <= 0.92
    assert 0.76 <= summary["ceilings"]["ignoring_prompt"]["overall"] <= 0.82


def test_readme_has_blocks_that_are_run() -> None:
    found = [block for block in all_blocks() if block.page == "README.md"]
    assert found, "README.md has no block under <!-- test -->"
    assert any("-m rewardkit fit recipe=hpsv2" in block.text for block in found), "the first command is not tested"


SAMPLE = """
<!-- test -->
```sh
echo one
```

```sh
exit 1   # not marked
```

```md
<!-- test -->
```
<!-- test slow timeout=7 -->
```python
print(2)
```
"""


def test_marked_blocks_are_found() -> None:
    first, second = blocks(SAMPLE, "page")
    assert (first.text, first.language, first.slow, first.timeout, first.line) == ("echo one", "sh", False, 60, 2)
    assert (second.text, second.language, second.slow, second.timeout) == ("print(2)", "python", True, 7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<!-- test -->\n\n```sh\ntrue\n```", "no fence"),
        ("<!-- test quick -->\n```sh\ntrue\n```", "'quick'"),
        ("<!-- test timeout=soon -->\n```sh\ntrue\n```", "'timeout=soon'"),
        ("<!-- test -->\n```yaml\na: 1\n```", "yaml cannot be run"),
        ("<!-- test -->\n```sh\ntrue", "no end"),
        ("text\n<!-- test -->", "no fence"),
    ],
)
def test_a_wrong_mark_is_an_error(text: str, words: str) -> None:
    with pytest.raises(WrongMark, match=words):
        blocks(text, "page")


def block_of(text: str, language: str = "sh") -> Block:
    return Block("page", 1, language, text, False, 20)


def test_a_block_fails_at_its_first_failing_command(tmp_path: Path) -> None:
    assert run_block(block_of("false\ntrue"), tmp_path).returncode != 0
    assert run_block(block_of("false | cat"), tmp_path).returncode != 0
    assert run_block(block_of("echo $nothing"), tmp_path).returncode != 0
    assert run_block(block_of("raise SystemExit(3)", "python"), tmp_path).returncode == 3
    assert run_block(block_of("python -c 'import rewardkit' && test ! -t 0"), tmp_path).returncode == 0

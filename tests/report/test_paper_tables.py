"""The tables for papers: numbers, what is bold, captions; and names that would break LaTeX or Markdown."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from benchmark_results import GENERATORS, HOSTILE, write_example

from rewardkit.benchmark.result import BenchmarkResult, read_result
from rewardkit.report.board import leaders
from rewardkit.report.paper_tables import paper_tables, write_paper_tables
from rewardkit.report.paper_text import PaperCell, PaperTable, as_latex, as_markdown, latex_text, markdown_text

NASTY = r"""\input{/etc/passwd} $x^2_i$ 50% #1 & ~a {b} [c] *d* <e> "f" `g` 'h' | \\ -- ?` ^^41"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("benchmark")
    write_example(made)
    return made


@pytest.fixture(scope="module")
def result(folder: Path) -> BenchmarkResult:
    return read_result(folder)


def test_the_first_table_is_hps_v2s(result: BenchmarkResult) -> None:
    table = paper_tables(result)[0]
    assert table.columns == ("anime", "paintings", "photo", "Average")
    assert {name for name, _ in table.rows} == set(GENERATORS)
    for name, cells in table.rows:
        row = next(one for one in result.published if one.generator == name)
        assert [cell.mean for cell in cells] == [
            *(f"{one.mean:.2f}" for one in row.styles.values()),
            f"{row.average:.2f}",
        ]
        assert [cell.spread for cell in cells] == [*(f"{one.std:.2f}" for one in row.styles.values()), ""]
        assert cells[-1].interval == f"[{row.low:.2f}, {row.high:.2f}]"
    for place, (tag, value) in enumerate([("style", "anime"), ("style", "paintings"), ("style", "photo"), ("", "")]):
        cells = [c for c in result.cells if (c.reward, c.dimension, c.tag, c.value) == ("hpsv2", "overall", tag, value)]
        assert {name for name, row in table.rows if row[place].bold} == leaders(cells)
    assert [float(cells[-1].mean) for _, cells in table.rows] == sorted(
        (float(cells[-1].mean) for _, cells in table.rows), reverse=True
    )
    for said in ("12 prompts", "4 for each style", "groups of 80", "200 resamples", "gamma 1", "not distinguishable"):
        assert said in table.caption
    assert table.published == (
        ("Stable Diffusion v1.4, HPS v2.1", tuple(PaperCell(text) for text in ("26.03", "24.80", "25.70", "25.35"))),
    )


def test_a_reward_without_published_numbers_has_intervals(result: BenchmarkResult) -> None:
    table = paper_tables(result)[1]
    assert "vpscore, overall" in table.caption and "± " not in table.caption and not table.published
    for name, cells in table.rows:
        cell = next(
            c for c in result.cells
            if (c.reward, c.dimension, c.value, c.generator) == ("vpscore", "overall", "anime", name)
        )  # fmt: skip
        assert (cells[0].mean, cells[0].interval) == (f"{cell.mean:.2f}", f"[{cell.low:.2f}, {cell.high:.2f}]")


def test_then_all_rewards_and_the_skills(result: BenchmarkResult) -> None:
    *_, judges, aspects = paper_tables(result)
    assert judges.columns[:2] == ("hpsv2: overall", "vpscore: overall") and len(judges.columns) == 6
    assert aspects.columns == ("body", "Average", "Normalised")
    assert [row[1][-1].bold for row in aspects.rows] == [True, False, False]
    one = replace(result, rewards=result.rewards[1:2], main_tag="", aspects=())
    only = paper_tables(one)
    assert len(only) == 1 and only[0].columns == ("overall", "aesthetic", "fidelity")


def test_what_was_not_scored_is_a_dash(result: BenchmarkResult) -> None:
    more = replace(result, generators=(*result.generators, replace(result.generators[0], name="empty")))
    name, cells = paper_tables(more)[0].rows[-1]
    assert name == "empty" and {cell.mean for cell in cells} == {"–"} and not any(cell.bold for cell in cells)


def test_the_files(folder: Path) -> None:
    latex, markdown = write_paper_tables(folder)
    text = latex.read_text("utf-8")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 4
    assert r"\textbf{" in text and r" $\pm$ " in text and r"\toprule" in text
    assert r"beta \& \textless{}i\textgreater{}co\textless{}/i\textgreater{} 50\%\_x & " in text
    rows = [line for line in markdown.read_text("utf-8").splitlines() if line.startswith("|")]
    assert rows[0] == "| Model | anime | paintings | photo | Average |"
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows[:6]}) == 1
    assert any(row.startswith(r"| beta &amp; &lt;i&gt;co&lt;/i&gt; 50%\_x |") for row in rows)


def test_latex_prints_names_as_they_are() -> None:
    said = latex_text(NASTY)
    assert not re.search(r"(?<!\\)[%#&_]", said)
    assert "^" not in said and "~" not in said and "\\input" not in said
    assert latex_text("[a] *b\nc\u200b\u2028d") == "{[}a{]} {*}b c d"
    assert latex_text("27 ± 1 − 2–3") == r"27 $\pm$ 1 $-$ 2--3"


def test_markdown_shows_names_as_they_are() -> None:
    said = markdown_text(f"{NASTY}\n# {HOSTILE}")
    assert "\n" not in said and "<" not in said and not re.search(r"(?<!\\)[|*_`$\[\]~#]", said)
    assert markdown_text("a\\") == r"a\\"


@pytest.mark.slow
def test_latex_reads_it(tmp_path: Path) -> None:
    """Where there is a pdflatex: a hostile name in each place."""
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("no pdflatex here (Debian: apt-get install texlive-latex-base texlive-latex-recommended)")
    cell = PaperCell("−27.31", "0.05", "[1, 2]", True)
    table = PaperTable(
        NASTY, (NASTY, "[b]"), (("[x] *", (cell, cell)), (NASTY, (cell, cell))), (("[y]", (cell,) * 2),), NASTY
    )
    paper = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{as_latex([table])}\end{{document}}"
    (tmp_path / "paper.tex").write_text(paper, encoding="utf-8")
    done = subprocess.run([program, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]


def test_markdown_has_the_caption_first() -> None:
    table = PaperTable("What | it is", ("a",), (("m", (PaperCell("1", "", "[0, 2]", True),)),))
    assert as_markdown([table]) == "What \\| it is\n\n| Model | a |\n| --- | ---: |\n| m | **1** \\[0, 2\\] |\n"

"""Tables as LaTeX (booktabs) and as Markdown; names and sentences are escaped, since folders may be called anything."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"{\char34}", "`": r"{\char96}",
    # Behind a line's end, and behind \midrule, these would be read as an argument.
    "[": "{[}", "]": "{]}", "*": "{*}",
    "±": r"$\pm$", "−": "$-$", "–": "--", "·": r"$\cdot$",
}  # fmt: skip
_MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{sign: f"\\{sign}" for sign in "\\`*_[]#|~$"}}
_MANY = 6


@dataclass(frozen=True, slots=True)
class PaperCell:
    """One number.

    Attributes:
        mean: As it is written; "–" where there is none.
        spread: What is behind the ±; "" for none.
        interval: Its two ends; "" for none.
        bold: Whether it is the best of its column, or not distinguishable from it.
    """

    mean: str = "–"
    spread: str = ""
    interval: str = ""
    bold: bool = False


@dataclass(frozen=True, slots=True)
class PaperTable:
    """A table.

    Attributes:
        caption: What the numbers are: n, protocol, what ± and bold mean. Plain text.
        columns: Heads, without that of the names.
        rows: Name and cells, the best first.
        published: Rows that were not measured, below a line of their own.
        source: Where those are published.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[PaperCell, ...]], ...]
    published: tuple[tuple[str, tuple[PaperCell, ...]], ...] = ()
    source: str = ""


def latex_text(text: str) -> str:
    """A text that LaTeX prints as it is; letters that its font lacks need XeLaTeX or LuaLaTeX."""
    return "".join(_LATEX.get(sign, sign) for sign in _one_line(text))


def markdown_text(text: str) -> str:
    """A text that Markdown shows as it is, also inside a table."""
    return "".join(_MARKDOWN.get(sign, sign) for sign in _one_line(text))


def _one_line(text: str) -> str:
    """Without line ends and other signs that are not seen, which could end a comment or a row."""
    kinds = {"Cc": " ", "Zl": " ", "Zp": " ", "Cf": "", "Cs": "�"}
    return "".join(kinds.get(unicodedata.category(sign), sign) for sign in text).strip()


def as_latex(tables: Sequence[PaperTable]) -> str:
    """A file that a paper takes in with LaTeX's input; it needs the package booktabs."""
    return "\n".join(["% Needs \\usepackage{booktabs}.", *(_latex(one, n) for n, one in enumerate(tables, 1))])


def _latex(table: PaperTable, number: int) -> str:
    kind = "table*" if len(table.columns) > _MANY else "table"
    lines = [
        rf"\begin{{{kind}}}[t]",
        r"\centering\small",
        rf"\caption{{{latex_text(table.caption)}}}",
        rf"\label{{tab:benchmark-{number}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(["Model", *map(latex_text, table.columns)]) + r" \\",
        r"\midrule",
        *(_latex_row(*row) for row in table.rows),
    ]
    if table.published:
        said = latex_text(f"Published, not measured here ({table.source})")
        lines += [r"\midrule", rf"\multicolumn{{{len(table.columns) + 1}}}{{l}}{{\emph{{{said}}}}} \\"]
        lines += [_latex_row(*row) for row in table.published]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", rf"\end{{{kind}}}", ""])


def _latex_row(name: str, cells: Sequence[PaperCell]) -> str:
    return " & ".join([latex_text(name), *map(_latex_cell, cells)]) + r" \\"


def _latex_cell(cell: PaperCell) -> str:
    mean = latex_text(cell.mean)
    mean = rf"\textbf{{{mean}}}" if cell.bold else mean
    spread = rf" $\pm$ {latex_text(cell.spread)}" if cell.spread else ""
    interval = rf" {{\scriptsize {latex_text(cell.interval)}}}" if cell.interval else ""
    return mean + spread + interval


def as_markdown(tables: Sequence[PaperTable]) -> str:
    """Tables as GitHub and Pandoc read them, each below its caption."""
    return "\n".join(_markdown(one) for one in tables)


def _markdown(table: PaperTable) -> str:
    heads = ["Model", *map(markdown_text, table.columns)]
    lines = [
        markdown_text(table.caption), "",
        _markdown_line(heads), _markdown_line(["---", *("---:" for _ in table.columns)]),
        *(_markdown_row(*row) for row in table.rows),
        *(_markdown_row(f"{name} (published)", cells) for name, cells in table.published),
    ]  # fmt: skip
    if table.published:
        lines += ["", markdown_text(f"Published, not measured here: {table.source}.")]
    return "\n".join([*lines, ""])


def _markdown_row(name: str, cells: Sequence[PaperCell]) -> str:
    return _markdown_line([markdown_text(name), *map(_markdown_cell, cells)])


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: PaperCell) -> str:
    mean = f"**{cell.mean}**" if cell.bold else cell.mean
    spread = f" ± {cell.spread}" if cell.spread else ""
    interval = f" {markdown_text(cell.interval)}" if cell.interval else ""
    return mean + spread + interval

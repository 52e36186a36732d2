"""Tables as text: Markdown, LaTeX (booktabs) and CSV."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from reports.tables import Table

_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"},
    **{">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "–": "--", "—": "---"},
    **{"[": "{[}", "*": "{*}"},  # after a line's end these would belong to it
    **{"≈": r"$\approx$", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$", "→": r"$\rightarrow$", "…": r"\ldots{}"},
}


def latex_escape(text: str) -> str:
    """Text for LaTeX: what is special there is escaped, and line breaks become spaces."""
    return "".join(_LATEX.get(c, c) for c in " ".join(text.split()))


def markdown_escape(text: str) -> str:
    """Text for a cell of a Markdown table: no cell or row ends in it, and no HTML or emphasis begins."""
    escaped = re.sub(r"([\\`*_\[\]|])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown, under its caption."""
    heads = [markdown_escape(c.head) for c in table.columns]
    rules = ["---:" if c.number else "---" for c in table.columns]
    lines = [heads, rules]
    for row in table.rows():
        cells = [markdown_escape(c.text(row)) for c in table.columns]
        lines.append([f"*{cell}*" if row.get("claim") and cell != "–" else cell for cell in cells])
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{markdown_escape(table.caption)}\n\n{body}\n"


def latex(table: Table) -> str:
    """The table as a LaTeX float over both columns; it needs the package booktabs."""
    columns = [c for c in table.columns if c.key != "runs"]
    lines = [" & ".join(latex_escape(c.head) for c in columns)]
    for row in table.rows():
        cells = [latex_escape("" if c.runs and row["runs"] else c.text(row)) for c in columns]
        lines.append(" & ".join(rf"\textit{{{cell}}}" if row.get("claim") and cell != "--" else cell for cell in cells))
    body = [f"{line} \\\\" for line in lines]
    kinds = [r"p{0.25\textwidth}" if c.long else "r" if c.number else "l" for c in columns]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table*}",
            r"\centering\footnotesize",
            rf"\caption{{{latex_escape(table.caption)}}}",
            rf"\label{{tab:{table.name}}}",
            rf"\begin{{tabular}}{{{''.join(kinds)}}}",
            *(r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule"),
            *(r"\end{tabular}", r"\end{table*}", ""),
        ]
    )


def csv(frame: pd.DataFrame) -> str:
    """Plain values with full precision; lists are separated by spaces, and what is not there is empty."""
    flat = frame.copy()
    for name in flat.columns:
        if flat[name].map(lambda value: isinstance(value, list)).any():
            flat[name] = flat[name].map(_joined)
    return str(flat.to_csv(index=False, lineterminator="\n"))


def _joined(values: Sequence[object]) -> str:
    return " ".join(map(str, values))

"""Tables as text: Markdown, LaTeX (booktabs) and CSV."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from reports.columns import Column, Row, Table

PAGE_ROWS = 45  # rows that fit on a page
_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"},
    **{">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "–": "--", "—": "---"},
    **{"[": "{[}", "*": "{*}"},  # after a line's end these would belong to it
    **{"≈": r"$\approx$", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$", "→": r"$\rightarrow$", "…": r"\ldots{}"},
    **{"†": r"\dag{}", "−": "$-$"},
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
        cells = [f"**{cell}**" if c.strong(row) else cell for c, cell in zip(table.columns, cells, strict=True)]
        lines.append([f"*{cell}*" if row.get("claim") and cell != "–" else cell for cell in cells])
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{markdown_escape(table.caption)}\n\n{body}\n"


def latex(table: Table) -> str:
    """The table as LaTeX floats over both columns; it needs the package booktabs. Sources of claims stand below it."""
    rows, printed = table.rows(), [c for c in table.columns if c.paper]
    sources = list(dict.fromkeys(row["source"] for row in rows if row.get("claim")))
    lines = [_latex_row(row, printed, sources) for row in rows]
    parts = [lines[i : i + PAGE_ROWS] for i in range(0, len(lines), PAGE_ROWS)] or [[]]
    floats = [_float(table, printed, part, sources, first=part is parts[0]) for part in parts]
    return "% needs \\usepackage{booktabs}\n" + "\n".join(floats)


def _latex_row(row: Row, columns: Sequence[Column], sources: Sequence[str]) -> str:
    cells = [latex_escape(c.text(row)) for c in columns]
    cells = [rf"\textbf{{{cell}}}" if c.strong(row) else cell for c, cell in zip(columns, cells, strict=True)]
    if row.get("claim"):
        cells = [rf"\textit{{{cell}}}" if cell != "--" else cell for cell in cells]
        cells[0] += rf"\,\textsuperscript{{{sources.index(row['source']) + 1}}}"
    return " & ".join(cells) + r" \\"


def _float(
    table: Table, columns: Sequence[Column], lines: Sequence[str], sources: Sequence[str], *, first: bool
) -> str:
    heads = " & ".join(latex_escape(c.head) for c in columns) + r" \\"
    kinds = "".join(r"p{0.4\textwidth}" if c.long else "r" if c.number else "l" for c in columns)
    notes = [rf"\textsuperscript{{{i}}}\,{latex_escape(source)}." for i, source in enumerate(sources, start=1)]
    return "\n".join(
        [
            r"\begin{table*}",
            r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
            rf"\caption{{{latex_escape(table.caption) if first else 'Continued.'}}}",
            *([rf"\label{{tab:{table.name}}}"] if first else []),
            rf"\begin{{tabular}}{{{kinds}}}",
            *(r"\toprule", heads, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}"),
            *((r"\par\smallskip\raggedright\scriptsize", *notes) if notes else ()),
            *(r"\end{table*}", ""),
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

"""Tables as text: Markdown, LaTeX (booktabs) and CSV."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from reports.tables.columns import Column, Row, Table

PAGE = 497.0  # points: the width of a page's text, 6.9 inches
GAP = 8.0  # between two columns
LEAST = 120.0  # that columns of sentences need together
CAPTION = 105  # characters in a line of a caption
NOTES, NUMBER = 140, 5  # characters in a line of sources below a table, and those that a source's number and stop take
_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"},
    **{">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "–": "--", "—": "---"},
    **{"[": "{[}", "*": "{*}"},  # after a line's end these would belong to it
    **{"≈": r"$\approx$", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$", "→": r"$\rightarrow$", "…": r"\ldots{}"},
    **{
        "†": r"\dag{}",
        "−": "$-$",
        "°": r"$^\circ$",
        "µ": r"$\mu$",
        "’": "'",
        "“": "``",
        "”": "''",
        "·": r"$\cdot$",
    },
}
_LATEX |= {c: f"$^{i}$" for i, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
_GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi o pi rho varsigma sigma tau upsilon phi chi"
_LATEX |= {chr(0x3B1 + i): f"${name if name == 'o' else chr(92) + name}$" for i, name in enumerate(_GREEK.split())}
_LATEX |= {"ψ": r"$\psi$", "ω": r"$\omega$", "Δ": r"$\Delta$", "Σ": r"$\Sigma$"}


def latex_escape(text: str) -> str:
    """Text for LaTeX: what is special there is escaped, line breaks become spaces, and what its fonts lack is spelled out."""
    return "".join(_LATEX.get(c) or _plain(c) for c in " ".join(text.split()))


def _plain(character: str) -> str:
    """A character that fonts of the encoding T1 have: itself, or what it is made of, or else its number."""
    if " " <= character < "\x7f" or "À" <= character <= "ſ":
        return character
    parts = "".join(_LATEX.get(c, c) for c in unicodedata.normalize("NFKD", character) if " " <= c < "\x7f")
    return parts or f"U+{ord(character):04X}"


def markdown_escape(text: str) -> str:
    """Text for a cell of a Markdown table: no cell or row ends in it, and no HTML or emphasis begins."""
    escaped = re.sub(r"([\\`*_\[\]|])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown, under its caption."""
    heads = [markdown_escape(c.head) for c in table.columns]
    rules = ["---:" if c.number else "---" for c in table.columns]
    lines = [heads, rules]
    for row, texts in zip(table.rows(), table.texts, strict=True):
        cells = [markdown_escape(text) for text in texts]
        cells = [f"**{cell}**" if c.strong(row) else cell for c, cell in zip(table.columns, cells, strict=True)]
        lines.append([f"*{cell}*" if row.get("claim") and cell != "–" else cell for cell in cells])
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{markdown_escape(table.caption)}\n\n{body}\n"


@dataclass(frozen=True)
class _Size:
    """A size of type: its command, the points that a character takes on average, and the lines that fit on a page."""

    command: str
    character: float
    lines: int


SIZES = (_Size(r"\footnotesize", 4.1, 58), _Size(r"\scriptsize", 3.55, 68))


def latex(table: Table) -> str:
    """The table as LaTeX floats over both columns; it needs the packages booktabs and array. Sources of claims stand below.

    Sentences wrap in the width that the other columns leave, and what does not fit on a page is continued. Where that is
    still too wide, a document can define ``\\fitted`` to shrink it, as the report's own does (`reports.page.article`).
    """
    rows, printed = table.rows(), [c for c in table.columns if c.paper]
    sources = list(dict.fromkeys(row["source"] for row in rows if row.get("claim")))
    for size in SIZES:  # the smaller one where the larger does not fit
        widths, wide = _widths(printed, rows, size)
        parts = _parts(table, rows, printed, widths, size)
        if not wide and len(parts) == 1:
            break
    floats = [_float(table, printed, widths, part, sources, size, first=i == 0) for i, part in enumerate(parts)]
    return "% needs \\usepackage{booktabs} and \\usepackage{array}\n\\providecommand{\\fitted}[1]{#1}\n" + "\n".join(
        floats
    )


def _widths(columns: Sequence[Column], rows: Sequence[Row], size: _Size) -> tuple[dict[int, float], bool]:
    """The points of each column of sentences, by its place; and whether all columns are wider than the page."""
    longest = [max((len(c.text(row)) for row in rows), default=0) for c in columns]
    fixed = sum(max(n, len(c.head)) * size.character + GAP for c, n in zip(columns, longest, strict=True) if not c.long)
    wanted = {i: longest[i] * size.character for i, c in enumerate(columns) if c.long}
    room = PAGE - fixed - GAP * len(wanted)
    if sum(wanted.values()) <= room:
        return {i: max(w, len(columns[i].head) * size.character) + GAP for i, w in wanted.items()}, False
    whole, enough = sum(map(math.sqrt, wanted.values())), max(room, LEAST)  # roots: the shorter are not starved
    return {i: enough * math.sqrt(w) / whole for i, w in wanted.items()}, room < (LEAST if wanted else 0)


def _parts(
    table: Table, rows: Sequence[Row], columns: Sequence[Column], widths: dict[int, float], size: _Size
) -> list[list[Row]]:
    """The rows of each float: as many as fit on a page with the sources of its claims, below the caption in the first one."""
    parts, noted = list[list[Row]]([[]]), set[str]()
    room = float(size.lines - math.ceil(1.3 * len(table.caption) / CAPTION))
    for row in rows:
        own = max(
            [1, *(math.ceil(1.15 * len(columns[i].text(row)) * size.character / w) for i, w in widths.items() if w)]
        )
        room -= own + _note(row, noted)
        if room < 0 and parts[-1]:
            parts.append([])
            noted.clear()
            room = size.lines - own - _note(row, noted)
        parts[-1].append(row)
    return parts


def _note(row: Row, noted: set[str]) -> float:
    """The lines that the source of a claim takes below a float that has not ``noted`` it."""
    if not row.get("claim") or row["source"] in noted:
        return 0.0
    noted.add(row["source"])
    return 1.1 * (len(row["source"]) + NUMBER) / NOTES + (1.5 if len(noted) == 1 else 0)


def _latex_row(row: Row, columns: Sequence[Column], sources: Sequence[str]) -> str:
    cells = [prose(c.text(row)) if c.long else latex_escape(c.text(row)) for c in columns]
    cells = [rf"\textbf{{{cell}}}" if c.strong(row) else cell for c, cell in zip(columns, cells, strict=True)]
    if row.get("claim"):
        cells = [rf"\textit{{{cell}}}" if cell != "--" else cell for cell in cells]
        cells[0] += rf"\,\textsuperscript{{{sources.index(row['source']) + 1}}}"
    return " & ".join(cells) + r" \\"


def prose(text: str) -> str:
    """A sentence for LaTeX, whose names may be broken where their parts meet."""
    return re.sub(r"(\\_|[/=:@,-])(?=\w)", r"\1\\allowbreak{}", latex_escape(text))


def _float(
    table: Table,
    columns: Sequence[Column],
    widths: dict[int, float],
    rows: Sequence[Row],
    sources: Sequence[str],
    size: _Size,
    *,
    first: bool,
) -> str:
    heads = " & ".join(latex_escape(c.head) for c in columns) + r" \\"
    shares = {i: f">{{\\raggedright\\arraybackslash}}p{{{width / PAGE:.3f}\\textwidth}}" for i, width in widths.items()}
    kinds = "".join(shares.get(i, "r" if c.number else "l") for i, c in enumerate(columns))
    used = {row["source"] for row in rows if row.get("claim")}
    notes = [rf"\textsuperscript{{{i}}}\,{prose(s)}." for i, s in enumerate(sources, start=1) if s in used]
    lines = [_latex_row(row, columns, sources) for row in rows]
    return "\n".join(
        [
            r"\begin{table*}",
            rf"\centering{size.command}\setlength{{\tabcolsep}}{{4pt}}",
            rf"\caption{{{prose(table.caption)}}}" if first else r"\addtocounter{table}{-1}\caption{Continued.}",
            *([rf"\label{{tab:{table.name}}}"] if first else []),
            r"\par\smallskip",
            rf"\fitted{{\begin{{tabular}}{{{kinds}}}",
            *(r"\toprule", heads, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}}"),
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

"""Tables as text: Markdown, LaTeX (booktabs) and CSV."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from reports.tables.columns import Column, Row, Table

PAGE = 497.0  # points: the width of the text, 6.9 inches
GAP = 8.0  # points between two columns
LEAST = 120.0  # points that all columns of sentences need together
CAPTION = 105  # characters in a line of a caption
NOTES, NUMBER = 140, 5  # characters in a line of sources below a table, and those of a source's number and full stop
_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"},
    **{">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "–": "--", "—": "---"},
    **{"[": "{[}", "*": "{*}"},  # after \\ LaTeX would read these as its arguments
    **{"≈": r"$\approx$", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$", "→": r"$\rightarrow$", "…": r"\ldots{}"},
    **{"†": r"\dag{}", "−": "$-$", "°": r"$^\circ$", "µ": r"$\mu$", "·": r"$\cdot$"},
    **{"’": "'", "“": "``", "”": "''"},
}
_LATEX |= {c: f"$^{i}$" for i, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
_GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi o pi rho varsigma sigma tau upsilon phi chi"
_LATEX |= {chr(0x3B1 + i): rf"$\{name}$" for i, name in enumerate(_GREEK.split())}
_LATEX |= {"\u03bf": "$o$", "ψ": r"$\psi$", "ω": r"$\omega$", "Δ": r"$\Delta$", "Σ": r"$\Sigma$"}


def latex_escape(text: str) -> str:
    """Escapes text for LaTeX; line breaks become spaces, and characters that its fonts lack are written out."""
    return "".join(_LATEX.get(c) or _plain(c) for c in " ".join(text.split()))


def _plain(character: str) -> str:
    """A character in the encoding T1: itself, or its decomposition, or else its code point."""
    if " " <= character < "\x7f" or "À" <= character <= "ſ":
        return character
    parts = "".join(_LATEX.get(c, c) for c in unicodedata.normalize("NFKD", character) if " " <= c < "\x7f")
    return parts or f"U+{ord(character):04X}"


def markdown_escape(text: str) -> str:
    """Escapes text for a cell of a Markdown table, so that it contains no cell border, HTML or emphasis."""
    escaped = re.sub(r"([\\`*_\[\]|])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown, below its caption."""
    heads = [markdown_escape(c.head) for c in table.columns]
    rules = ["---:" if c.number else "---" for c in table.columns]
    lines = [heads, rules]
    for row, texts in zip(table.rows(), table.texts, strict=True):
        lines.append([_markdown_cell(row, c, text) for c, text in zip(table.columns, texts, strict=True)])
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{markdown_escape(table.caption)}\n\n{body}\n"


def _markdown_cell(row: Row, column: Column, text: str) -> str:
    cell = markdown_escape(text)
    if column.strong(row):
        cell = f"**{cell}**"
    if row.get("claim") and cell != "–":
        cell = f"*{cell}*"
    return cell


@dataclass(frozen=True)
class _Size:
    """A font size: its command, the mean width of a character in points, and the number of lines on a page."""

    command: str
    character: float
    lines: int


SIZES = (_Size(r"\footnotesize", 4.1, 58), _Size(r"\scriptsize", 3.55, 68))


def latex(table: Table) -> str:
    """The table as LaTeX floats over both columns, with the sources of claims below; needs the packages booktabs and array.

    Sentences wrap in the width that the other columns leave, and rows that do not fit on a page are continued in another
    float. A document can define ``\\fitted`` to shrink tables that are still too wide (`reports.page.article` does).
    """
    rows, printed = table.rows(), [c for c in table.columns if c.paper]
    sources = list(dict.fromkeys(row["source"] for row in rows if row.get("claim")))
    for size in SIZES:  # the smaller size where the larger one does not fit
        widths, wide = _widths(printed, rows, size)
        parts = _parts(table, rows, printed, widths, size)
        if not wide and len(parts) == 1:
            break
    floats = [_float(table, printed, widths, part, sources, size, first=i == 0) for i, part in enumerate(parts)]
    return "% needs \\usepackage{booktabs} and \\usepackage{array}\n\\providecommand{\\fitted}[1]{#1}\n" + "\n".join(
        floats
    )


def _widths(columns: Sequence[Column], rows: Sequence[Row], size: _Size) -> tuple[dict[int, float], bool]:
    """The width of each column of sentences in points, by its index; and whether the table is wider than the page."""
    longest = [max((len(c.text(row)) for row in rows), default=0) for c in columns]
    fixed = sum(max(n, len(c.head)) * size.character + GAP for c, n in zip(columns, longest, strict=True) if not c.long)
    wanted = {i: longest[i] * size.character for i, c in enumerate(columns) if c.long}
    room = PAGE - fixed - GAP * len(wanted)
    if sum(wanted.values()) <= room:
        return {i: max(w, len(columns[i].head) * size.character) + GAP for i, w in wanted.items()}, False
    if not wanted:
        return {}, True
    whole, enough = sum(map(math.sqrt, wanted.values())), max(room, LEAST)  # square roots favour the shorter columns
    return {i: enough * math.sqrt(w) / whole for i, w in wanted.items()}, room < LEAST


def _parts(
    table: Table, rows: Sequence[Row], columns: Sequence[Column], widths: dict[int, float], size: _Size
) -> list[list[Row]]:
    """The rows of each float: as many as fit on a page with the sources of its claims, and in the first one the caption."""
    parts, noted = list[list[Row]]([[]]), set[str]()
    room = float(size.lines - math.ceil(1.3 * len(table.caption) / CAPTION))
    for row in rows:
        wrapped = [1.15 * len(columns[i].text(row)) * size.character / w for i, w in widths.items() if w]
        own = max([1, *map(math.ceil, wrapped)])
        room -= own + _note(row, noted)
        if room < 0 and parts[-1]:
            parts.append([])
            noted.clear()
            room = size.lines - own - _note(row, noted)
        parts[-1].append(row)
    return parts


def _note(row: Row, noted: set[str]) -> float:
    """The lines that the source of a claim takes below a float, once per float (``noted``: its sources so far)."""
    if not row.get("claim") or row["source"] in noted:
        return 0.0
    noted.add(row["source"])
    space = 1.5 * (len(noted) == 1)  # above the first source
    return 1.1 * (len(row["source"]) + NUMBER) / NOTES + space


def _latex_row(row: Row, columns: Sequence[Column], sources: Sequence[str]) -> str:
    cells = [_latex_cell(row, column) for column in columns]
    if row.get("claim"):
        cells[0] += rf"\,\textsuperscript{{{sources.index(row['source']) + 1}}}"
    return " & ".join(cells) + r" \\"


def _latex_cell(row: Row, column: Column) -> str:
    escape = prose if column.long else latex_escape
    cell = escape(column.text(row))
    if column.strong(row):
        cell = rf"\textbf{{{cell}}}"
    if row.get("claim") and cell != "--":
        cell = rf"\textit{{{cell}}}"
    return cell


def prose(text: str) -> str:
    """Escapes a sentence for LaTeX, and allows line breaks between the parts of names."""
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
    caption = [r"\addtocounter{table}{-1}\caption{Continued.}"]
    if first:
        caption = [rf"\caption{{{prose(table.caption)}}}", rf"\label{{tab:{table.name}}}"]
    lines = [_latex_row(row, columns, sources) for row in rows]
    return "\n".join(
        [
            r"\begin{table*}",
            rf"\centering{size.command}\setlength{{\tabcolsep}}{{4pt}}",
            *caption,
            r"\par\smallskip",
            rf"\fitted{{\begin{{tabular}}{{{kinds}}}",
            *(r"\toprule", heads, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}}"),
            *_source_notes(rows, sources),
            *(r"\end{table*}", ""),
        ]
    )


def _source_notes(rows: Sequence[Row], sources: Sequence[str]) -> list[str]:
    """The sources of the claims among the rows, as numbered lines below a float."""
    used = {row["source"] for row in rows if row.get("claim")}
    if not used:
        return []
    notes = [rf"\textsuperscript{{{i}}}\,{prose(s)}." for i, s in enumerate(sources, start=1) if s in used]
    return [r"\par\smallskip\raggedright\scriptsize", *notes]


def csv(frame: pd.DataFrame) -> str:
    """The frame as CSV with full precision; the items of a list are separated by spaces, and missing values are empty."""
    flat = frame.copy()
    for name in flat.columns:
        if flat[name].map(lambda value: isinstance(value, list)).any():
            flat[name] = flat[name].map(_joined)
    return str(flat.to_csv(index=False, lineterminator="\n"))


def _joined(values: Sequence[object]) -> str:
    return " ".join(map(str, values))

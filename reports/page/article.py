"""The report as an article: one LaTeX file that includes the files of the tables and figures.

It needs only common packages: article, geometry, graphicx, booktabs, array, hyperref, and Times (mathptmx), which the figures
use too. Low figures have the width of a column, others that of the page.
"""

from __future__ import annotations

from collections.abc import Iterator

from reports.page.page import Section, Shown
from reports.tables.columns import Table
from reports.tables.formats import prose

LOW = 3.4  # inches: maximum height of a figure with the width of a column
APPENDIX = ("card", "configurations", "failures", "runs")
FLUSH = 12  # number of floats after which a page break places them, because LaTeX can keep only a few unplaced
FIT = r"width=\linewidth,height=0.85\textheight,keepaspectratio"
LONG = 40  # minimum number of rows of a table that takes pages of its own

HEAD = r"""% Compile twice, in this folder: pdflatex paper.tex
\documentclass[10pt,twocolumn]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{mathptmx,courier,textcomp}
\usepackage[letterpaper,textwidth=6.9in,textheight=9.2in,columnsep=0.3in]{geometry}
\usepackage{graphicx,booktabs,array}
\usepackage[hidelinks]{hyperref}
\sloppy\raggedbottom\hbadness=10000
% Floats stand at the top of pages, and fill them.
\renewcommand{\topfraction}{0.95}\renewcommand{\dbltopfraction}{0.95}\renewcommand{\textfraction}{0.04}
\renewcommand{\floatpagefraction}{0.6}\renewcommand{\dblfloatpagefraction}{0.6}
\setcounter{topnumber}{4}\setcounter{dbltopnumber}{4}\setcounter{totalnumber}{6}
\makeatletter\setlength{\@fptop}{0pt}\setlength{\@dblfptop}{0pt}\makeatother
% A table that is too wide is shrunk to the width of the text.
\newsavebox{\fitbox}
\newcommand{\fitted}[1]{\sbox{\fitbox}{#1}%
  \ifdim\wd\fitbox>\linewidth\resizebox{\linewidth}{!}{\usebox{\fitbox}}\else\usebox{\fitbox}\fi}
\begin{document}
"""


def latex(section: Section) -> str:
    """Returns the article about one study."""
    return HEAD + "\n".join([*_front(section), *_results(section), *_appendix(section), r"\end{document}", ""])


def _front(section: Section) -> Iterator[str]:
    facts = dict(section.facts)
    yield rf"\title{{{prose(facts.get('Question', section.name))}}}"
    yield rf"\author{{Report on the study \texttt{{{prose(section.name)}}}}}"
    yield r"\date{}"
    yield r"\maketitle"
    yield r"\section{Methods and materials}"
    yield r"\begin{description}\setlength{\itemsep}{0pt}\small"
    yield from (rf"\item[{prose(name)}] {prose(value)}" for name, value in section.facts if name != "Question")
    yield r"\end{description}"
    if section.warnings:
        yield r"\paragraph{Limitations.}"
        yield " ".join(map(prose, section.warnings))


def _results(section: Section) -> Iterator[str]:
    yield r"\section{Results}"
    yield from _tables([table for table in section.tables if not _appended(table)])
    drawn = [shown for shown in section.figures if shown.files]
    for place, shown in enumerate(drawn, start=1):
        yield from _figure(shown)
        if place % FLUSH == 0:
            yield r"\clearpage"
    lacking = [f"{shown.figure.title}: {shown.figure.missing}." for shown in section.figures if not shown.files]
    if lacking:
        yield rf"\paragraph{{Not drawn.}} {prose(' '.join(lacking))}"


def _appendix(section: Section) -> Iterator[str]:
    yield r"\onecolumn"
    yield r"\appendix"
    yield r"\section{The evaluation card, and all runs}"
    yield from _tables([table for table in section.tables if _appended(table)])


def _appended(table: Table) -> bool:
    """Whether a table is in the appendix: because of its topic or its length."""
    return table.name in APPENDIX or len(table.frame) > LONG


def _tables(tables: list[Table]) -> Iterator[str]:
    """A line for each table, or the caption of an empty one; then the tables."""
    for table in tables:
        if len(table.frame):
            yield rf"Table~\ref{{tab:{table.name}}}: {prose(table.title)}."
        else:
            yield rf"\paragraph{{{prose(table.title)}.}} {prose(table.caption)}"
    for table in tables:
        if len(table.frame):
            yield rf"\input{{tables/{table.name}.tex}}"
        if len(table.frame) > LONG:
            yield r"\clearpage"


def _figure(shown: Shown) -> Iterator[str]:
    width, kind = "page", "figure*"
    if shown.heights["column"] <= LOW:
        width, kind = "column", "figure"
    yield rf"Figure~\ref{{fig:{shown.figure.name}}}: {prose(shown.figure.title)}."
    yield rf"\begin{{{kind}}}"
    yield r"\centering"
    yield rf"\includegraphics[{FIT}]{{figures/{shown.figure.name}-{width}.pdf}}"
    yield rf"\caption{{{prose(shown.figure.caption)}}}"
    yield rf"\label{{fig:{shown.figure.name}}}"
    yield rf"\end{{{kind}}}"

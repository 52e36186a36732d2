"""Parses docstrings into paragraphs, lists, equations and headings, made of spans of plain text, code and emphasis.

The rules are those of the docstrings of this project:

- A line indented by four or more spaces belongs to an equation or a table, which keeps its spaces.
- A line that begins with "- " begins an item of a list; lines indented by two spaces continue it.
- A line that begins "Differs from ...:" or "Ours, ...:" begins a paragraph, with a heading.
- Text between backquotes is code, and text between asterisks is emphasised.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Span = tuple[str, str]
"""("", "code" or "em", the text)."""

_HEADING = re.compile(r"(Differs from [^:]{1,60}|Ours[^:]{0,60}):\s*(.*)", re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`|(?<![\w*])\*(\w[^*\n]*?\w|\w)\*(?![\w*])")


@dataclass(frozen=True)
class Block:
    """A part of a text: ``kind`` is "p", "h", "pre" or "ul"; a list has several ``items``, anything else has one."""

    kind: str
    items: tuple[tuple[Span, ...], ...]


def typeset(text: str) -> tuple[str, list[Block]]:
    """Returns the first paragraph as a title, and the blocks after it."""
    parts, title = list(_parts(inspect.cleandoc(text).splitlines())), ""
    if parts and parts[0][0] == "p":
        title = " ".join(parts.pop(0)[1])
    return title, [block for kind, lines in parts for block in _blocks(kind, lines)]


def _parts(lines: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Groups consecutive lines of the same kind; a blank line ends a group."""
    kind, found = "", list[str]()
    for line in [*lines, ""]:
        own = _kind(line, kind)
        if found and (own != kind or (own == "p" and _HEADING.match(line))):
            yield kind, found
            found = []
        kind = own
        if own:
            found.append(line)


def _kind(line: str, before: str) -> str:
    if not line.strip():
        return ""
    if line.startswith("- ") or (before == "ul" and line.startswith("  ")):
        return "ul"
    if line.startswith("    "):
        return "pre"
    return "p"


def _blocks(kind: str, lines: Sequence[str]) -> list[Block]:
    if kind == "pre":
        return [Block("pre", ((("", inspect.cleandoc("\n".join(lines))),),))]
    if kind == "ul":
        items = re.split(r"\n- ", "\n" + "\n".join(lines))[1:]
        return [Block("ul", tuple(spans(item) for item in items))]
    heading = _HEADING.fullmatch("\n".join(lines))
    if heading is None:
        return [Block("p", (spans("\n".join(lines)),))]
    head, rest = Block("h", (spans(heading[1]),)), heading[2]
    if not rest:
        return [head]
    return [head, Block("p", (spans(rest[0].upper() + rest[1:]),))]


def spans(text: str) -> tuple[Span, ...]:
    """Returns a paragraph as spans; its line breaks are spaces."""
    joined, found, end = " ".join(text.split()), list[Span](), 0
    for match in _INLINE.finditer(joined):
        found += [("", joined[end : match.start()]), ("code", match[1] or ""), ("em", match[2] or "")]
        end = match.end()
    return tuple(span for span in (*found, ("", joined[end:])) if span[1])

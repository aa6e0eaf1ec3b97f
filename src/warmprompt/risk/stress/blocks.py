"""Parts of a report, as Markdown with pictures beside it, or as one HTML file that holds them."""

from __future__ import annotations

import base64
import html
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from warmprompt.errors import BadInputError
from warmprompt.files import write_atomic

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .7rem;border-bottom:1px solid #e6e6e6;"
    "text-align:right}td:first-child,th:first-child{text-align:left}img{max-width:100%}"
)


@dataclass(frozen=True, kw_only=True)
class ReportBlock:
    """A part of the report: of the four fields one is given.

    Attributes:
        heading: A line, of level `level`.
        text: A paragraph.
        table: Rows, the head first.
        picture: Name of a file and what it shows.
    """

    heading: str = ""
    level: int = 2
    text: str = ""
    table: Sequence[Sequence[str]] = ()
    picture: tuple[str, str] = ("", "")


def save_report(
    path: Path,
    title: str,
    draw: Callable[[Path, str], list[Path]],
    blocks_of: Callable[[Sequence[str]], Sequence[ReportBlock]],
) -> list[Path]:
    """Write a report with its pictures, and return the files.

    Args:
        path: Ends in .html: one file with its pictures inside; or in .md: the pictures lie beside it.
        title: Of the page.
        draw: Draws the pictures into a folder, their names beginning so, and returns them.
        blocks_of: Returns the blocks, given the names of the pictures.

    Raises:
        BadInputError: Another kind of file.
        StorageError: A file could not be written.
    """
    suffix = path.suffix.lower()
    if suffix not in (".html", ".md"):
        raise BadInputError(field="report", value=path, remedy="Name a .html or .md file.")
    if suffix == ".md":
        pictures = draw(path.parent, path.stem)
        write_atomic(path, markdown_of(blocks_of([one.name for one in pictures])).encode())
        return [path, *pictures]
    with tempfile.TemporaryDirectory() as folder:
        pictures = draw(Path(folder), path.stem)
        images = {one.name: base64.b64encode(one.read_bytes()).decode() for one in pictures}
    body = "\n".join(_as_html(block, images) for block in blocks_of(list(images)))
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    page = f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'
    write_atomic(path, page.encode())
    return [path]


def markdown_of(blocks: Sequence[ReportBlock]) -> str:
    """Return blocks as Markdown."""
    return "\n\n".join(_as_markdown(block) for block in blocks) + "\n"


def amount_text(value: float) -> str:
    """Return an amount with commas, below 1,000 with four digits."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.4g}"


def _as_markdown(block: ReportBlock) -> str:
    if block.heading:
        return f"{'#' * block.level} {block.heading}"
    if block.table:
        head, *rows = ([cell.replace("|", "\\|") for cell in row] for row in block.table)
        rule = ["---"] + ["---:"] * (len(head) - 1)
        return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))
    return f"![{block.picture[1]}]({block.picture[0]})" if block.picture[0] else block.text


def _as_html(block: ReportBlock, images: dict[str, str]) -> str:
    if block.heading:
        return f"<h{block.level}>{html.escape(block.heading)}</h{block.level}>"
    if block.table:
        rows = [
            "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
            for tag, row in zip(["th"] + ["td"] * len(block.table), block.table, strict=False)
        ]
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
    name, caption = block.picture
    if name:
        return f'<p><img alt="{html.escape(caption)}" src="data:image/png;base64,{images[name]}"></p>'
    return f"<p>{html.escape(block.text)}</p>"

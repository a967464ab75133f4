"""The report as one HTML file that can be mailed: no script, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import markdown
from markdown.extensions.toc import TocExtension
from PIL import Image

PICTURE_BYTES = 300_000
"""The largest picture that is put in as it is; larger ones are reduced to it."""
_SIDES_PX = (2400, 1800, 1200, 800)
_STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --shade: #f6f8fa; --link: #0758b8; }
@media (prefers-color-scheme: dark) { :root { --line: #3d444d; --shade: #212830; --link: #70aefc; } }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 68rem; margin: 0 auto; padding: 1rem; }
body { overflow-wrap: break-word; }
h1, h2, h3 { line-height: 1.25; }
h2 { margin-top: 2.5rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
a { color: var(--link); }
.toc { background: var(--shade); border: 1px solid var(--line); border-radius: 6px; padding: .2rem 1rem; }
.toc ul { columns: 16rem; padding-left: 1.2rem; }
img { max-width: 100%; height: auto; background: white; border: 1px solid var(--line); border-radius: 6px; }
code { background: var(--shade); border-radius: 4px; padding: .1em .3em; }
pre { background: var(--shade); border: 1px solid var(--line); border-radius: 6px; padding: .8rem; overflow-x: auto; }
pre code { padding: 0; background: none; }
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border: 1px solid var(--line); vertical-align: top; }
th { background: var(--shade); text-align: left; }
td[style*="right"] { white-space: nowrap; }
@media (max-width: 40rem) { th, td { padding: .25rem .45rem; font-size: .9rem; } }
@media print { .toc { display: none; } }
"""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def page(text: str, title: str, pictures: Mapping[str, Path]) -> str:
    """HTML page of a Markdown text.

    Args:
        text: Names from data in it are escaped already.
        title: Of the window; likewise.
        pictures: Files by the address under which the text shows them.
    """
    converter = markdown.Markdown(extensions=["tables", TocExtension(toc_depth="2-2")], output_format="html")
    # Contents go below the heading that the text begins with.
    body = converter.convert(text.replace("\n", "\n\n[TOC]\n", 1))
    for address, path in pictures.items():
        body = body.replace(f'src="{address}"', f'src="{data_uri(path)}"')
    body = body.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
    return _PAGE.format(title=title, style=_STYLE, body=body)


def data_uri(path: Path) -> str:
    """A picture as the address of itself; a PNG that is too large becomes a JPEG of less width and height."""
    content, kind = path.read_bytes(), "svg+xml" if path.suffix == ".svg" else "png"
    if kind == "png" and len(content) > PICTURE_BYTES:
        content, kind = _reduced(content), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _reduced(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content), formats=["PNG"]) as opened:
        whole = opened.convert("RGB")
    for side_px in _SIDES_PX:
        picture = whole.copy()
        picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        picture.save(stream, format="JPEG", quality=85)
        if stream.tell() <= PICTURE_BYTES:
            break
    return stream.getvalue()

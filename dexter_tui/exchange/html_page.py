"""The HTML form of a Markdown report: one file with its pictures, without scripts or requests."""

import base64
import html
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt

_MIMES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
}
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       overflow-wrap: break-word; background: #fff; color: #1b1d20; }
@media (prefers-color-scheme: dark) { body { background: #16181b; color: #e4e6e8; } }
h1, h2, h3, h4, h5 { line-height: 1.25; margin: 2rem 0 .75rem; }
h2 { border-bottom: 1px solid #8884; padding-bottom: .25rem; }
h4, h5 { margin: 1.5rem 0 .5rem; }
blockquote { margin: 1rem 0; padding: .75rem 1rem; border: 1px solid #8885; border-radius: .5rem;
             border-left: .4rem solid #4a6fa5; }
blockquote p { margin: 0; }
code { font-size: .85em; overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .9rem; display: block;
        overflow-x: auto; }
th, td { border: 1px solid #8885; padding: .35rem .6rem; text-align: left; vertical-align: top; }
th { background: #8882; }
pre { overflow-x: auto; padding: .75rem; background: #8881; font-size: .85rem; }
img { max-width: 100%; height: auto; }
p img { width: 38rem; }
td img, th img { width: 12rem; max-width: 38vw; display: block; }
td:has(img), th:has(img) { max-width: 13rem; border-bottom: 0; }
@media (max-width: 30rem) { body { margin: 1rem auto; } h1 { font-size: 1.5rem; } }
@media print {
  body { font-size: 11pt; max-width: none; margin: 0; }
  table { display: table; overflow: visible; }
  p img { width: auto; max-height: 21cm; }
  tr, img, pre, blockquote { break-inside: avoid; }
  tr:has(img) { break-after: avoid; }
  h1, h2, h3, h4, h5 { break-after: avoid; }
}
"""


def page(markdown: str, files: Mapping[str, bytes]) -> str:
    """Return the page. ``files`` holds the pictures by their names in the text."""
    reader = MarkdownIt("commonmark").enable("table")
    # Reports use no tag but <br>; any other is text from a model and is shown as text.
    reader.renderer.rules["html_inline"] = _inline  # type: ignore[attr-defined]
    reader.renderer.rules["html_block"] = _inline  # type: ignore[attr-defined]
    tokens = reader.parse(markdown)
    for token in tokens:
        for child in token.children or ():
            if child.type == "image":
                child.attrSet("src", _data(str(child.attrGet("src") or ""), files))
            elif child.type == "link_open":
                child.attrSet("href", "#")
        if token.type in ("table_open", "fence"):
            token.attrSet("tabindex", "0")  # it scrolls, also for a keyboard
    body = reader.renderer.render(tokens, reader.options, {})
    title = next((t.content for t in tokens if t.type == "inline"), "Report")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{html.escape(_plain(reader, title))}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


def _plain(reader: MarkdownIt, text: str) -> str:
    [token] = reader.parseInline(text)
    return "".join(child.content for child in token.children or ())


def _inline(tokens: Any, index: int, *_: object) -> str:
    content = str(tokens[index].content)
    return "<br>" if content == "<br>" else html.escape(content)


def _data(source: str, files: Mapping[str, bytes]) -> str:
    """Return a picture as a data URL; "" for files outside the report."""
    name = unquote(source)
    mime = _MIMES.get(PurePosixPath(name).suffix)
    if name not in files or mime is None:
        return ""
    return f"data:{mime};base64,{base64.b64encode(files[name]).decode()}"

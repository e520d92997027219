"""The HTML page: one file with everything in it, which may load nothing and run nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def page(content: Mapping[str, Any]) -> str:
    """Put a report's content into one self-contained page.

    Texts of the content come from strangers. They reach the page as data that the script shows as text, never as
    markup; and should one get further, the page's policy forbids every script, style and request but its own.
    """
    style, script = (_HERE / name for name in ("page.css", "page.js"))
    css, js = style.read_text(encoding="utf-8"), script.read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src '{_hash(js)}'; style-src '{_hash(css)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        "<!doctype html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{html.escape(str(content['title']))} - globa-tui</title>\n"
        f"<style>{css}</style>\n</head>\n<body>\n"
        '<noscript><p class="empty">This report draws itself with a script of its own; allow it to run, or make one '
        "with <code>--format md</code>.</p></noscript>\n"
        '<main id="report"></main>\n'
        f'<script type="application/json" id="content">{_data(content)}</script>\n'
        f"<script>{js}</script>\n</body>\n</html>\n"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(content: Mapping[str, Any]) -> str:
    """JSON in which no character can end or open an element."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text

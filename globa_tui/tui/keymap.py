"""The user's own keys: ``[keymap]`` in ``$XDG_CONFIG_HOME/globa-tui/config.toml``."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textual.keys import KEY_ALIASES, Keys, _character_to_key

from globa_tui.diagnostics import UsageError, printable
from globa_tui.tui.bindings import SCOPES, TOGETHER, Key, Keymap

LOST = frozenset({"ctrl+h", "ctrl+m", "ctrl+i", "shift+enter", "ctrl+enter", "ctrl+question_mark", "ctrl+slash"})
"""Keys that a terminal turns into others before anybody sees them."""
_MODIFIERS = ("ctrl+", "shift+", "alt+")
_NAMED = frozenset(key.value for key in Keys) | frozenset(KEY_ALIASES) | {"space"}


def config_file() -> Path:
    """Where the configuration is looked for."""
    home = os.environ.get("XDG_CONFIG_HOME") or ""
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".config") / "globa-tui" / "config.toml"


def read_keymap(file: Path) -> Keymap:
    """The user's keys by the id of their binding; none without a file.

    Raises
    ------
    UsageError
        In one line, when the file cannot be read, an id is unknown, or a key has two meanings on one screen.
    """
    try:
        config = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        msg = f"{file}: cannot be read: {printable(error)}"
        raise UsageError(msg) from error
    if unknown := sorted(config.keys() - {"keymap"}):
        msg = f"{file}: unknown table or key {printable(unknown[0])!r}; there is [keymap]"
        raise UsageError(msg)
    table = config.get("keymap", {})
    if not isinstance(table, dict):
        msg = f'{file}: keymap is a table: [keymap], then lines such as "job.pause" = "z"'
        raise UsageError(msg)
    keymap = {name: _keys(file, name, value) for name, value in _flat(table).items()}
    _check(file, keymap)
    return keymap


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``job.pause = "z"`` without quotes around the id makes a table in the table."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _keys(file: Path, name: str, value: Any) -> str:
    if name not in _by_id():
        msg = f"{file}: unknown binding {printable(name)!r}; docs/keys.md and `python -m globa_tui.tui.keys` list them"
        raise UsageError(msg)
    words = value if isinstance(value, list) else [value]
    if not words or not all(isinstance(word, str) for word in words):
        msg = f'{file}: {name}: write one key or a list of keys, such as "z" or ["z", "f5"]'
        raise UsageError(msg)
    return ",".join(_key(file, name, word) for word in words)


def _key(file: Path, name: str, word: str) -> str:
    """One key by Textual's name for it."""
    key = word.strip() or word
    modifiers = ""
    while key.startswith(_MODIFIERS) and len(key) > len(key.partition("+")[0]) + 1:
        modifier, _, key = key.partition("+")
        modifiers += f"{modifier}+"
    key = _character_to_key(key) if len(key) == 1 else key
    whole = modifiers + key
    if whole in LOST:
        msg = f"{file}: {name}: {printable(word)} never arrives as itself in a terminal; choose another key"
        raise UsageError(msg)
    if not (whole in _NAMED or key in _NAMED or _is_character(key)):
        msg = f"{file}: {name}: no key {printable(word)!r}; keys are such as z, ?, f5, ctrl+t, pagedown, space"
        raise UsageError(msg)
    return whole


def _is_character(key: str) -> bool:
    return key.isprintable() and any(_character_to_key(chr(code)) == key for code in range(33, 127))


def _check(file: Path, keymap: Keymap) -> None:
    for scopes in TOGETHER:
        taken: dict[str, Key] = {}
        for key in (key for scope in (*scopes, "global") for key in SCOPES[scope]):
            for name in keymap.get(key.id, key.keys).split(","):
                if name in taken:
                    mine, other = (key, taken[name]) if key.id in keymap else (taken[name], key)
                    msg = (
                        f"{file}: {mine.id}: {name} is the key of {other.id} on the same screen; give that another one"
                    )
                    raise UsageError(msg)
                taken[name] = key


def _by_id() -> dict[str, Key]:
    return {key.id: key for keys in SCOPES.values() for key in keys}

"""The manifest, `run.json`: what a run was computed from, with which settings, and the list of its layers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from store import files
from store.errors import RunDamagedError, RunForeignError, RunNotFoundError
from store.run.layout import FORMAT, MANIFEST

Manifest = dict[str, Any]

_ABSENT = "absent"


def complete(manifest: Mapping[str, Any]) -> Manifest:
    """Return a manifest as JSON will give it back, with the format version and the time of creation added."""
    plain: Manifest = json.loads(json.dumps(dict(manifest), allow_nan=False))
    for key, kind in (("sources", list), ("settings", dict), ("layers", list)):
        if not isinstance(plain.get(key), kind):
            msg = f"a manifest needs {key!r}, a {kind.__name__}"
            raise ValueError(msg)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {**plain, "format": FORMAT, "created": plain.get("created") or now}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `run.json`, whole or not at all."""
    text = json.dumps(manifest, separators=(",", ":"), ensure_ascii=True)
    files.write_atomic(folder / MANIFEST, text.encode())


def read_manifest(folder: Path) -> Manifest:
    """Read `run.json`.

    Raises
    ------
    RunNotFoundError
        There is none.
    RunDamagedError
        It is not a manifest.
    RunForeignError
        A newer version wrote it.
    """
    path = folder / MANIFEST
    with files.disk_errors(path, "read"):
        try:
            data = files.read_plain(path)
        except files.NotPlainError as error:
            msg = f"{path}: {error.strerror}"
            raise RunDamagedError(msg) from error
        except (FileNotFoundError, NotADirectoryError) as error:
            msg = f"{folder}: no run here; check the name, or start one with `globa-tui analyze … --store {folder}`"
            raise RunNotFoundError(msg) from error
    return parse_manifest(data, str(path))


def parse_manifest(data: bytes | str, where: str) -> Manifest:
    """Check the text of a manifest; `where` names it in errors."""
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        msg = f"{where}: not readable as JSON ({error}); restore it from a copy, or analyse again with --fresh"
        raise RunDamagedError(msg) from error
    if not isinstance(manifest, dict):
        msg = f"{where}: not the manifest of a run; restore it from a copy, or analyse again with --fresh"
        raise RunDamagedError(msg)
    check_format(manifest.get("format"), where)
    for key, kind in (("sources", list), ("settings", dict), ("layers", list)):
        if not isinstance(manifest.get(key), kind) or (kind is list and not _all_objects(manifest[key])):
            msg = f"{where}: {key!r} is missing or damaged; restore it from a copy, or analyse again with --fresh"
            raise RunDamagedError(msg)
    fault = _source_fault(manifest["sources"])
    if fault:
        msg = f"{where}: {fault}; restore it from a copy, or analyse again with --fresh"
        raise RunDamagedError(msg)
    layers = manifest["layers"]
    if not all(type(layer.get("index")) is int and isinstance(layer.get("name"), str) for layer in layers):
        msg = f"{where}: a layer has no index or no name; restore it from a copy, or analyse again with --fresh"
        raise RunDamagedError(msg)
    if len({layer["index"] for layer in layers}) != len(layers):
        msg = f"{where}: two layers have the same index; restore it from a copy, or analyse again with --fresh"
        raise RunDamagedError(msg)
    return manifest


def _source_fault(sources: list[Any]) -> str | None:
    """What a source of a manifest lacks, if anything."""
    if not sources:
        return "names no sources"
    for source in sources:
        files = source.get("files")
        if not isinstance(source.get("path"), str) or not isinstance(files, list) or not _all_objects(files):
            return f"source {str(source.get('role', '?'))!r} has no path or no files"
        kinds = {"name": str, "size": int, "mtime_ns": int, "header_sha256": str}
        if not all(isinstance(file.get(key), kind) for file in files for key, kind in kinds.items()):
            return f"source {str(source.get('role', '?'))!r}: a file lacks its name, size, time or hash"
    return None


def _all_objects(values: list[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)


def check_format(version: object, where: str) -> None:
    """Refuse a format version that this program does not know."""
    if type(version) is not int or version < 1:
        msg = f"{where}: has no format version (found {version!r}); this is not a run of globa-tui"
        raise RunDamagedError(msg)
    if version > FORMAT:
        msg = f"{where}: written by a newer globa-tui (format {version}, this one reads {FORMAT}); update globa-tui"
        raise RunForeignError(msg)


def require_same(folder: Path, found: Manifest, wanted: Manifest) -> None:
    """Refuse to resume a run that was started from other sources or with other settings.

    Raises
    ------
    RunForeignError
        Naming the first difference, both values and the cure.
    """
    difference = (
        _source_difference(found["sources"], wanted["sources"])
        or _first_difference("settings", found["settings"], wanted["settings"])
        or _layer_difference(found["layers"], wanted["layers"])
    )
    if difference:
        key, old, new = difference
        msg = (
            f"{folder}: started with another {key}: {_show(old)} there, {_show(new)} now; "
            "use another --store, or --fresh to compute everything again"
        )
        raise RunForeignError(msg)


Difference = tuple[str, object, object]


def _source_difference(old: list[Any], new: list[Any]) -> Difference | None:
    if len(old) != len(new):
        return "number of sources", len(old), len(new)
    for number, (before, after) in enumerate(zip(old, new, strict=True)):
        if before.get("role") != after.get("role"):
            return f"source {number} role", before.get("role"), after.get("role")
        role = str(after.get("role"))
        found = _file_difference(role, before.get("files"), after.get("files"))
        if found:
            return found
        if _is_elsewhere(before.get("path"), after.get("path")):
            return f"{role} path", before.get("path"), after.get("path")
    return None


def _file_difference(role: str, old: object, new: object) -> Difference | None:
    if not (isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and _all_objects([*old, *new])):
        return _first_difference(f"{role} files", old, new)
    for before, after in zip(old, new, strict=True):
        for key in ("name", "size", "header_sha256", "mtime_ns"):
            if before.get(key) != after.get(key):
                where = "" if key == "name" else f" {after.get('name')}"
                return f"{role} file{where} {key}", before.get(key), after.get(key)
    return None


def _is_elsewhere(old: object, new: object) -> bool:
    """Whether both paths exist and differ; a model that was moved leaves nothing at its old path.

    Two fine-tunes unpacked from one archive can agree in size, time and header, so the path has to tell them apart.
    """
    if old == new or not (isinstance(old, str) and isinstance(new, str)):
        return False
    try:
        return not Path(old).samefile(new)
    except OSError:
        return False


def _layer_difference(old: list[Any], new: list[Any]) -> Difference | None:
    if len(old) != len(new):
        return "number of layers", len(old), len(new)
    for before, after in zip(old, new, strict=True):
        for key in ("index", "name", "shape"):
            if before.get(key) != after.get(key):
                return f"layer {key}", before.get(key), after.get(key)
    return None


def _first_difference(key: str, old: object, new: object) -> Difference | None:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            found = _first_difference(f"{key}.{name}", old.get(name, _ABSENT), new.get(name, _ABSENT))
            if found:
                return found
        return None
    return None if old == new else (key, old, new)


def _show(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 120 else f"{text[:117]}..."

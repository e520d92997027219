"""The texts the corpora are made of: two Debian packages and the interpreter's own standard library."""

import ast
import re
import subprocess
import sysconfig
import zlib
from pathlib import Path

from demo.family import DATA

RAW = DATA / "raw"
PACKAGES = ("r-cran-janeaustenr", "bible-kjv-text", "bible-kjv")

NOVELS = "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"
NOT_SOURCE = {"site-packages", "test", "tests", "idle_test", "encodings", "pydoc_data", "__pycache__", "_bundled"}


def fetch_packages() -> None:
    """Download and unpack the Debian packages into `demo/data/raw`, unless they are there.

    Raises
    ------
    subprocess.CalledProcessError
        If apt or dpkg fails; `apt-get update` is the usual cure.
    """
    RAW.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        folder = RAW / package
        if folder.exists():
            continue
        subprocess.run(["apt-get", "download", "--quiet", package], cwd=RAW, check=True, stdout=subprocess.DEVNULL)
        archive = next(RAW.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)


def novels() -> dict[str, str]:
    """Return Jane Austen's six novels, title in capitals to text, from R's lazy-load database.

    The database is a row of records: a length, then a zlib stream holding one serialized vector of lines.
    """
    data = (RAW / "r-cran-janeaustenr" / NOVELS).read_bytes()
    texts = {}
    while data:
        stream = zlib.decompressobj()
        lines = character_vector(stream.decompress(data[4:]))
        texts[lines[0].upper()] = "\n".join(lines) + "\n"
        data = stream.unused_data
    return texts


def character_vector(record: bytes) -> list[str]:
    r"""Return the strings of a character vector in R's XDR serialization, version 3.

    Layout: `X\n`, three 4-byte versions, the encoding's name, then type 16, the number of strings, and for
    each string its flags (type 9 in the low byte), its length and its bytes.
    """
    position = 18 + int.from_bytes(record[14:18])
    if record[:2] != b"X\n" or record[position + 3] != 16:
        msg = "not a serialized character vector: the janeaustenr package has another layout than expected"
        raise ValueError(msg)
    count = int.from_bytes(record[position + 4 : position + 8])
    position += 8
    strings = []
    for _ in range(count):
        length = int.from_bytes(record[position + 4 : position + 8])
        strings.append(record[position + 8 : position + 8 + length].decode())
        position += 8 + length
    return strings


def scripture() -> dict[str, str]:
    """Return the books of the King James Bible, name to text, a paragraph per verse, without verse numbers."""
    program = RAW / "bible-kjv/usr/bin/bible"
    command = [str(program), "-f", "-p", str(RAW / "bible-kjv-text/usr/lib"), "Gen1:1-Rev22:21"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    books: dict[str, list[str]] = {}
    for line in printed.splitlines():
        verse = re.fullmatch(r"(\d?[A-Za-z]+)\s?\d+:\d+\s+(.+)", line.strip())
        if verse:
            books.setdefault(verse[1], []).append(verse[2])
    return {name: "\n".join(verses) + "\n" for name, verses in books.items()}


def modules() -> dict[str, str]:
    """Return the standard library's Python files, path inside it to text, without tests and tables."""
    library = Path(sysconfig.get_path("stdlib"))
    texts = {}
    for path in sorted(library.rglob("*.py")):
        inside = path.relative_to(library)
        if NOT_SOURCE.isdisjoint(inside.parts):
            texts[inside.as_posix()] = path.read_text(encoding="utf-8", errors="replace")
    return texts


def docstrings(source: str) -> list[str]:
    """Return the docstrings of a Python file of at least 200 characters, indentation removed."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    found = [ast.get_docstring(node) or "" for node in nodes]
    return [text for text in found if len(text) >= 200]

"""An analysis run on disk: one writer, any number of readers, nothing lost.

Importing this imports neither torch nor h5py; docs/store.md describes the format.
"""

from store.run.layer_file import Array
from store.run.layout import FORMAT, run_folder
from store.run.lock import LockInfo, read_lock
from store.run.pack import pack
from store.run.reader import Run
from store.run.representation import read_result, read_states, write_result, write_states
from store.run.writer import RunWriter

__all__ = [
    "FORMAT",
    "Array",
    "LockInfo",
    "Run",
    "RunWriter",
    "pack",
    "read_lock",
    "read_result",
    "read_states",
    "run_folder",
    "write_result",
    "write_states",
]

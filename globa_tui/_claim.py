"""Make sure that ``analysis`` and ``store`` are ours.

The names are common: a researcher's own ``analysis.py`` in the working folder would be found first.
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_PACKAGES = ("analysis", "store")


def claim() -> None:
    """Load both packages from the folders beside ``globa_tui`` into this process, whatever ``sys.path`` says.

    Every entry point of a process calls this before its other imports.
    """
    for name in _PACKAGES:
        folder = Path(__file__).absolute().parent.parent / name
        start = folder / "__init__.py"
        found = getattr(sys.modules.get(name), "__file__", None)
        # Through a link or not, ours is ours: loading it twice would make two of every class.
        if found and start.is_file() and Path(found).is_file() and start.samefile(found):
            continue
        for taken in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
            del sys.modules[taken]
        spec = spec_from_file_location(name, start, submodule_search_locations=[str(folder)])
        if spec is None or spec.loader is None or not start.is_file():
            msg = f"{folder}: this part of globa-tui is missing; install globa-tui again"
            raise ImportError(msg)
        sys.modules[name] = module = module_from_spec(spec)
        spec.loader.exec_module(module)

"""Install the run-time checks of shapes once for a process that runs pytest several times, as mutmut's does.

`-p tests.typed` in the place of jaxtyping's own plugin, which refuses a second run in one process.
"""

import sys

from jaxtyping import install_import_hook

if "analysis" not in sys.modules:
    install_import_hook(["analysis"], "beartype.beartype")

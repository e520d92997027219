"""What holds for all tests."""

from __future__ import annotations

import os

# Each process computes on one thread, and tests run side by side: threads that wait for one another across processes
# took three times the processor time. Set before anything imports torch; tests of threads set their number themselves.
os.environ.setdefault("OMP_NUM_THREADS", "1")

"""How many CPUs there are; known without torch."""

import os


def count_cpus() -> int:
    """Returns the CPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1

"""What a library's model raises where it is asked for something it was not written for.

Architectures differ in what they take (a cache, embeddings in place of ids, a LoRA layer), and no
attribute tells it beforehand. So it is tried, and these errors are the answer "no"; lack of memory
is not, and our own `assert` never is.
"""

from __future__ import annotations

import torch

LIBRARY_ERRORS = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def lacks_memory(error: Exception) -> bool:
    """Whether an allocation failed; the CPU allocator has no error class of its own."""
    failed = isinstance(error, RuntimeError) and "allocate memory" in str(error)
    return failed or isinstance(error, torch.OutOfMemoryError)

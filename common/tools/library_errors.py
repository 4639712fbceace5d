"""The errors that a library's model raises for a feature that it does not support.

Architectures differ in what they support (a cache, embeddings instead of ids, a LoRA layer), and no
attribute says so beforehand. So the feature is tried, and these errors mean that it is not
supported. Lack of memory does not mean that, and neither does our own `assert`.
"""

from __future__ import annotations

import torch

LIBRARY_ERRORS = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def lacks_memory(error: Exception) -> bool:
    """Whether an allocation failed; the CPU allocator has no error class of its own."""
    failed = isinstance(error, RuntimeError) and "allocate memory" in str(error)
    return failed or isinstance(error, torch.OutOfMemoryError)

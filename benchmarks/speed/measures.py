"""Are the measures and the citation blocker cheap enough to leave on?

    python -m benchmarks.speed.measures

Random data of the paper's size: 2,000 training sequences of 256 tokens over 8,192 token ids with
Zipf frequencies, 300 texts of 224 tokens of which a tenth is copied. The blocker is compared with
a decode step (forward with a KV cache, then argmax) of a randomly initialised Llama of 8.5 M
parameters at batch 128, one thread, in its worst case: every row is inside a copied run. Bars:
everything about diversity and overlap in under 5 s, the blocker under 5 % of a step. Prints one
JSON line; above 1 a `*_of_bar` ratio misses its bar.
"""

from __future__ import annotations

import json
import platform
import statistics
import time

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from common.decode.blocker import CitationBlocker
from common.measure.diversity import TrainingStatistics, diversity_metrics

VOCABULARY, TRAINING, TEXTS, BATCH = 8192, (2000, 256), (300, 224), 128
PROMPT_TOKENS, STEPS = 32, 40
MEASURES_BAR_SECONDS, BLOCKER_BAR_SHARE = 5.0, 0.05


def make_data(rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Training sequences and texts; every tenth text is a training run."""
    frequency = 1 / np.arange(1, VOCABULARY + 1)
    frequency /= frequency.sum()
    training = list(rng.choice(VOCABULARY, TRAINING, p=frequency))
    texts = list(rng.choice(VOCABULARY, TEXTS, p=frequency))
    for i in range(0, len(texts), 10):
        texts[i] = training[i][8 : 8 + TEXTS[1]]
    return training, texts


def measure_diversity(training: list[np.ndarray], texts: list[np.ndarray]) -> dict[str, float]:
    """Seconds to index the training data and to measure one condition."""
    start = time.perf_counter()
    statistics_of_training = TrainingStatistics(training)
    indexed = time.perf_counter()
    diversity_metrics(texts, statistics_of_training)
    end = time.perf_counter()
    return {
        "index_seconds": indexed - start,
        "measure_seconds": end - indexed,
        "measures_of_bar": (end - start) / MEASURES_BAR_SECONDS,
    }


@torch.inference_mode()
def measure_blocker(training: list[np.ndarray]) -> dict[str, float]:
    """Median milliseconds of a decode step and of the blocker on its scores."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).eval()
    blocker = CitationBlocker(training, prompt_length=PROMPT_TOKENS)
    # Fed with training sequences instead of its own output, so that every row matches.
    ids_BL = torch.from_numpy(np.stack(training[:BATCH]))
    cache = model(ids_BL[:, :PROMPT_TOKENS]).past_key_values
    step_ms, blocker_ms = [], []
    for length in range(PROMPT_TOKENS + 1, PROMPT_TOKENS + 1 + STEPS):
        start = time.perf_counter()
        output = model(ids_BL[:, length - 1 : length], past_key_values=cache)
        scores_BV = output.logits[:, -1]
        scores_BV.argmax(dim=-1)
        stepped = time.perf_counter()
        blocked_BV = blocker(ids_BL[:, :length], scores_BV)
        end = time.perf_counter()
        if length - PROMPT_TOKENS >= blocker.match:
            assert (blocked_BV == -torch.inf).any(dim=1).all()
            step_ms.append(1e3 * (stepped - start))
            blocker_ms.append(1e3 * (end - stepped))
    share = statistics.median(blocker_ms) / statistics.median(step_ms)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "decode_step_ms": statistics.median(step_ms),
        "blocker_ms": statistics.median(blocker_ms),
        "blocker_share_of_step": share,
        "blocker_of_bar": share / BLOCKER_BAR_SHARE,
    }


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    training, texts = make_data(np.random.default_rng(0))
    result = {
        "benchmark": "measure_speed",
        **measure_diversity(training, texts),
        **measure_blocker(training),
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}
    print(json.dumps(rounded))


if __name__ == "__main__":
    main()

"""Loading a causal language model and its tokenizer, with every user mistake told in one line.

A path is "embedded" (the base model inside the package), a checkpoint folder, or a hub id.
A checkpoint that lacks weights is refused: the library would fill them with random numbers and
only warn, and the run that follows would look like a bad result instead of a bad file.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from common.errors import UserError

EMBEDDED = "embedded"
PROBE_TEXT = "The quick brown fox, 0123; na\u00efve caf\u00e9 \u4f60\u597d \U0001f98a.\n"
A_MODEL = "'embedded', a checkpoint folder, or a hub id of a causal language model"


def resolve(path: str) -> str:
    """What to hand to `from_pretrained`: the embedded folder, a local folder, or a hub id.

    Raises:
        UserError: a path that is no folder, or a folder without config.json.
    """
    if path == EMBEDDED:
        return str(files("text") / "assets" / "base")
    local = Path(path).expanduser()
    if local.is_dir():
        if not (local / "config.json").is_file():
            raise UserError(
                expected="a checkpoint folder with config.json",
                got=f"{path!r}, which has none",
                fix="name the folder that save_pretrained wrote",
            )
        return str(local)
    looks_local = path.startswith((".", "/", "~")) or path.count("/") > 1
    if local.exists() or looks_local or not path:
        what = "which is a file" if local.exists() else "which does not exist"
        raise UserError(expected=A_MODEL, got=f"{path!r}, {what}", fix="mend the path")
    return path


def load_model(
    path: str,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> PreTrainedModel:
    """The causal language model at `path`, in eval mode.

    Raises:
        UserError: missing or unreadable checkpoint, unknown hub id or no network, weights missing
            from the checkpoint, or not a causal language model.
    """
    config = _causal_config(path)
    try:
        # Mismatched shapes are then listed rather than raised with advice to ignore them.
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            resolve(path),
            config=config,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _cannot_load("a checkpoint of a causal language model", path, error) from error
    model, info = loaded
    unusable = sorted({*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])})
    if unusable:
        raise UserError(
            expected=f"a complete checkpoint of {type(model).__name__}",
            got=f"{path!r}, where {len(unusable)} weights are missing or of another shape, such as "
            f"{unusable[0]}",
            fix="use the checkpoint of a causal language model, saved whole",
        )
    return model.to(device).eval()


def meta_model(path: str) -> PreTrainedModel:
    """The model at `path` without weights, on the meta device: shapes and limits, no memory.

    Raises:
        UserError: as `load_model`, for what the configuration alone can tell.
    """
    config = _causal_config(path)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to the model at `path`.

    Raises:
        UserError: missing or unreadable.
    """
    where = resolve(path)
    try:
        return AutoTokenizer.from_pretrained(where)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _cannot_load("a tokenizer (tokenizer.json)", path, error) from error


def check_tokenizer_fits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that can give ids without an embedding.

    Raises:
        UserError: names the largest id and the number of embedding rows.
    """
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding), type(embedding)
    rows = embedding.num_embeddings
    probed = max(tokenizer(PROBE_TEXT, verbose=False)["input_ids"], default=0)
    largest = max(len(tokenizer) - 1, probed)
    if largest >= rows:
        raise UserError(
            expected=f"a tokenizer with ids below {rows}, the rows of the model's embedding",
            got=f"one with ids up to {largest}",
            fix="use the tokenizer that was saved with this model",
        )


def disable_dropout(model: PreTrainedModel) -> None:
    """Set every dropout rate to zero, in the modules and in the configuration.

    Zero loss is out of reach while dropout perturbs the training pass. Rates sit in `nn.Dropout`
    modules and, for fused attention, in plain attributes of a block, so both are swept; the
    configuration follows, so that a saved checkpoint stays without.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        _zero_rates(module)
        config = getattr(module, "config", None)
        if config is not None:
            _zero_rates(config)
            _zero_rates(config.get_text_config())
    assert not any(m.p for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)), (
        "a dropout module is still on"
    )


def _zero_rates(owner: object) -> None:
    for name, value in vars(owner).items():
        is_rate = "drop" in name or name.endswith("_pdrop")
        if is_rate and isinstance(value, float) and value:
            setattr(owner, name, 0.0)


def context_length(model: PreTrainedModel) -> int | None:
    """How many positions the model was built for; None where its configuration sets no bound."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def check_fits(model: PreTrainedModel, total_tokens: int) -> None:
    """Refuse sequences longer than the context.

    Raises:
        UserError: names both lengths.
    """
    limit = context_length(model)
    if limit is not None and total_tokens > limit:
        raise UserError(
            expected=f"at most {limit} tokens, the model's context",
            got=f"{total_tokens} (prompt and new tokens together)",
            fix="shorten the prompt or ask for fewer new tokens",
        )


def _causal_config(path: str) -> PretrainedConfig:
    where = resolve(path)
    try:
        config = AutoConfig.from_pretrained(where)
    except (OSError, ValueError, RuntimeError) as error:
        raise _cannot_load("a checkpoint of a causal language model", path, error) from error
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(
            expected="a causal (decoder-only) language model",
            got=f"{path!r} of type {config.model_type!r}",
            fix="choose a model such as GPT-2, Llama or Qwen2",
        )
    return config


def _cannot_load(expected: str, path: str, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(
        expected=expected,
        got=f"{path!r}, which cannot be read: {reason[:200]}",
        fix="check the path, or for a hub id its spelling and the network, and save or fetch it "
        "again if it is damaged",
    )

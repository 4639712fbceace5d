"""Load causal models from disk or hub, and save them for greedy decoding.

A user's mistake is reported in one line. A path is "embedded" (the model inside a package), the
name of a model that an installed package holds, a checkpoint folder, a model file where the domain
reads such files, or a hub id. A checkpoint that lacks weights is refused: the library would fill
them with random numbers and only warn, and the bad file would look like a bad result. A
`ModelSource` says what a domain loads (which package, which architectures); nothing here knows a
modality.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)

from common.decode.methods import greedy_config
from common.errors import UserError, first_line
from common.model.installed_weights import InstalledWeights
from common.model.origin import ModelOrigin
from common.tools.files import atomic_write_text, file_sha256
from common.tools.inputs import EMBEDDED, embedded_folder, looks_local
from common.tools.library_errors import LIBRARY_ERRORS, lacks_memory

TRIED_TOKENS = 8
# Relative to the scores' norm. For a causal model the two rows give the same scores, mostly to the
# bit; those of an untrained BERT, whose attention has hardly any effect, differ by 3e-4 to 6e-4.
CAUSAL_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """What a domain loads.

    Attributes:
        package: the package whose assets/base is the embedded model.
        what: for messages, e.g. "a causal language model".
        examples: for messages, e.g. "GPT-2, Llama or Qwen2".
        more: architectures beyond the library's causal language models, as one of its mappings
            from configuration to model class.
        installed: models inside installed packages; a name takes precedence over a folder.
        from_file: converts a model file to a checkpoint folder; None if the domain reads none.
    """

    package: str
    what: str
    examples: str
    more: Mapping[Any, Any] = field(default_factory=dict)
    installed: Sequence[InstalledWeights] = ()
    from_file: Callable[[Path], Path] | None = None

    def resolve(self, path: str) -> str:
        """The argument for `from_pretrained`: a local folder, or a hub id.

        Raises:
            UserError: the path does not exist or is a file that the domain does not read, the
                folder has no config.json, or the model's package is not installed.
        """
        if path == EMBEDDED:
            return str(embedded_folder(self.package))
        known = self._installed(path)
        local = Path(os.path.expanduser(path)) if known is None else known.path()
        if self.from_file is not None and os.path.isfile(local):
            return str(self.from_file(local))
        if os.path.isdir(local):
            if not (local / "config.json").is_file():
                raise UserError(
                    expected="a checkpoint folder with config.json",
                    got=f"{path!r}, which has none",
                    fix="name the folder that save_pretrained wrote",
                )
            return str(local)
        there = os.path.exists(local)
        if there or looks_local(path) or not path:
            what = "which is a file" if there else "which does not exist"
            raise UserError(
                expected=f"{self._names()}, or a hub id of {self.what}",
                got=f"{path!r}, {what}",
                fix="correct the path",
            )
        return path

    def origin(self, path: str) -> ModelOrigin:
        """The origin of the model at `path`, for a run's record; for a file with its hash.

        Raises:
            UserError: as `resolve`, for a model inside a package.
        """
        known = self._installed(path)
        origin = ModelOrigin(name=path) if known is None else known.model_origin()
        file = Path(os.path.expanduser(path)) if known is None else known.path()
        if path == EMBEDDED or not os.path.isfile(file):
            return origin
        return replace(origin, sha256=file_sha256(file))

    def _installed(self, path: str) -> InstalledWeights | None:
        return next((one for one in self.installed if one.name == path), None)

    def _names(self) -> str:
        known = "".join(f", {one.name!r}" for one in self.installed)
        file = "" if self.from_file is None else ", a .gguf file"
        return f"'{EMBEDDED}'{known}, a checkpoint folder{file}"

    def load(
        self,
        path: str,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> PreTrainedModel:
        """The model at `path`, in eval mode.

        Raises:
            UserError: the checkpoint is missing, unreadable or incomplete, the hub id is unknown
                or the network is down, the architecture is another one, or the model needs more
                than token ids or is not causal.
        """
        config, model_class = self._config_and_class(path)
        try:
            # Mismatched shapes are then listed rather than raised with advice to ignore them.
            model, info = model_class.from_pretrained(
                self.resolve(path),
                config=config,
                dtype=dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise cannot_load(f"a checkpoint of {self.what}", path, error) from error
        unusable = sorted({*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])})
        if unusable:
            raise UserError(
                expected=f"a complete checkpoint of {type(model).__name__}",
                got=f"{path!r}, where {len(unusable)} weights are missing or of another shape, "
                f"such as {unusable[0]}",
                fix=f"use the checkpoint of {self.what}, saved whole",
            )
        model = model.to(device).eval()
        self._check_causal(model, path)
        return model

    def meta(self, path: str) -> PreTrainedModel:
        """The model at `path` without weights, on the meta device: shapes and limits, no memory.

        Raises:
            UserError: as `load`, as far as the configuration alone shows it.
        """
        config, model_class = self._config_and_class(path)
        with torch.device("meta"):
            chooses = model_class is AutoModelForCausalLM
            model = model_class.from_config(config) if chooses else model_class(config)
        return model.to("meta")  # some norms are made by torch.Tensor(n), which heeds no device

    def _config_and_class(self, path: str) -> tuple[PretrainedConfig, Any]:
        """The configuration, and what loads such a model: the library's chooser, or a class."""
        where = self.resolve(path)
        try:
            config = AutoConfig.from_pretrained(where)
        except (OSError, ValueError, RuntimeError) as error:
            raise cannot_load(f"a checkpoint of {self.what}", path, error) from error
        if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and not config.is_encoder_decoder:
            return config, AutoModelForCausalLM
        if type(config) in self.more:
            return config, self.more[type(config)]
        raise UserError(
            expected=f"{self.what}, decoder-only",
            got=f"{path!r} of type {config.model_type!r}",
            fix=f"choose a model such as {self.examples}",
        )

    @torch.no_grad()
    def _check_causal(self, model: PreTrainedModel, path: str) -> None:
        """Refuse a model in which a later token changes the scores of an earlier one.

        The library lists BERT and similar models as causal language models, which they are only if
        their configuration says so. Otherwise the model would see each token that it predicts.
        """
        tokens = min(TRIED_TOKENS, context_length(model) or TRIED_TOKENS)
        ids_2T = torch.arange(tokens, device=model.device).repeat(2, 1)
        ids_2T[1, -1] = 0
        try:
            scores_2TV = model(input_ids=ids_2T, use_cache=False).logits.float()
        except LIBRARY_ERRORS as error:
            if lacks_memory(error):
                raise
            raise UserError(
                expected=f"{self.what} that takes token ids alone",
                got=f"{path!r} of type {model.config.model_type!r}, which fails "
                f"({first_line(error)})",
                fix=f"choose a model such as {self.examples}",
            ) from error
        first_TV, second_TV = scores_2TV[:, :-1]
        # Written with `>`, so that the NaN of a broken checkpoint passes: it has its own message.
        if (first_TV - second_TV).norm() > CAUSAL_TOLERANCE * first_TV.norm():
            raise UserError(
                expected=f"{self.what}, which sees only what precedes",
                got=f"{path!r} of type {model.config.model_type!r}, which sees what follows too",
                fix=f"choose a model such as {self.examples}",
            )


def cannot_load(expected: str, path: str, error: Exception) -> UserError:
    """The error for a checkpoint or tokenizer that the library cannot read."""
    return UserError(
        expected=expected,
        got=f"{path!r}, which cannot be read: {first_line(error)}",
        fix="check the path, or for a hub id its spelling and the network, and save or download "
        "it again if it is damaged",
    )


def save_greedy(model: Any, folder: Path, *, card: str | None = None, **special_ids: Any) -> None:
    """Write weights, configuration, a greedy generation config and, where given, the model card.

    Args:
        model: a transformers causal LM, not a peft wrapper.
        folder: created if it does not exist.
        card: text of README.md.
        special_ids: for the generation config, e.g. eos_token_id.
    """
    # A neutral config: an inherited repetition penalty would change what "greedy" means.
    model.generation_config = greedy_config()
    model.generation_config.update(**special_ids)
    model.save_pretrained(folder)
    if card is not None:
        atomic_write_text(folder / "README.md", card)


def context_length(model: PreTrainedModel) -> int | None:
    """Number of positions of the model; None if its configuration sets no limit."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)

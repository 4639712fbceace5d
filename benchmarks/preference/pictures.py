"""Single completed images for a page, from the codes that a run's samples hold.

Shapes: N images, C channels, H W pixels, L codes per image.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from common.errors import UserError
from common.record.run_folder import RunFolder
from image.data import completed_codes
from image.tokenizer.load import load_tokenizer, tokenizer_of


def data_uris(folder: RunFolder, samples: Sequence[dict[str, Any]]) -> list[str]:
    """Each sample's whole image as a PNG in a data: URI, at its own size.

    Args:
        folder: of the run, whose `model/` holds the tokenizer.
        samples: records of its `samples.jsonl`.

    Raises:
        UserError: the tokenizer cannot be read, or the codes are not those of one of its images.
    """
    tokenizer = load_tokenizer(tokenizer_of(str(folder.model)))
    codes = [_codes(sample) for sample in samples]
    if any(len(row) != tokenizer.grid**2 for row in codes) or any(
        not 0 <= code < tokenizer.vocab_size for row in codes for code in row
    ):
        raise UserError(
            expected=f"images of {tokenizer.grid**2} codes below {tokenizer.vocab_size}",
            got=f"others in {str(folder.samples)!r}",
            fix="give a run whose model/ is the one that made its samples",
        )
    images_NCHW = tokenizer.decode(torch.tensor(codes, dtype=torch.int64))
    return [_data_uri(image_CHW) for image_CHW in images_NCHW]


def _codes(sample: dict[str, Any]) -> list[int]:
    prompt_1C = torch.tensor([[int(code) for code in sample["prompt"].split()]])
    return completed_codes(prompt_1C, torch.tensor([sample["tokens"]]))[0].tolist()


def _data_uri(image_CHW: Tensor) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image_CHW.permute(1, 2, 0).contiguous().numpy()).save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"

"""What an image run reads before its weights: tokenizer, shape, extractors and images."""

from __future__ import annotations

from common.command import Prepared
from common.conditions import standard_conditions
from common.decode.methods import sampling_config
from common.record.provenance import ModelOrigin
from common.tools.device import pick_device
from image.config import REFERENCE, ImageRunConfig
from image.data import load_image_data
from image.domain import RECONSTRUCTION, ImageDomain
from image.measure.features import load_extractor
from image.measure.judge import ImageJudge
from image.model import check_fits, load_transformer, meta_transformer, vocabulary
from image.report.presentation import PICTURES
from image.tokenizer.load import load_tokenizer, tokenizer_of


def prepare(config: ImageRunConfig) -> Prepared:
    """Read tokenizer, shape, extractors and images.

    Raises:
        UserError: one of them cannot be read, or they do not fit together.
    """
    device = pick_device(config.device)
    conditions = standard_conditions(
        config.measure,
        sampled="sampled",
        at_temperature_1=sampling_config(top_p=1.0, temperature=1.0, top_k=0),
        references=[RECONSTRUCTION, REFERENCE.condition],
    )
    tokenizer = load_tokenizer(config.tokenizer or tokenizer_of(config.model), device=device)
    shape = meta_transformer(config.model)
    check_fits(shape, tokenizer)
    extractors = [load_extractor(name, device=device) for name in config.score.extractors]
    data = load_image_data(config.data, tokenizer, vocabulary(shape), seed=config.seed)

    def load() -> ImageDomain:
        judge = ImageJudge(
            extractors=extractors,
            tokenizer=tokenizer,
            train_NL=data.train_NT[:, 1:],
            references_NCHW=data.references_NCHW,
            references_NL=data.references_NL,
            given=data.given,
            judged=len(data.prompts_PCHW),
            seed=config.seed,
        )
        return ImageDomain(
            model=load_transformer(config.model),
            tokenizer=tokenizer,
            vocabulary=vocabulary(shape),
            data=data,
            judge=judge,
            conditions=conditions,
            main_fidelity=f"fid[{extractors[0].name}]",
        )

    return Prepared(
        notes=data.notes,
        shape=shape,
        train_NT=data.train_NT,
        first_target=data.first_target,
        origin=ModelOrigin(name=config.model),
        load=load,
        closing=lambda folder: f"pictures: {folder.path / PICTURES / 'comparison.png'}",
    )

"""Measures the signals of requests with a loaded model: the tokens that their prompts share are read once.

    found = reference_signals(model, prompts, texts)

Where it sits: below the `transformers` predictor.
"""

from collections.abc import Sequence

from core.decoding.prefix_cache import LEAST_TOKENS, num_common
from core.generation.answer_loss import IdRow, Prefix, answer_losses, read_prefix
from core.generation.signals import Signals
from core.model.language_model import LanguageModel
from core.model.token_ids import IGNORED_LABEL, leading_ids

BATCH_TOKENS = 8_192
"""Tokens of one forward pass, the shared ones counted for each row, because each row has a copy of their keys and
values."""


def reference_signals(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    texts: Sequence[str],
    *,
    reuse_prefix: bool = True,
) -> list[Signals | None]:
    """The signals of answers to the prompts of one task.

    The answer's tokens are those that prompt and answer have as one text, behind what the prompt alone begins with:
    some tokenizers mark the beginning of a text, and a base model never saw an answer marked like that.

    Args:
        prompts: Token ids of each prompt.
        texts: Each prompt with its reference answer.
        reuse_prefix: Whether the tokens that all prompts begin with are read once.

    Returns:
        None where the answer is empty, or prompt and answer are longer than the model's context.
    """
    wholes = [model.encode(text) for text in texts]
    starts = [num_common(list(prompt), whole) for prompt, whole in zip(prompts, wholes, strict=True)]
    measured = [
        number
        for number, (whole, start) in enumerate(zip(wholes, starts, strict=True))
        if 0 < start < len(whole) <= model.context_length
    ]
    if not measured:
        return [None] * len(texts)
    most = min(starts[number] for number in measured) - 1
    prefix = _shared(model, [wholes[number] for number in measured], most) if reuse_prefix else None
    behind = _losses(model, [_row(wholes[n], starts[n]) for n in measured], prefix)
    begins = _begins(model)
    alone = _losses(model, [_row([begins, *wholes[n][starts[n] :]], 1) for n in measured], None)
    found: list[Signals | None] = [None] * len(texts)
    for number, (with_prompt, num), (without, _) in zip(measured, behind, alone, strict=True):
        found[number] = Signals(
            num_tokens=num, loss=round(with_prompt / num, _DIGITS), loss_alone=round(without / num, _DIGITS)
        )
    return found


_DIGITS = 5
"""Decimals of a stored loss; sums of one row in different batches differ by less."""


def _shared(model: LanguageModel, wholes: Sequence[Sequence[int]], most: int) -> Prefix | None:
    """What all rows begin with, up to `most` tokens; None if it is short, or if a layer would forget a part of it."""
    ids = list(wholes[0][:most])
    for whole in wholes[1:]:
        ids = ids[: num_common(ids, list(whole))]
    is_kept = _keeps_all(model, max(map(len, wholes)))
    return read_prefix(model, ids) if len(ids) >= LEAST_TOKENS and len(wholes) > 1 and is_kept else None


def _keeps_all(model: LanguageModel, width: int) -> bool:
    """Whether every layer keeps the keys and values of `width` tokens."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    layers = DynamicCache(config=model.model.config).layers
    windows = [layer.sliding_window for layer in layers if type(layer) is DynamicSlidingWindowLayer]
    known = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
    return bool(layers) and known and all(width <= window for window in windows)


def _losses(model: LanguageModel, rows: Sequence[IdRow], prefix: Prefix | None) -> list[tuple[float, int]]:
    return answer_losses(model, rows, batch_tokens=BATCH_TOKENS, prefix=prefix)


def _row(ids: Sequence[int], start: int) -> IdRow:
    return ids, [*[IGNORED_LABEL] * start, *ids[start:]]


def _begins(model: LanguageModel) -> int:
    """The token that begins a text. A tokenizer without one separates texts by its end token."""
    leading = leading_ids(model.tokenizer)
    tokenizer = model.tokenizer
    begins = leading[0] if leading else tokenizer.eos_token_id
    return int(tokenizer.bos_token_id if begins is None else begins)

"""A tokenizer learnt from the pool: byte pairs (Sennrich et al. 2016) over bytes, lower case, the same every time."""

from __future__ import annotations

from collections.abc import Sequence

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")  # their ids are their places
PAD, CLS, SEP, MASK = range(4)
MAX_WORDS = 8_192
MIN_TIMES = 2  # a piece that only occurs once tells nothing of other texts
N_BYTES = 256


def learn_tokenizer(texts: Sequence[str], max_words: int = MAX_WORDS) -> str:
    """A tokenizer as the JSON of the package ``tokenizers``; each text becomes ``[CLS] … [SEP]``.

    Bytes are the alphabet, so that no text of any script has an unknown piece.

    Examples
    --------
    >>> from tokenizers import Tokenizer
    >>> tokenizer = Tokenizer.from_str(learn_tokenizer(["my card, my card"] * 2))
    >>> tokenizer.encode("My CARD").tokens
    ['[CLS]', 'Ġmy', 'Ġcard', '[SEP]']
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=max(max_words, len(SPECIAL) + N_BYTES),
        min_frequency=MIN_TIMES,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return str(tokenizer.to_str())

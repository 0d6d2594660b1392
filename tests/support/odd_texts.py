"""Scorers, and odd texts for each."""

import scorers
from tests.support import tiny
from tests.support.encoders import bert, gpt2_reward

WORDS, MODEL = tiny.tokenizer(), tiny.llama()
SCORERS = {
    "Overlap": scorers.Overlap,
    "Likelihood": lambda: scorers.Likelihood(MODEL, WORDS),
    "Likelihood.pmi": lambda: scorers.Likelihood.pmi(MODEL, WORDS),
    "Likelihood.noisy_channel": lambda: scorers.Likelihood.noisy_channel(MODEL, WORDS),
    "Embedding": lambda: scorers.Embedding(bert(), WORDS),
    "RewardModel": lambda: scorers.RewardModel(gpt2_reward(), WORDS, append_eos=True),
    "MBR": lambda: scorers.MBR(lambda a, b: float(len(set(a) & set(b)))),
    "Weighted": lambda: scorers.Weighted([(1, scorers.Overlap()), (0.5, scorers.Likelihood(MODEL, WORDS))]),
    "Function": lambda: scorers.Function(lambda prefixes, texts: [len(text) for text in texts]),
}


TEXTS = {
    "empty": "", "a space": " ", "white space alone": " \n\t\r ", "very long": "so it goes on and on, " * 400,
    "one long word": "a" * 5000, "a NUL": "a\0b", "no known token": "\u6f22\u5b57",
    "emoji": "\U0001f468\u200d\U0001f469",
    "right to left": "\u202eabc\u202c \u05d0\u05d1", "combining marks": "e\u0301\u0302\u0303" * 20,
    "a byte order mark": "\ufeffHm", "special tokens as text": "<eos><pad><bos>", "a replacement character": "\ufffd",
    "private use": "\ue000 \U000f0000",
}  # fmt: skip

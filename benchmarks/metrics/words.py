"""Words of any language: pass `tokenize=words` to the metrics of `diversity`, `self_bleu` and `copying`."""


def words(text: str) -> list[str]:
    """The words of a text, divided by Unicode's rules and ICU's dictionaries (UAX 29; ICU's `BreakIterator`).

    Chinese, Japanese, Thai, Lao, Khmer and Burmese put no space between words. There `str.split` takes a clause or a
    sentence for a word. These hardly ever repeat, so every text would count as diverse. ICU has dictionaries for these
    languages. It goes by the characters, so you need not say which language a text is in.

    A part without a letter or a digit, such as space or punctuation, is not a word. Marks that belong to a word stay in
    it. Case is kept. Tibetan is divided into syllables.

    Raises:
        ValueError: ICU is not installed.

    Example:
        >>> words("東京に行く。"), words("He's 3.5 years old, isn't he?")
        (['東京', 'に', '行く'], ["He's", '3.5', 'years', 'old', "isn't", 'he'])
    """
    try:
        from icu4py.breakers import WordBreaker
    except ImportError as error:
        raise ValueError("words of any language need ICU: pip install 'decoding-toolkit[languages]'") from error
    return [part for part in WordBreaker(text, "en") if any(map(str.isalnum, part))]

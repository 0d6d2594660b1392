"""Words of any language, for the counts of `diversity`, `self_bleu` and `copying`: `tokenize=words`."""


def words(text: str) -> list[str]:
    """The words of a text, as Unicode's rules and ICU's dictionaries divide it (UAX 29; ICU's `BreakIterator`).

    Chinese, Japanese, Thai, Lao, Khmer and Burmese put no space between words: `str.split` takes a clause or a sentence
    for a word, which is hardly ever said twice, so that every text is diverse. ICU has dictionaries for these, and goes
    by the characters, so that the language need not be known. What holds no letter and no digit, such as spaces and
    punctuation, is no word; marks that belong to a word stay in it. Case is kept. Tibetan is divided into syllables.

    Raises:
        ValueError: ICU is not there.

    Example:
        >>> words("東京に行く。"), words("He's 3.5 years old, isn't he?")
        (['東京', 'に', '行く'], ["He's", '3.5', 'years', 'old', "isn't", 'he'])
    """
    try:
        from icu4py.breakers import WordBreaker
    except ImportError as error:
        raise ValueError("words of any language need ICU: pip install 'decoding-toolkit[languages]'") from error
    return [part for part in WordBreaker(text, "en") if any(map(str.isalnum, part))]

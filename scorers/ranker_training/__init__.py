"""The training of the ranker: pairs of texts, negatives, the training itself, and its accuracy."""

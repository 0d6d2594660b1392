"""How the ranker is trained: pairs of texts, negatives, the training, its accuracy."""

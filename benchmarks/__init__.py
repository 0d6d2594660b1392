"""What the decoding methods cost and what they do to the text."""

"""Fine-tuning of an expert: examples as labelled tokens, the training, its folder and its model card."""

"""Fine-tuning of an expert: encoding of examples, the training, its folder and its model card."""

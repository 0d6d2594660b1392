"""The work of the commands: prompts in, records out, fine-tuning, synthesis."""

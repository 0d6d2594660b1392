"""The jobs that the commands run: continuation of prompts, fine-tuning and synthesis of examples."""

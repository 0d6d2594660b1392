"""What all three packages stand on: commands, files, loading, checks. Nothing here knows of decoding."""

"""Tasks: the texts, the runs that continue them, and what is measured of these."""

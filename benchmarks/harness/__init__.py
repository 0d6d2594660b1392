"""The benchmark harness: tasks, the runs that continue their prompts, and the metrics of the texts."""

"""How a job runs: tasks, workers, signals, its report, the record of nights."""

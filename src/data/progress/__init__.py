"""What batches and jobs report: each series when it is done, the cost, what failed and why."""

"""What a request lacks, asked of vendors: the plan, the walk, and what is compared."""

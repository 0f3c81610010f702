"""How work is done: one partition (pipeline), many partitions (runner), and the result contract (scheduling)."""

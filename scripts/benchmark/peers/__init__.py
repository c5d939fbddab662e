"""The other contestants: the same experiments, written as users of each framework would."""

"""Lambda functions: `making` is the same for all, `tail` is the function that runs the tails of the venue `split`."""

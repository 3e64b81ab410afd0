"""movements, recalls -> alerts: what a person must be told of."""

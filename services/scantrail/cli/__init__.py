"""`scantrail …`: the command line, the supervisor, and the simulated site."""

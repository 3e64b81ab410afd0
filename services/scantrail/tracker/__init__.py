"""scans -> movements, scans.rejected: where each unit is and who has it."""

"""What a stage is compared with: the same work, written the plain way."""

"""readers -> scans, reads.rejected: every read that was taken in is durable before it is told."""

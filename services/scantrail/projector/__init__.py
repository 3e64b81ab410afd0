"""movements, alerts, scans.rejected, reads.rejected -> PostgreSQL: rows and offsets together."""

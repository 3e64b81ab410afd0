"""Measures of a running Scantrail: real Kafka, real PostgreSQL, real processes and sockets."""

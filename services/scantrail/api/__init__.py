"""PostgreSQL -> people and programs; what they enter -> PostgreSQL and, by the outbox, topics."""

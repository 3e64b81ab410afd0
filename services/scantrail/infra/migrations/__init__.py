"""Alembic's scripts: how the query database came to its shape."""

"""What crosses a boundary: topics, record codecs, and texts that name a unit."""

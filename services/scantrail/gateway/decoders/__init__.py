"""What a device sent, to reads, no-reads and the rest: bytes in, outcomes out, no I/O."""

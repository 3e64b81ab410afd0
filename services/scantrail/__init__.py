"""Where every serialised unit is, and who has it.

Read it in this order: domain (the rules), contracts (what crosses Kafka), then one service.
"""

__version__ = "0.1.0"

"""Settings, metrics, logging, health, Kafka and database plumbing, embedded services."""

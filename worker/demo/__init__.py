"""The demonstration, and the local Kafka that it and the tests start."""

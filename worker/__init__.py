"""Reads raw tweets from Kafka, scores them in batches, publishes the relevant ones as alerts."""

#!/bin/sh
# Creates missing topics, and grants the worker and the subscribers access to them.
set -eu
PATH=$PATH:/opt/kafka/bin

topic() {
    name=$1
    shift
    kafka-topics.sh --bootstrap-server "$BOOTSTRAP_SERVERS" --command-config "$ADMIN_CONFIG" \
        --create --if-not-exists --topic "$name" --partitions "$PARTITIONS" \
        --replication-factor "$REPLICATION_FACTOR" "$@"
}

allow() {
    kafka-acls.sh --bootstrap-server "$BOOTSTRAP_SERVERS" --command-config "$ADMIN_CONFIG" \
        --add --force --allow-principal "$@"
}

day=86400000
topic "$INPUT_TOPIC" --config retention.ms=$((3 * day))
topic "$ALERTS_TOPIC" --config retention.ms=$((30 * day))
topic "$DEAD_LETTERS_TOPIC" --config retention.ms=$((30 * day))
topic "$REVIEW_TOPIC" --config retention.ms=$((30 * day))
topic "$LABELS_TOPIC" --config retention.ms=-1 # labels are training data

[ -n "$WORKER" ] || exit 0 # a Kafka without access control

# The worker reads the input topic as its group, and publishes to the others in transactions.
# Read and Write imply Describe.
allow "$WORKER" --operation Read --topic "$INPUT_TOPIC" --group "$GROUP_ID"
allow "$WORKER" --operation Write --topic "$ALERTS_TOPIC" --topic "$REVIEW_TOPIC" \
    --topic "$DEAD_LETTERS_TOPIC"
allow "$WORKER" --operation Write --transactional-id "$GROUP_ID-" --resource-pattern-type prefixed

# Subscribers read alerts, in groups whose names begin with the subscriber's name.
allow "$SUBSCRIBER" --operation Read --topic "$ALERTS_TOPIC"
allow "$SUBSCRIBER" --operation Read --group "${SUBSCRIBER#User:}" --resource-pattern-type prefixed

# The desk reads alerts, review tweets and labels in no group, and publishes labels.
allow "$DESK" --operation Read --topic "$ALERTS_TOPIC" --topic "$REVIEW_TOPIC"
allow "$DESK" --operation Read --operation Write --topic "$LABELS_TOPIC"

# What lets models learn reads the labels.
allow "$ADAPTER" --operation Read --topic "$LABELS_TOPIC"

# Whoever replays dead letters reads them, and writes to both topics in a transaction.
allow "$REPLAYER" --operation Read --operation Write --topic "$DEAD_LETTERS_TOPIC"
allow "$REPLAYER" --operation Write --topic "$INPUT_TOPIC"
allow "$REPLAYER" --operation Write --transactional-id "$GROUP_ID-replay"

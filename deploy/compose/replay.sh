#!/bin/sh
# Replays the tweets of a CSV file (text, label) for ever, some of them truncated: replay.sh FILE
# Each gets a new id and the present time. Needs Kafka's kafka-console-producer.sh.
set -eu
PATH=$PATH:/opt/kafka/bin
pause=$(awk "BEGIN { print 1 / ${TWEETS_PER_SECOND:-20} }")

while :; do
    number=0
    # Join rows whose text has several lines; then take the texts, quoted for JSON.
    awk 'NR > 1 { row = row $0; if (gsub(/"/, "\"", row) % 2) row = row " "; else { print row; row = "" } }' "$1" |
        sed -E 's/\r$//; s/,(Not )?Relevant$//; s/^"(.*)"$/\1/; s/""/"/g; s/[\\"]/\\&/g' |
        while IFS= read -r text; do
            number=$((number + 1))
            tweet=$(date -u "+{\"id\": \"%s-$number\", \"created_at\": \"%Y-%m-%dT%H:%M:%SZ\"")
            [ $((number % 160)) -eq 0 ] || tweet="$tweet, \"text\": \"$text\"}"
            printf '%s\n' "$tweet"
            sleep "$pause"
        done
done | kafka-console-producer.sh --bootstrap-server "$TRIAGE_KAFKA_BOOTSTRAP_SERVERS" \
    --topic "$TRIAGE_INPUT_TOPIC" --timeout 5

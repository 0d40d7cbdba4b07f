#!/bin/sh
# Lets production learn what people said once there are enough new labels, and promotes the outcome
# if the gate lets it pass. If labels teach nothing or the gate refuses, the log says why, and the
# exit code is not 0.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

triage-worker labels --out "$work/labels.jsonl"
labels=$(wc -l <"$work/labels.jsonl")
learned=$(triage-trainer list --json - | python -c '
import json, sys
print(max((version["labels"] for version in json.load(sys.stdin)["versions"]), default=0))')
if [ $((labels - learned)) -lt "$NEW_LABELS" ]; then
    echo "nothing to do: $labels labels, of which a version has learned $learned; NEW_LABELS=$NEW_LABELS"
    exit 0
fi
triage-trainer adapt --labels "$work/labels.jsonl" --json "$work/adapted.json"
version=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["version"])' "$work/adapted.json")
triage-trainer promote "$version" --reason "it learned $labels labels"

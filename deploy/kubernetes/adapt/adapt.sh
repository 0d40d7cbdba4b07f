#!/bin/sh
# Lets production learn what people said once there are enough new labels, and promotes the outcome
# if the gate lets it pass. If labels teach nothing or the gate refuses, the log says why, and the
# exit code is not 0.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

triage-worker labels --out "$work/labels.jsonl"
# Texts, because several tweets with one text are one label for the trainer, or none if they are at odds.
labels=$(python -c '
import collections, json, sys
votes = collections.Counter()
for line in open(sys.argv[1], encoding="utf-8"):
    tweet = json.loads(line)
    votes[" ".join(tweet["text"].split())] += 1 if tweet["label"] == "relevant" else -1
print(sum(vote != 0 for vote in votes.values()))' "$work/labels.jsonl")
# By production, or by a later version that the gate has refused.
learned=$(triage-trainer list --json - | python -c '
import json, sys
versions = json.load(sys.stdin)["versions"]
first = max((v["version"] for v in versions if "production" in v["aliases"]), default=0)
print(max((v["labels"] for v in versions if v["version"] >= first), default=0))')
if [ $((labels - learned)) -lt "$NEW_LABELS" ]; then
    echo "nothing to do: $labels labels, $learned of them learned before; NEW_LABELS=$NEW_LABELS"
    exit 0
fi
triage-trainer adapt --labels "$work/labels.jsonl" --json "$work/adapted.json"
version=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["version"])' "$work/adapted.json")
triage-trainer promote "$version" --reason "it learned $labels labels"

#!/bin/sh
# Ask a warmprompt service with curl:  sh examples/client.sh http://127.0.0.1:8000 [key]
set -eu

address=${1:-http://127.0.0.1:8000}
key=${2:-}
user=tenant%2F42 # "tenant/42": ids are percent-encoded

ask() {
    if [ -n "$key" ]; then set -- --header "Authorization: Bearer $key" "$@"; fi
    curl --silent --show-error --fail-with-body --retry 3 --header "Content-Type: application/json" "$@"
    echo
}

# The most popular items; ?q=... finds them by title.
ask "$address/v1/items?n=3"
item=$(curl --silent ${key:+--header "Authorization: Bearer $key"} "$address/v1/items?n=1" |
    sed -n 's/.*"item": *\("[^"]*"\|[0-9]*\).*/\1/p')

# Events are on the disk when this answers; the idempotency key makes it safe to send again.
ask --request POST "$address/v1/users/$user/events" --header "Idempotency-Key: example-1" \
    --data "{\"events\": [{\"item\": $item}], \"about\": \"I like quiet films\"}"

# A ranking that knows them. "stale": true says that the sentence could not be read in time: ask again later.
ask "$address/v1/users/$user/recommendations?n=5"

# Somebody described in the request; nothing of it is kept.
ask --request POST "$address/v1/rank" --data "{\"events\": [{\"item\": $item}], \"n\": 3}"

# Everything held about the user, and then nothing.
ask "$address/v1/users/$user" | cut -c 1-200
ask --request DELETE "$address/v1/users/$user"

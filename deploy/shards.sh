#!/bin/sh
# Rank for all users of Parquet files on this machine, one process per processor core.
#   sh deploy/shards.sh runs/shop 'events/*.parquet' rankings/
# Run it again after a failure: blocks that are there are not made again.
set -eu
run=$1 users=$2 out=$3 n=${4:-$(nproc)}
export OMP_NUM_THREADS=1 POLARS_MAX_THREADS=1

pids=
i=1
while [ "$i" -le "$n" ]; do
    warmprompt recommend "$run" --users "$users" --out "$out" --shard "$i/$n" &
    pids="$pids $!"
    i=$((i + 1))
done
failed=0
for pid in $pids; do wait "$pid" || failed=1; done
exit "$failed"

# The same with GNU parallel, which also reaches other machines and tries again:
#   seq 8 | parallel --retries 3 warmprompt recommend runs/shop --users events/ --out rankings/ --shard {}/8

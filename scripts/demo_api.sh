#!/bin/sh
# What `make demo-api` shows: loads from a simulated FINRA over HTTP, before and after it revises. Writes to demo/ only.
set -eu
cd "$(dirname "$0")/.."

. scripts/steps.sh
get() { python -c 'import sys, urllib.request as web; print(web.urlopen(sys.argv[1]).read().decode())' "$1"; }
post() { python -c 'import sys, urllib.request as web; print(web.urlopen(sys.argv[1], sys.argv[2].encode()).read().decode())' "$1" "$2"; }

rm -rf demo
mkdir demo

step "A simulated FINRA as of 23 December 2025, which revises more than the real one"
printf '$ market-spine simulate finra --port 0 --now 2025-12-23 --frozen --revised 0.05 &\n'
market-spine simulate finra --port 0 --now 2025-12-23 --frozen --revised 0.05 > demo/address &
simulator=$!
trap 'kill "$simulator" 2> /dev/null || true' EXIT
while [ ! -s demo/address ]; do
    kill -0 "$simulator"
    sleep 0.1
done
FINRA_API_URL=$(cat demo/address)
run export DATABASE_URL=demo/market_spine.db FINRA_API_URL="$FINRA_API_URL"

step "First run: everything is new, and its sums equal FINRA's own"
run python scripts/schedule_finra.py --source api --run-date 2025-12-23 --log-level WARNING

step "A week goes by: new weeks are published, some rows of the old ones are revised"
run post "$FINRA_API_URL/_simulator/clock" '{"advance": {"days": 7}}'

step "Second run: what is new and what was revised"
run python scripts/schedule_finra.py --source api --run-date 2025-12-30 --log-level WARNING

step "Where every partition stands"
run market-spine status --run-date 2025-12-30

step "The rows that were revised, with their old and new values"
run market-spine diff '2025-11-14|NMS_TIER_2'

step "What it took, as the simulator counted it"
get "$FINRA_API_URL/_simulator/stats" | python -c 'import json, sys; stats = json.load(sys.stdin); print(stats["requests"], "requests,", stats["bytes"], "bytes")'

#!/bin/sh
# What `make demo` shows: a first load, a restated file, a second load, and what happened. Writes to demo/ only.
set -eu
cd "$(dirname "$0")/.."

. scripts/steps.sh

rm -rf demo

step "Four weeks of invented files in FINRA's layout, as they stood on 23 December 2025"
run export DATABASE_URL=demo/market_spine.db FINRA_DATA_DIR=demo/data
run market-spine sample-data finra --out demo/data --weeks 4 --rows 2000 --run-date 2025-12-23

step "First run: everything is new"
run python scripts/schedule_finra.py --run-date 2025-12-23 --log-level WARNING

step "FINRA restates the newest week of each tier"
run market-spine sample-data finra --out demo/data --weeks 4 --rows 2000 --run-date 2025-12-23 --revise

step "Second run, a day later: three revisions, the rest unchanged"
run python scripts/schedule_finra.py --run-date 2025-12-24 --log-level WARNING

step "Where every partition stands"
run market-spine status --run-date 2025-12-24

step "Both versions of a restated week are kept, and what differs is known row by row"
run market-spine captures '2025-11-21|OTC'
run market-spine diff '2025-11-21|OTC'

step "Its total as it was known before the restatement, and as it is known now"
total="SELECT share_volume, trade_count FROM finra_otc_market_week WHERE week_ending = '2025-11-21' AND tier = 'OTC'"
run market-spine query "$total" --as-of finra.otc_transparency:OTC:2025-11-21:20251223
run market-spine query "$total"

step "What to try next"
cat << 'EOT'
. .venv/bin/activate
export DATABASE_URL=demo/market_spine.db FINRA_DATA_DIR=demo/data
market-spine explain finra_otc_market_week week_ending=2025-11-21 tier=OTC   # why the total is what it is
market-spine changes --since finra.otc_transparency:OTC:2025-11-21:20251223  # all that was restated since
market-spine runs --partition 2025-11-21/OTC                                 # what each run found of it
market-spine schedule finra --run-date 2025-12-24                            # again: nothing new
EOT
printf 'Your own data: README.md. Months of history in a browser: make demo-web. FINRA over HTTP: make demo-api.\n'

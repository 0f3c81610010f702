"""The derived views of FINRA's weekly OTC transparency data: shares, complete windows, and what FINRA restates."""

from __future__ import annotations

from market_spine.core.schema import View

# Sums of floating-point numbers are ordered: they depend on it, and answers must not.

VENUE_SHARE = View(
    "finra_otc_venue_share",
    """\
SELECT v.week_ending, v.tier, v.symbol, v.venue_class, v.venue_id,
       SUM(v.share_volume) AS share_volume,
       CASE WHEN s.share_volume > 0 THEN SUM(v.share_volume) / s.share_volume END AS venue_share
  FROM finra_otc_venue_volume v
  JOIN finra_otc_symbol_week s
    ON s.week_ending = v.week_ending AND s.tier = v.tier AND s.symbol = v.symbol
 GROUP BY v.week_ending, v.tier, v.symbol, v.venue_class, v.venue_id, s.share_volume
""",
    ("finra_otc_venue_volume", "finra_otc_symbol_week"),
    "Share of each venue in each symbol's known volume, 0..1; null for a zero total.",
)

TIER_SHARE = View(
    "finra_otc_tier_share",
    """\
SELECT s.week_ending, s.symbol, s.tier, s.legs, s.share_volume, t.share_volume AS symbol_share_volume,
       CASE WHEN t.share_volume > 0 THEN s.share_volume / t.share_volume END AS tier_share,
       t.tiers, w.tiers AS tiers_known
  FROM finra_otc_symbol_week s
  JOIN (SELECT week_ending, symbol, SUM(share_volume ORDER BY tier) AS share_volume, COUNT(*) AS tiers
          FROM finra_otc_symbol_week GROUP BY week_ending, symbol) t
    ON t.week_ending = s.week_ending AND t.symbol = s.symbol
  JOIN (SELECT week_ending, COUNT(DISTINCT tier) AS tiers FROM finra_otc_market_week GROUP BY week_ending) w
    ON w.week_ending = s.week_ending
""",
    ("finra_otc_symbol_week", "finra_otc_market_week"),
    "Share of each tier in a symbol's known volume of the week, 0..1, null for a zero total; tiers that have the"
    " symbol, and tiers_known of that week, which are three once all are loaded.",
)

ROLLING_COMPLETE = View(
    "finra_otc_symbol_rolling_complete",
    """\
SELECT r.*
  FROM finra_otc_symbol_rolling r
 WHERE r.is_complete AND r.same_legs
""",
    ("finra_otc_symbol_rolling",),
    "Rows of finra_otc_symbol_rolling whose six weeks are all known, with the same legs: the volumes are comparable.",
)

REVISIONS = View(
    "finra_otc_revisions",
    """\
SELECT y.week_ending, y.tier, y.venue_class, y.capture_id, y.revised_at, f.first_known_at,
       (SELECT MAX(s.number) FROM core_sessions s WHERE s.session <= y.revised_at)
         - (SELECT MAX(s.number) FROM core_sessions s WHERE s.session <= f.first_known_at) AS sessions_later,
       COUNT(CASE WHEN y.gone = 0 THEN 1 END) AS rows_added,
       COUNT(CASE WHEN y.come = 0 THEN 1 END) AS rows_removed,
       COUNT(CASE WHEN y.come > 0 AND y.gone > 0 THEN 1 END) AS rows_changed,
       SUM(y.shares ORDER BY y.venue_id, y.symbol, y.product_type, y.issue_name) AS share_volume_change,
       SUM(ABS(y.shares) ORDER BY y.venue_id, y.symbol, y.product_type, y.issue_name) AS share_volume_moved,
       MAX(ABS(y.shares)) AS largest_move
  FROM (SELECT i.partition_key, i.capture_id, i.committed_at AS revised_at,
               h.week_ending, h.tier, h.venue_class, h.venue_id, h.symbol, h.product_type, h.issue_name,
               SUM(h.come) AS come, SUM(h.gone) AS gone, SUM(h.shares) AS shares
          FROM (SELECT manifest_id AS entry_id, week_ending, tier, venue_class, venue_id, symbol, product_type,
                       issue_name, 1 AS come, 0 AS gone, share_volume AS shares
                  FROM finra_otc_venue_volume_history
                UNION ALL
                SELECT superseded_by, week_ending, tier, venue_class, venue_id, symbol, product_type,
                       issue_name, 0, 1, -share_volume
                  FROM finra_otc_venue_volume_history WHERE superseded_by IS NOT NULL) h
          JOIN core_manifest e ON e.manifest_id = h.entry_id
          JOIN core_manifest i
            ON i.domain = e.domain AND i.partition_key = e.partition_key AND i.committed_at = e.committed_at
           AND i.stage = 'ingest' AND i.status = 'committed' AND i.is_revision
         GROUP BY i.partition_key, i.capture_id, i.committed_at, h.week_ending, h.tier, h.venue_class, h.venue_id,
                  h.symbol, h.product_type, h.issue_name) y
  JOIN (SELECT partition_key, MIN(committed_at) AS first_known_at
          FROM core_manifest
         WHERE domain = 'finra.otc_transparency' AND stage = 'ingest' AND status = 'committed'
         GROUP BY partition_key) f
    ON f.partition_key = y.partition_key
 GROUP BY y.week_ending, y.tier, y.venue_class, y.capture_id, y.revised_at, f.first_known_at
""",
    ("finra_otc_venue_volume_history", "core_manifest", "core_sessions"),
    "One row per restatement and venue class it touched: how many exchange sessions after the week was first known,"
    " rows of finra_otc_venue_volume added, removed and changed, and how far their shares moved: by sign, in all, and"
    " the furthest of one row.",
)

REVISION_STATISTICS = View(
    "finra_otc_revision_statistics",
    """\
SELECT w.tier, w.venue_class, w.weeks, COALESCE(r.weeks_revised, 0) AS weeks_revised,
       CAST(COALESCE(r.weeks_revised, 0) AS DOUBLE PRECISION) / w.weeks AS weeks_revised_share,
       COALESCE(r.revisions, 0) AS revisions, r.sessions_later_mean, r.sessions_later_max,
       r.rows_mean, r.rows_max, r.moved_share_mean, r.moved_share_max
  FROM (SELECT tier, venue_class, COUNT(*) AS weeks
          FROM finra_otc_market_week GROUP BY tier, venue_class) w
  LEFT JOIN (SELECT v.tier, v.venue_class, COUNT(*) AS revisions,
                    COUNT(DISTINCT v.week_ending) AS weeks_revised,
                    AVG(CAST(v.sessions_later AS DOUBLE PRECISION)) AS sessions_later_mean,
                    MAX(v.sessions_later) AS sessions_later_max,
                    AVG(CAST(v.rows_added + v.rows_removed + v.rows_changed AS DOUBLE PRECISION)) AS rows_mean,
                    MAX(v.rows_added + v.rows_removed + v.rows_changed) AS rows_max,
                    AVG(CASE WHEN m.share_volume > 0 THEN v.share_volume_moved / m.share_volume END
                        ORDER BY v.week_ending, v.revised_at) AS moved_share_mean,
                    MAX(CASE WHEN m.share_volume > 0 THEN v.share_volume_moved / m.share_volume END)
                      AS moved_share_max
               FROM finra_otc_revisions v
               LEFT JOIN finra_otc_market_week m
                 ON m.week_ending = v.week_ending AND m.tier = v.tier AND m.venue_class = v.venue_class
              GROUP BY v.tier, v.venue_class) r
    ON r.tier = w.tier AND r.venue_class = w.venue_class
""",
    ("finra_otc_revisions", "finra_otc_market_week"),
    "How often, how late and how largely FINRA restates what it published, per tier and venue class: weeks known and"
    " revised, revisions, exchange sessions after the first capture, rows touched, and shares moved as a part of the"
    " class's share_volume of the week as it is known now.",
)

VIEWS = (VENUE_SHARE, TIER_SHARE, ROLLING_COMPLETE, REVISIONS, REVISION_STATISTICS)

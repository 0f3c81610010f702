CREATE TABLE finra_otc_venue_volume_versions (
    week_ending            DATE NOT NULL,
    tier                   TEXT NOT NULL,
    venue_class            TEXT NOT NULL,
    venue_id               TEXT NOT NULL,
    venue_name             TEXT NOT NULL,
    symbol                 TEXT NOT NULL,
    issue_name             TEXT NOT NULL,
    product_type           TEXT NOT NULL,
    share_volume           DOUBLE PRECISION NOT NULL,
    trade_count            BIGINT NOT NULL,
    notional               DOUBLE PRECISION,
    initial_published_date DATE,
    last_update_date       DATE,
    last_reported_date     DATE,
    manifest_id            BIGINT NOT NULL,
    superseded_by          BIGINT
);
CREATE INDEX finra_otc_venue_volume_scope ON finra_otc_venue_volume_versions (week_ending, tier);
CREATE INDEX finra_otc_venue_volume_symbol ON finra_otc_venue_volume_versions (symbol, week_ending);

CREATE TABLE finra_otc_symbol_week_versions (
    week_ending          DATE NOT NULL,
    tier                 TEXT NOT NULL,
    symbol               TEXT NOT NULL,
    legs                 TEXT NOT NULL,
    share_volume         DOUBLE PRECISION NOT NULL,
    trade_count          BIGINT NOT NULL,
    ats_share_volume     DOUBLE PRECISION,
    non_ats_share_volume DOUBLE PRECISION,
    venue_count          BIGINT NOT NULL,
    average_trade_size   DOUBLE PRECISION,
    top_venue_id         TEXT,
    top_venue_share      DOUBLE PRECISION,
    hhi                  DOUBLE PRECISION,
    hhi_upper            DOUBLE PRECISION,
    effective_venues     DOUBLE PRECISION,
    manifest_id          BIGINT NOT NULL,
    superseded_by        BIGINT
);
CREATE INDEX finra_otc_symbol_week_scope ON finra_otc_symbol_week_versions (week_ending, tier);
CREATE INDEX finra_otc_symbol_week_symbol ON finra_otc_symbol_week_versions (symbol, week_ending);

CREATE TABLE finra_otc_venue_week_versions (
    week_ending        DATE NOT NULL,
    tier               TEXT NOT NULL,
    venue_class        TEXT NOT NULL,
    venue_id           TEXT NOT NULL,
    venue_name         TEXT NOT NULL,
    share_volume       DOUBLE PRECISION NOT NULL,
    trade_count        BIGINT NOT NULL,
    symbol_count       BIGINT NOT NULL,
    average_trade_size DOUBLE PRECISION,
    market_share       DOUBLE PRECISION,
    volume_rank        BIGINT,
    manifest_id        BIGINT NOT NULL,
    superseded_by      BIGINT
);
CREATE INDEX finra_otc_venue_week_scope ON finra_otc_venue_week_versions (week_ending, tier);

CREATE TABLE finra_otc_market_week_versions (
    week_ending        DATE NOT NULL,
    tier               TEXT NOT NULL,
    venue_class        TEXT NOT NULL,
    share_volume       DOUBLE PRECISION NOT NULL,
    trade_count        BIGINT NOT NULL,
    symbol_count       BIGINT NOT NULL,
    venue_count        BIGINT NOT NULL,
    average_trade_size DOUBLE PRECISION,
    hhi                DOUBLE PRECISION,
    effective_venues   DOUBLE PRECISION,
    top5_share         DOUBLE PRECISION,
    manifest_id        BIGINT NOT NULL,
    superseded_by      BIGINT
);
CREATE INDEX finra_otc_market_week_scope ON finra_otc_market_week_versions (week_ending, tier);

CREATE TABLE finra_otc_trading_days_versions (
    week_ending          DATE NOT NULL,
    tier                 TEXT NOT NULL,
    symbol               TEXT NOT NULL,
    trading_days         BIGINT NOT NULL,
    share_volume         DOUBLE PRECISION NOT NULL,
    share_volume_per_day DOUBLE PRECISION NOT NULL,
    manifest_id          BIGINT NOT NULL,
    superseded_by        BIGINT
);
CREATE INDEX finra_otc_trading_days_scope ON finra_otc_trading_days_versions (week_ending, tier);

CREATE TABLE finra_otc_symbol_rolling_versions (
    week_ending        DATE NOT NULL,
    tier               TEXT NOT NULL,
    symbol             TEXT NOT NULL,
    share_volume       DOUBLE PRECISION NOT NULL,
    trade_count        BIGINT NOT NULL,
    weeks_in_window    BIGINT NOT NULL,
    is_complete        BOOLEAN NOT NULL,
    same_legs          BOOLEAN NOT NULL,
    volume_mean        DOUBLE PRECISION NOT NULL,
    volume_min         DOUBLE PRECISION NOT NULL,
    volume_max         DOUBLE PRECISION NOT NULL,
    trades_mean        DOUBLE PRECISION NOT NULL,
    trades_min         BIGINT NOT NULL,
    trades_max         BIGINT NOT NULL,
    volume_change      DOUBLE PRECISION,
    volume_change_mean DOUBLE PRECISION,
    volume_z           DOUBLE PRECISION,
    direction          TEXT,
    manifest_id        BIGINT NOT NULL,
    superseded_by      BIGINT
);
CREATE INDEX finra_otc_symbol_rolling_scope ON finra_otc_symbol_rolling_versions (week_ending, tier);
CREATE INDEX finra_otc_symbol_rolling_symbol ON finra_otc_symbol_rolling_versions (symbol, week_ending);

CREATE TABLE market_data_prices_versions (
    symbol        TEXT NOT NULL,
    source        TEXT NOT NULL,
    trade_date    DATE NOT NULL,
    open          DOUBLE PRECISION NOT NULL,
    high          DOUBLE PRECISION NOT NULL,
    low           DOUBLE PRECISION NOT NULL,
    close         DOUBLE PRECISION NOT NULL,
    volume        DOUBLE PRECISION NOT NULL,
    vwap          DOUBLE PRECISION,
    trade_count   BIGINT,
    manifest_id   BIGINT NOT NULL,
    superseded_by BIGINT
);
CREATE INDEX market_data_prices_scope ON market_data_prices_versions (symbol, source, trade_date);

CREATE TABLE market_data_splits_versions (
    symbol        TEXT NOT NULL,
    source        TEXT NOT NULL,
    ex_date       DATE NOT NULL,
    split_from    DOUBLE PRECISION NOT NULL,
    split_to      DOUBLE PRECISION NOT NULL,
    kind          TEXT NOT NULL,
    manifest_id   BIGINT NOT NULL,
    superseded_by BIGINT
);
CREATE INDEX market_data_splits_scope ON market_data_splits_versions (symbol, source, ex_date);

CREATE TABLE market_data_dividends_versions (
    symbol        TEXT NOT NULL,
    source        TEXT NOT NULL,
    ex_date       DATE NOT NULL,
    kind          TEXT NOT NULL,
    amount        DOUBLE PRECISION NOT NULL,
    currency      TEXT NOT NULL,
    manifest_id   BIGINT NOT NULL,
    superseded_by BIGINT
);
CREATE INDEX market_data_dividends_scope ON market_data_dividends_versions (symbol, source, ex_date);

CREATE TABLE market_data_adjustments_versions (
    symbol          TEXT NOT NULL,
    source          TEXT NOT NULL,
    first_date      DATE NOT NULL,
    last_date       DATE NOT NULL,
    split_factor    DOUBLE PRECISION NOT NULL,
    dividend_factor DOUBLE PRECISION NOT NULL,
    manifest_id     BIGINT NOT NULL,
    superseded_by   BIGINT
);
CREATE INDEX market_data_adjustments_scope ON market_data_adjustments_versions (symbol, source, first_date);

CREATE TABLE market_data_prices_daily_versions (
    symbol                 TEXT NOT NULL,
    source                 TEXT NOT NULL,
    trade_date             DATE NOT NULL,
    close                  DOUBLE PRECISION NOT NULL,
    volume                 DOUBLE PRECISION NOT NULL,
    previous_close         DOUBLE PRECISION,
    "return"               DOUBLE PRECISION,
    sessions_missing       BIGINT NOT NULL,
    dollar_volume          DOUBLE PRECISION NOT NULL,
    average_volume_20      DOUBLE PRECISION,
    realised_volatility_20 DOUBLE PRECISION,
    manifest_id            BIGINT NOT NULL,
    superseded_by          BIGINT
);
CREATE INDEX market_data_prices_daily_scope ON market_data_prices_daily_versions (symbol, source, trade_date);

CREATE TABLE market_data_symbol_week_versions (
    week_ending   DATE NOT NULL,
    symbol        TEXT NOT NULL,
    source        TEXT NOT NULL,
    open          DOUBLE PRECISION NOT NULL,
    high          DOUBLE PRECISION NOT NULL,
    low           DOUBLE PRECISION NOT NULL,
    close         DOUBLE PRECISION NOT NULL,
    volume        DOUBLE PRECISION NOT NULL,
    vwap          DOUBLE PRECISION,
    "return"      DOUBLE PRECISION,
    sessions      BIGINT NOT NULL,
    is_complete   BOOLEAN NOT NULL,
    manifest_id   BIGINT NOT NULL,
    superseded_by BIGINT
);
CREATE INDEX market_data_symbol_week_scope ON market_data_symbol_week_versions (symbol, source, week_ending);
CREATE INDEX market_data_symbol_week_week ON market_data_symbol_week_versions (week_ending, symbol);

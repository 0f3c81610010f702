"""What Alpha Vantage says when it refuses, word for word; all of it comes with status 200."""

from __future__ import annotations

_PREMIUM = "https://www.alphavantage.co/premium/"
_THANKS = "Thank you for using Alpha Vantage!"
_KEY_PAGE = "https://www.alphavantage.co/support/#api-key"

INVALID = (
    "Invalid API call. Please retry or visit the documentation (https://www.alphavantage.co/documentation/) for {}."
)
NO_FUNCTION = "This API function ({}) does not exist."
NO_KEY = (
    f"the parameter apikey is invalid or missing. Please claim your free API key on ({_KEY_PAGE})."
    " It should take less than 20 seconds."
)
DEMO = (
    "The **demo** API key is for demo purposes only. Please claim your free API key at"
    f" ({_KEY_PAGE}) to explore our full API offerings. It takes fewer than 20 seconds."
)
DAILY_QUOTA = (
    "We have detected your API key as {} and our standard API rate limit is {} requests per day. Please subscribe to"
    f" any of the premium plans at {_PREMIUM} to instantly remove all daily rate limits."
)
BURST = (
    f"{_THANKS} Please consider spreading out your free API requests more sparingly (1 request per second). You may"
    f" subscribe to any of the premium plans at {_PREMIUM} to lift the free key rate limit (25 requests per day),"
    " raise the per-second burst limit, and instantly unlock all premium endpoints"
)
PREMIUM_BURST = (
    "Burst pattern detected. Please consider spreading out your API requests more evenly across a 1-minute window and"
    " query no more than 30 requests per second."
)
PREMIUM_MINUTE = (
    "Minute-level rate limit exceed. Please stay under the number of API requests per minute for your premium"
    " subscription plan."
)
PREMIUM_PARAMETER = (
    f"{_THANKS} The outputsize=full parameter value is a premium feature for the {{}} endpoint. You may subscribe to"
    f" any of the premium plans at {_PREMIUM} to instantly unlock all premium features"
)
PREMIUM_ENDPOINT = (
    f"{_THANKS} This is a premium endpoint. You may subscribe to any of the premium plans at {_PREMIUM} to instantly"
    " unlock all premium endpoints"
)
LEGACY_NOTE = (
    f"{_THANKS} Our standard API call frequency is 5 calls per minute and 500 calls per day. Please visit"
    f" {_PREMIUM} if you would like to target a higher API call frequency."
)
SAMPLE_DATA = f"{_THANKS} This is artificial sample data. Subscribe at {_PREMIUM} for the real one."

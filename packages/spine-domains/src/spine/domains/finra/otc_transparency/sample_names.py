"""Invented issues for the sample files, and the venues that trade them.

Companies and non-ATS firms do not exist. ATSs and their MPIDs are as FINRA publishes them, most active
first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from random import Random
from typing import NamedTuple

from spine.domains.finra.otc_transparency.schema import TIERS

NMS_ATSS = """\
UBSA UBS ATS
INCR INTELLIGENT CROSS LLC
SGMT SIGMA X2
EBXL LEVEL ATS
XSTM CROSSSTREAM
IATS IBKR ATS
MLIX INSTINCT X
JPMX JPM-X
LATS THE BARCLAYS ATS
PURE PURESTREAM
MSTX MS TRAJECTORY CROSS (ATS-1)
BIDS BIDS ATS
MSPL MS POOL (ATS-4)
KCGM VIRTU MATCHIT ATS
JPBX JPB-X
ITGP POSIT
ICBX CBX
BNPX BNPP CORTEX ATS
CGXS ONECHRONOS
CODA CODA
MSRP MS RPOOL (ATS-6)
BLKX INSTINET BLOCKCROSS
ONEC CITI-ONE ATS
BLUE BOATS
LQNA LIQUIDNET H2O ATS
LMNX LUMINEX ATS
ALPX ALPHAX US
LQNT LIQUIDNET NEGOTIATION ATS
IEOS IBKR EOS ATS
BOSS BRUCE ATS
STFX STIFEL X
MOON MOON ATS
""".splitlines()
OTC_ATSS = """\
OTCN OTC LINK NQB IDQS
OTCX OTC LINK ECN ATS
ARCA GLOBAL OTC
PPEX NORTH CAPITAL PRIVATE SECURITIES CORPORATION
PROS TZERO SECURITIES LLC
ALTS LODAS SECURITIES ALTERNATIVE TRADING SYSTEM
SMKT SECURITIZE MARKETS ATS
SWCL INX SECURITIES, LLC
STEN STARTENGINE SECONDARY
""".splitlines()
DE_MINIMIS_FIRMS = "De Minimis Firms"
FIRMS = """\
ALDERWICK EXECUTION SERVICES LLC
BRANTHAM MARKETS LLC
CALDER & FINCH SECURITIES LLC
DUNMOOR CAPITAL MARKETS, LLC
EASTHAVEN TRADING LLC
FENWRIGHT SECURITIES (USA) LLC
GARRISON LANE BROKERAGE, INC.
HOLLOWAY INSTITUTIONAL, LLC
IRONBRIDGE EQUITIES LLC
JUNIPER ROW TRADING, L.P.
KESTREL POINT SECURITIES LLC
LARKMOOR CLEARING CORP.
MARLSTON GLOBAL MARKETS INC.
NORTHQUAY TRADING LLC
OAKHURST WHOLESALE LLC
PEMBERLEY SECURITIES LLC
QUARRYSTONE BROKERS, INC.
REDFERN CAPITAL LLC
STONEWELL EXECUTION, LLC
TREMAINE SECURITIES CORPORATION
""".splitlines()

_WORDS = """
Alder Amber Anvil Arbor Aster Aurel Balmor Basalt Beacon Birch Borealis Brightwater Calder Cedar Cobalt
Copperline Corvid Dunmore Eastfield Elmira Falconridge Ferngate Galena Glenmoor Granite Halden Harrow Hollis
Ironwood Juniper Kestrel Kingsley Lakemont Larkspur Linden Lumen Marlow Merrin Nordhaven Northgate Oakline
Orchid Palisade Pinecrest Quartz Quill Redstone Rookery Saffron Selkirk Silverbrook Solent Stonebridge
Tamarack Thornbury Umber Vantor Verity Westmark Willowdale Wyvern Yarrow Zephyr
""".split()  # noqa: SIM905 (many short words read better as text)
_TRADES = """
Acquisition Aerospace Analytics Bancorp Biosciences Capital Communications Dynamics Energy Foods Gold Health
Industries Interactive Labs Lithium Logistics Materials Medical Minerals Mining Networks Pharmaceuticals Power
Properties Resources Robotics Semiconductor Software Systems Therapeutics Water
""".split()  # noqa: SIM905 (many short words read better as text)
_ENDINGS = ("Inc.", "Corp.", "Ltd.", "Group", "Co.", "Holdings Inc", "PLC", "Company", "LLC")
_COUNTRIES = ("Canada", "Japan", "Australia", "Germany", "Cayman Islands", "France", "Brazil", "Hong Kong")
_FUNDS = ("Growth", "Value", "Income", "Dividend", "Small Cap", "Total Market")

_NMS_KINDS = (("common", 0.80), ("fund", 0.15), ("class", 0.025), ("preferred", 0.025))
_OTC_KINDS = (("adr", 0.36), ("foreign", 0.32), ("common", 0.18), ("series", 0.14))
_FIRST_LETTERS = 8


class Issue(NamedTuple):
    """An invented security; ``kind`` is a word of this module, such as ``common`` or ``series``."""

    symbol: str
    name: str
    kind: str


def issues(rng: Random, tier: str) -> Iterator[Issue]:
    """Invent issues without end; no symbol comes twice, nor in two tiers."""
    taken: set[str] = set()
    kinds = _OTC_KINDS if tier == "OTC" else _NMS_KINDS
    while True:
        kind = pick(rng, kinds)
        symbol = _symbol(rng, tier, kind, taken)
        taken.add(symbol)
        yield Issue(symbol, _name(rng, tier, kind, symbol), kind)


def pick(rng: Random, weighted: tuple[tuple[str, float], ...]) -> str:
    """One of the texts, by weight."""
    point = rng.random() * sum(weight for _, weight in weighted)
    for text, weight in weighted:
        point -= weight
        if point < 0:
            return text
    return weighted[-1][0]


def _symbol(rng: Random, tier: str, kind: str, taken: set[str]) -> str:
    """Three to five letters, longer once those are used up, with FINRA's suffix for the kind.

    The letters' sum modulo three tells the tiers apart, by the choice of the first letter.
    """
    if tier == "OTC":
        length = 4 if kind == "common" else 5
        suffix = {"adr": "Y", "foreign": "F", "series": "S"}.get(kind, "")
    else:
        length = 3 if kind in ("class", "preferred") or rng.random() < 0.25 else 4
        suffix = {"class": f".{_one(rng, 'AB')}", "preferred": f"p{_one(rng, 'ABCDEF')}"}.get(kind, "")
    free = length - len(suffix) if tier == "OTC" else length
    for attempt in count():
        rest = "".join(chr(65 + int(rng.random() * 26)) for _ in range(free - 1 + attempt // 4)) + suffix
        residue = (TIERS.index(tier) - sum(map(ord, rest)) - 65) % len(TIERS)
        symbol = chr(65 + residue + len(TIERS) * int(rng.random() * _FIRST_LETTERS)) + rest
        if symbol not in taken:
            return symbol
    raise AssertionError("unreachable: count() does not end")


def _name(rng: Random, tier: str, kind: str, symbol: str) -> str:
    first, trade = _one(rng, _WORDS), _one(rng, _TRADES)
    if rng.random() < 0.05:
        first = f"{first} & {_one(rng, _WORDS)}"
    if kind == "fund":
        return f"{first} {_one(rng, _FUNDS)} ETF"
    comma = "," if rng.random() < 0.12 else ""
    company = f"{first} {trade}{comma} {_one(rng, _ENDINGS)}"
    if rng.random() < 0.2:
        company = company.upper()
    space = "  " if rng.random() < 0.03 else " "
    return f"{company}{space}{_security(rng, tier, kind, symbol)}"


def _security(rng: Random, tier: str, kind: str, symbol: str) -> str:
    match kind:
        case "adr":
            return f"Unsponsored ADR ({_one(rng, _COUNTRIES)})"
        case "foreign":
            return f"Ordinary Shares ({_one(rng, _COUNTRIES)})"
        case "series":
            return f"MEMBERSHIP INT SER - #{symbol} Shares of Beneficial Interest"
        case "class":
            return f"Class {symbol[-1]} Common Stock"
        case "preferred":
            return f"Preferred Stock, Series {symbol[-1]}"
        case _:
            return "Com Par $0.001" if tier == "OTC" and rng.random() < 0.2 else "Common Stock"


def _one(rng: Random, items: Sequence[str]) -> str:
    return items[int(rng.random() * len(items))]

"""What simulated vendors and publishers share: a movable clock, fault switches, counters, and serving.

A domain brings Starlette routes; this package makes a simulator of them and serves it on 127.0.0.1:

    clock = SimulatedClock(start, frozen=False)
    faults = Faults(["429@data=0.1", "truncated=every:7"], seed=1, kinds={"drift"})
    app = simulator([Route("/data", data, name="data")], clock=clock, faults=faults)

    serve(app, port=0, announce=output.write)    # a command: prints the address, returns after SIGTERM
    with running(app) as address: ...            # a test: another thread, any free port

A route's ``name`` is what faults and counters call it. Every simulator answers, besides its own routes:

    GET|POST /_simulator/clock     {"now", "frozen"}; POST {"now": T}, {"advance": {"days": 7}}, {"frozen": true}
    GET|POST /_simulator/faults    {"faults": ["KIND[@ROUTE]=RATE", ...]}; POST replaces them
    GET|DELETE /_simulator/stats   requests, bytes and statuses per route, faults; DELETE starts again at zero

It needs the extra ``simulate`` (Starlette and uvicorn), and nothing in the path of a run may import it.
"""

from __future__ import annotations

from market_spine.simulation.clock import SimulatedClock, parse_moment
from market_spine.simulation.control import ErrorAnswer, simulator
from market_spine.simulation.faults import KINDS, Faults
from market_spine.simulation.serving import require, running, serve
from market_spine.simulation.traffic import TrafficCounter

__all__ = [
    "KINDS",
    "ErrorAnswer",
    "Faults",
    "SimulatedClock",
    "TrafficCounter",
    "parse_moment",
    "require",
    "running",
    "serve",
    "simulator",
]

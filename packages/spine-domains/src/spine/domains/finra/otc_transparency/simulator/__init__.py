"""A simulator of FINRA's Query API for the weekly OTC transparency data, over real HTTP.

It stands outside the path of a run: nothing there may import it. What it does follows FINRA's documents and
recordings of the service; what had to be assumed is named in ``docs/simulators.md``.
"""

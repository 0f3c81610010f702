"""Simulators of the price vendors: Alpha Vantage and Massive (formerly Polygon.io), over real HTTP.

``market-spine simulate prices`` starts one. Nothing that loads prices imports this package.
"""

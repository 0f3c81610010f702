"""The console: pages over a store, for the person on call and for whoever studies the data.

Every page is a record, made from what a reader says, and shown twice: as HTML and, under the same path with
``.json``, as it is. Nothing here decides what state a partition is in, and nothing here can write.

    app         routes, and what becomes of a request
    shield      who may ask what: hosts, headers, sizes
    reading     the one place that asks the store
    pages       a module for each page: request to record
    rendering   records to HTML, JSON, CSV and Parquet
    drawing     numbers to the geometry of inline SVG
    serving     uvicorn

It needs the extra ``web`` (Starlette, Jinja2 and uvicorn), and nothing in the path of a run imports it.
"""

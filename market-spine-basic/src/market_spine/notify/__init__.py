"""Who is told of a run once it is recorded: health checks, people, monitoring.

Nothing here changes what a run does or answers: what cannot be told is a log line. Nothing here is imported by a run
that tells nobody.
"""

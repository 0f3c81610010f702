"""The command line: options in, one result out. ``output`` alone writes stdout, ``main`` alone decides exit codes."""

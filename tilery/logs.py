"""One form of log line for all that works on a run: JSON with the run's id, so that looking for the id finds the workers' words
too, in whatever log group they are."""

from __future__ import annotations

import logging

from aws_lambda_powertools.logging import Logger


def structured(service: str = "") -> Logger:
    """The logger of this process; the library logs through it from now on, with the keys that are appended to it."""
    logger = Logger(service=service or None)
    library = logging.getLogger("tilery")
    library.setLevel(logging.INFO)
    library.handlers, library.propagate = list(logger.handlers), False
    return logger

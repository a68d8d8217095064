"""What S3 and its two clients (obstore, boto3) report, in the words of the store port."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import ClientError, HTTPClientError
from obstore.exceptions import GenericError, PermissionDeniedError

from tilery.outcomes import Transient
from tilery.store.port import Changed, NotFound

STATUS = re.compile(r"status code: (\d{3})")
TRY_AGAIN = {408, 429}


@contextmanager
def plain_errors(key: str, *, reading: bool = False) -> Iterator[None]:
    """Raise `NotFound`, `Changed` or `Transient` in place of the clients' errors; what is a defect passes as it is.

    A denied read counts as `NotFound`: that is how S3 answers for a missing key to who may not list.
    """
    try:
        yield
    except FileNotFoundError as error:  # obstore's NotFoundError is this built-in
        raise _missing(key, str(error)) from error
    except PermissionDeniedError as error:
        if not reading or ("AccessDenied" not in str(error) and "<Code>" in str(error)):
            raise
        raise NotFound(f"there is no object at {key}, or this role may not read it") from error
    except GenericError as error:
        status = STATUS.search(str(error))
        if status is None or _passing(int(status[1])) or "<Code>RequestTimeout<" in str(error):
            raise Transient(
                f"the object store did not answer for {key}; trying again may help: {_first_line(error)}"
            ) from error
        if "<Code>InvalidRange<" in str(error):
            raise Changed(f"{key} is shorter than the range asked of it; it changed after the run began") from error
        raise
    except HTTPClientError as error:  # connection refused, reset, timed out
        raise Transient(f"the object store did not answer for {key}; trying again may help: {error}") from error
    except ClientError as error:
        code, status_code = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status_code == 404:
            raise _missing(key, code) from error
        if reading and code in ("403", "AccessDenied"):
            raise NotFound(f"there is no object at {key}, or this role may not read it") from error
        if _passing(status_code) or code in ("RequestTimeout", "SlowDown", "Throttling"):
            raise Transient(f"the object store did not answer for {key}; trying again may help: {error}") from error
        if code == "InvalidRange":
            raise Changed(f"{key} or a part of it is shorter than it was when the run began") from error
        raise


def past_the_end(error: GenericError) -> bool:
    """Whether S3 refused a range because the object ends before it starts."""
    return "<Code>InvalidRange<" in str(error)


def _missing(key: str, answer: str) -> Exception:
    if "NoSuchBucket" in answer:
        return NotFound(
            f"the bucket for {key} does not exist; check TILERY_DROP_BUCKET, TILERY_WORK_BUCKET, TILERY_RESULTS_BUCKET"
        )
    if "NoSuchVersion" in answer:
        return Changed(f"the version of {key} that the run began with is gone; drop it again to start a new run")
    return NotFound(f"there is no object at {key}")


def _passing(status: int) -> bool:
    return status >= 500 or status in TRY_AGAIN


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]

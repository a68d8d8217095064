"""What S3 and its two clients (obstore, boto3) report, in the words of the store port."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError
from obstore.exceptions import GenericError, PermissionDeniedError

from tilery.outcomes import BadInput, Transient
from tilery.store.port import Changed, NotFound

CODE = re.compile(r"<Code>(\w+)</Code>")
STATUS = re.compile(r"status code: (\d{3})")
TRY_AGAIN = {408, 429}


@contextmanager
def plain_errors(key: str, *, reading: bool = False) -> Iterator[None]:
    """Raise `NotFound`, `Changed`, `Transient` or `PermissionError` for the clients' errors; a defect passes as it is.

    A denied read counts as `NotFound`: that is how S3 answers for a missing key to who may not list.
    """
    try:
        yield
    except FileNotFoundError as error:  # obstore's NotFoundError is this built-in
        raise _missing(key, str(error)) from error
    except PermissionDeniedError as error:
        found = CODE.search(str(error))
        raise _denied(key, found[1] if found else "AccessDenied", reading) from error
    except (GenericError, OSError) as error:  # obstore's writer raises OSError
        text = str(error)
        if "S3 error" not in text:
            raise
        status = STATUS.search(text)
        if status is None or _passing(int(status[1])) or "<Code>RequestTimeout<" in text:
            raise _no_answer(key, text.splitlines()[0]) from error
        if past_the_end(error):
            raise Changed(f"{key} is shorter than it was when the run began") from error
        raise
    except (HTTPClientError, ConnectionError) as error:
        raise _no_answer(key, str(error)) from error
    except ClientError as error:
        code, number = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        if number == 404:
            raise _missing(key, code) from error
        if number == 403:
            raise _denied(key, "AccessDenied" if code == "403" else code, reading) from error
        if _passing(number) or code in ("RequestTimeout", "SlowDown", "Throttling"):
            raise _no_answer(key, str(error)) from error
        if code == "InvalidRange":
            raise Changed(f"{key} is shorter than it was when the run began") from error
        raise


def past_the_end(error: Exception) -> bool:
    """Whether S3 refused a range because the object ends before it starts."""
    return "<Code>InvalidRange<" in str(error)


def _no_answer(key: str, why: str) -> Transient:
    return Transient(f"the object store did not answer for {key}; trying again may help: {why}")


def _denied(key: str, code: str, reading: bool) -> Exception:
    """A HEAD request is answered without a code; other codes than AccessDenied are not about who may see the key."""
    if code == "InvalidObjectState":
        return BadInput(f"{key} is in an archive of S3 (Glacier); restore it, then drop it again")
    if reading and code == "AccessDenied":
        return NotFound(f"there is no object at {key}, or this role may not read it")
    return PermissionError(f"S3 refused access to {key} ({code}); check the role's policy and its credentials")


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

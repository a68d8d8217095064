"""Sessions with AWS as its own tools make them, and what AWS answers in a sentence that says what to do."""

from __future__ import annotations

import os
from typing import Any

LOGIN = "log in (`aws sso login` or `aws configure`) or set AWS_PROFILE"
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired")
UNKNOWN = (
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "AuthFailure",
)
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")


def session() -> Any:
    """A boto3 session in the region of AWS_REGION, which the AWS and CDK command lines heed and boto3 by itself does not."""
    import boto3

    return boto3.Session(region_name=os.environ.get("AWS_REGION") or None)


def sentence(error: Exception) -> str | None:
    """What an error of AWS or of the way to it means and what to do; None for any other error."""
    if type(error).__module__.partition(".")[0] not in ("botocore", "boto3"):
        return None
    from botocore import exceptions as on_the_way

    match error:
        case on_the_way.NoCredentialsError():
            return f"there are no AWS credentials here; {LOGIN}"
        case on_the_way.NoRegionError():
            return "no AWS region is chosen; set AWS_REGION to the region of the stack"
        case on_the_way.ProfileNotFound():
            return f"{error}; check AWS_PROFILE and ~/.aws/config"
        case on_the_way.SSOError() | on_the_way.TokenRetrievalError() | on_the_way.CredentialRetrievalError():
            return f"the AWS login has ended or is incomplete: {error}; {LOGIN}"
        case on_the_way.EndpointConnectionError() | on_the_way.ConnectTimeoutError():
            return f"{error}; check AWS_REGION and the network"
        case on_the_way.ClientError():
            return _answer(str(error.response["Error"]["Code"]), str(error.response["Error"].get("Message", "")))
        case on_the_way.BotoCoreError():
            return f"the service could not be asked: {error}"
        case _:
            return None


def _answer(code: str, message: str) -> str:
    said = f"AWS answered {code}: {message}"
    if code in EXPIRED:
        return f"the AWS credentials have expired; {LOGIN}"
    if code in UNKNOWN:
        return f"AWS does not know these credentials ({code}); {LOGIN}"
    if code in DENIED:
        return f"{said}; docs/operations.md lists what each command may have to do"
    return said

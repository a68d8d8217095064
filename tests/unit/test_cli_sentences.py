"""What a person reads when AWS refuses, cannot be reached, or is not configured."""

import boto3
import pytest
from botocore import exceptions as on_the_way

from cli import aws
from cli import main as cli


def answered(code: str) -> on_the_way.ClientError:
    return on_the_way.ClientError({"Error": {"Code": code, "Message": "the message"}}, "DescribeStacks")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (answered("ExpiredToken"), "have expired; log in"),
        (answered("RequestExpired"), "have expired; log in"),
        (answered("InvalidClientTokenId"), "does not know these credentials"),
        (answered("AccessDenied"), "docs/operations.md"),
        (answered("ThrottlingException"), "AWS answered ThrottlingException: the message"),
        (on_the_way.NoCredentialsError(), "no AWS credentials here; log in"),
        (on_the_way.NoRegionError(), "set AWS_REGION"),
        (on_the_way.ProfileNotFound(profile="work"), "(work) could not be found; check AWS_PROFILE"),
        (on_the_way.UnauthorizedSSOTokenError(), "login has ended"),
        (on_the_way.TokenRetrievalError(provider="sso", error_msg="Token has expired"), "log in (`aws sso login`"),
        (on_the_way.EndpointConnectionError(endpoint_url="https://x"), "check AWS_REGION and the network"),
        (on_the_way.ParamValidationError(report="no"), "could not be asked"),
    ],
)
def test_an_error_of_aws_says_what_to_do(error: Exception, words: str) -> None:
    sentence = aws.sentence(error)
    assert sentence is not None
    assert words in sentence


def test_other_errors_stay_what_they_are() -> None:
    assert aws.sentence(ValueError("botocore")) is None


@pytest.mark.parametrize(("given", "region"), [("eu-west-1", "eu-west-1"), ("", "us-west-2")])
def test_the_region_is_that_of_aws_region_first(given: str, region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", given)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert aws.session().region_name == region
    assert boto3.Session().region_name == "us-west-2"


def test_what_the_store_refuses_is_not_blamed_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError("S3 refused access to ledger/acme/x (ExpiredToken); check the role's policy and its credentials")

    monkeypatch.setattr(cli, "app", refuse)
    assert cli.invoke(["runs"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("error: S3 refused access")
    assert "make room" not in said

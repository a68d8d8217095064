"""AWS services that the twin does not speak itself, on moto: started when a state machine first names one of them."""

from __future__ import annotations

import asyncio
from typing import Any

from twin.integrations import TaskFailed

CREDENTIALS = {"region_name": "us-east-1", "aws_access_key_id": "twin", "aws_secret_access_key": "twin"}


class OtherServices:
    """Calls `service:action` on a moto server in this process, with the argument names that Step Functions uses."""

    def __init__(self) -> None:
        self._server: Any = None
        self._clients: dict[str, Any] = {}

    async def call(self, resource: str, arguments: dict[str, Any]) -> Any:
        """E.g. `sqs:sendMessage` or `aws-sdk:dynamodb:putItem`; an error of the service raises `TaskFailed`."""
        return await asyncio.to_thread(self._call, resource, arguments)

    def client(self, service: str) -> Any:
        """A boto3 client of a service on the moto server."""
        import boto3

        if service not in self._clients:
            self._clients[service] = boto3.client(service, endpoint_url=self._endpoint(), **CREDENTIALS)  # type: ignore[call-overload]
        return self._clients[service]

    def close(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _endpoint(self) -> str:
        if self._server is None:
            try:
                from moto.server import ThreadedMotoServer
            except ImportError:
                raise TaskFailed(
                    "States.Runtime",
                    "this state machine calls an AWS service for which the twin needs moto: pip install 'moto[server]'",
                ) from None
            self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
            self._server.start()
        host, port = self._server.get_host_and_port()
        return f"http://{host}:{port}"

    def _call(self, resource: str, arguments: dict[str, Any]) -> Any:
        from botocore.exceptions import ClientError, ParamValidationError, UnknownServiceError

        service, _, action = resource.removeprefix("aws-sdk:").partition(":")
        try:
            client = self.client(service)
            operation = action[:1].upper() + action[1:]
            model = client.meta.service_model.operation_model(operation)
            method = {name: key for key, name in client.meta.method_to_api_mapping.items()}[operation]
            members = {} if model.input_shape is None else {name.lower(): name for name in model.input_shape.members}
            answer = getattr(client, method)(**{members.get(name.lower(), name): value for name, value in arguments.items()})
        except (UnknownServiceError, KeyError) as error:
            raise TaskFailed("States.Runtime", f"the twin does not know the integration {resource!r}: {error}") from None
        except ParamValidationError as error:
            raise TaskFailed("States.Runtime", str(error)) from None
        except ClientError as error:
            details = error.response["Error"]
            name = f"{service[:1].upper()}{service[1:]}.{details['Code'].removesuffix('Exception')}Exception"
            raise TaskFailed(name, details["Message"]) from None
        return _pascal({name: value for name, value in answer.items() if name != "ResponseMetadata"})


def _pascal(value: Any) -> Any:
    """Keys begin with a capital in what Step Functions returns."""
    if isinstance(value, dict):
        return {key[:1].upper() + key[1:]: _pascal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_pascal(inner) for inner in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)

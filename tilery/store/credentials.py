"""A session that may touch one tenant's data and nothing else.

The data role's policy names `${aws:PrincipalTag/tenant}`; the tag is set here, when the role is assumed, and only from the
tenant that the run's own input carries.
"""

from typing import Any

import boto3
import botocore.session
from botocore.credentials import CredentialProvider, CredentialResolver, DeferredRefreshableCredentials


class TenantRole(CredentialProvider):
    """Credentials of `role` (ARN) with the session tag `tenant`, fetched on first use and renewed before they end.

    They last one hour, the most that STS gives to a role that assumes another.
    """

    METHOD = "tilery-tenant-role"

    def __init__(self, role: str, tenant: str) -> None:
        super().__init__()
        self._sts = boto3.client("sts")
        self._role = role
        self._tenant = tenant

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(self._fetch, self.METHOD)

    def _fetch(self) -> dict[str, Any]:
        answer = self._sts.assume_role(
            RoleArn=self._role,
            RoleSessionName=f"tilery-{self._tenant}",
            Tags=[{"Key": "tenant", "Value": self._tenant}],
            DurationSeconds=3600,
        )
        found = answer["Credentials"]
        return {
            "access_key": found["AccessKeyId"],
            "secret_key": found["SecretAccessKey"],
            "token": found["SessionToken"],
            "expiry_time": found["Expiration"].isoformat(),
        }


def tenant_session(role: str, tenant: str) -> boto3.Session:
    """A session whose clients all act as `role` for one tenant."""
    session = botocore.session.get_session()
    session.register_component("credential_provider", CredentialResolver([TenantRole(role, tenant)]))
    return boto3.Session(botocore_session=session)

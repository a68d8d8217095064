"""What must survive a redeployment of the application: the key and the buckets."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from infra.settings import Settings
from infra.storage import Storage


class DataStack(cdk.Stack):
    def __init__(self, scope: Construct, name: str, *, settings: Settings) -> None:
        super().__init__(scope, name, description=f"Tilery {settings.name}: buckets and key")
        self.storage = Storage(self, "Storage", keep=settings.keep_data, work_expires_days=settings.work_expires_days)

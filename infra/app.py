#!/usr/bin/env python3
"""`cdk synth|deploy [-c env=dev|prod] [-c settings='{"gpu": true}']`: two stacks a deployment, in the account of the caller."""

from __future__ import annotations

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks

from infra.acknowledgements import acknowledge
from infra.app_stack import AppStack
from infra.data_stack import DataStack
from infra.settings import Settings, load


def build(app: cdk.App, settings: Settings, *, accept: bool = True) -> tuple[DataStack, AppStack]:
    """The stacks, tagged for cost reports and checked by cdk-nag. Not bound to an account, so nothing is looked up."""
    data = DataStack(app, f"{settings.prefix}-data", settings=settings)
    application = AppStack(app, f"{settings.prefix}-app", settings=settings, storage=data.storage)
    for stack in (data, application):
        cdk.Tags.of(stack).add("app", "tilery")
        cdk.Tags.of(stack).add("deployment", settings.prefix)
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    if accept:
        acknowledge(application, settings)
    return data, application


def main() -> None:
    app = cdk.App()
    build(app, load(app.node.try_get_context("env") or "dev", app.node.try_get_context("settings") or ""))
    app.synth()


if __name__ == "__main__":
    main()

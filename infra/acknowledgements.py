"""Every cdk-nag finding that we accept, and why. One that matches nothing any more fails the synthesis."""

ACCEPTED: dict[str, str] = {}

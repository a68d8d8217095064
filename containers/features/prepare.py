"""Convert the embedded backbone while the image is built, so that no worker has to."""

from tilery.workloads.features import backbone

if __name__ == "__main__":
    backbone.exported()

"""Frames stored once: blobs named by their content, in packs that the cameras of a tenant share."""

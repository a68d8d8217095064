"""CCTV: video becomes detections, tracks, counts, speeds and heat maps."""

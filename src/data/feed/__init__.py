"""Live bars: streams, polls and replays that continue history without a seam."""

"""The sources of a feed's bars: streams, polling, replays, files and callbacks."""

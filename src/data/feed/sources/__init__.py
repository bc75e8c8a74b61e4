"""Where a feed's bars come from: streams, polls, replays, files and callbacks."""

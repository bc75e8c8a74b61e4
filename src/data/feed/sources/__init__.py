"""Where a feed's bars come from: streams, questions, replays, files, callbacks."""

"""What a market reports: bars, actions, streamed items, quotes, figures, statements."""

"""Real vendors, for `make test-live` alone: nothing here is collected otherwise."""

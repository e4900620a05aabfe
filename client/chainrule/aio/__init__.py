"""The asynchronous client, and the source that `make sync` writes the synchronous one from."""

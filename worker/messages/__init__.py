"""Messages: tweets that come in, alerts and dead letters that go out."""

"""Rules, alert state, messages, Telegram and the outbox."""

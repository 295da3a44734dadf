"""ST-MoE-BERT: where a user is next, read off all future events at once."""

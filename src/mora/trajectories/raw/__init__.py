"""RAW: a GPT over GPS positions, and what its vectors know of users and regions."""

"""What was made: pictures as files that a person and other tools can read, and an index of them."""

"""What was made: a folder of pictures that a person can read, and an index of them and of the jobs."""

"""What this repository takes to be a Space on Hugging Face: which files are sent, and what the Hub would refuse."""

"""The commands of the terminal program, one file per command."""

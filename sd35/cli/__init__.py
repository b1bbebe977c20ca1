"""The terminal program.

`app` names the commands, and imports the module of one when it runs. Each command works within a
`runner.command_context`, which turns any SD35Error, signal or closed output into a message and an
exit code; so docstrings here name an error only where more is to be said of it.
"""

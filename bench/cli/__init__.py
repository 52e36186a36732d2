"""The command line: one file for each family of commands. Errors that a user can mend are one line and exit code 1."""

"""The subcommands, one file each. Importing one costs nothing: what it needs is imported when it runs."""

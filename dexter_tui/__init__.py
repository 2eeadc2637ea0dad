"""The application: command line, worker processes, live view."""

EXIT_FAILED = 1
EXIT_REFUSED = 2

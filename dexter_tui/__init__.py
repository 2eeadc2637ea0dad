"""The application: command line, dashboard, worker processes."""

EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_FOUND = 3

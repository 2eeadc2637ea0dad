"""The application: command line, worker processes, live view."""

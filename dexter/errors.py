"""The one error that means: the input was refused, and this line says why."""


class InputError(ValueError):
    """Input that cannot be used.

    ``str(error)`` is one line for the user: what is wrong, the offending value by name, and
    what to do about it. Programs show that line and no traceback.
    """

"""The words of a prompt: how much each adds, and which of them are enough."""

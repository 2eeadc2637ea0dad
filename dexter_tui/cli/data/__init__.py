"""The commands that look at labelled pictures of the user, and what all reports share."""

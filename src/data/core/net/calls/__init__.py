"""The time that a call may take, and the threads that it may leave behind."""

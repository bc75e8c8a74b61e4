"""Values as text for display, and what code only passes on to a screen."""

"""What a caller gets: frames, their origin, their proof, their conversion."""

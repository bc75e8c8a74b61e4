"""Small tools without a domain: forks, values computed once, resources, slots, bounded caches."""

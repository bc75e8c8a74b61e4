"""The only readers of the environment and of YAML: settings, rules and keys."""

"""Charts of bars as PNG, SVG and pages, and the parts that all pages share."""

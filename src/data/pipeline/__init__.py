"""The pipeline of older programs: minute bars from vendors, then longer bars built from them."""

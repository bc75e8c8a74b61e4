"""The pipeline of older programs: minute bars from vendors, then longer bars made from them."""

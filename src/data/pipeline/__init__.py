"""The pipeline of older programs: minutes from vendors, then longer bars made of them."""

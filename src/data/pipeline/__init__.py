"""The pipeline of older programs: fetches minute bars, then builds longer bars from them."""

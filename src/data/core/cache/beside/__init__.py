"""What is stored beside bars: dated tables, names, the sessions before ex-dates, fundamentals."""

"""How bars are got, judged and kept: everything that a question for bars needs."""

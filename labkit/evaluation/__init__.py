"""How good a tuned model is on the held-out rows, with intervals, and whether it beats others.

`base` has what every evaluation says; a module beside it measures one kind of answer.
"""

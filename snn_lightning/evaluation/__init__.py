"""How secure a trained network is: a declared set of attacks, its worst case, and whether to
believe the number."""

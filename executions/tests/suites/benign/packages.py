"""Several files: a package, a module, a data file; imports like everyone's."""
import shapes
from shapes.round import circle

print(circle(2), shapes.NAME, open("data/words.txt").read().strip())

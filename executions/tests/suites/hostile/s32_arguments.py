"""Print the arguments as given; no shell may have touched them."""
import sys

for arg in sys.argv[1:]:
    print(ascii(arg))
print("DONE")

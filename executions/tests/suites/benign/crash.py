def inner():
    raise ValueError("a message of my own: ü")


inner()

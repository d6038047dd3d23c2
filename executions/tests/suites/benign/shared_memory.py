"""/dev/shm through the library, with its resource tracker, and by hand."""
from multiprocessing import shared_memory

block = shared_memory.SharedMemory(create=True, size=1 << 20)
block.buf[:5] = b"hello"
again = shared_memory.SharedMemory(name=block.name)
print(bytes(again.buf[:5]).decode())
again.close()
block.close()
block.unlink()
with open("/dev/shm/own", "w+") as file:
    file.write("mine")
    file.seek(0)
    print(file.read())

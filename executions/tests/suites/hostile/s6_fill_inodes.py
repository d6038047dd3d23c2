"""Use up inodes in every writable place by files, folders, links and sockets."""
import os

total = 0
places = {os.getcwd(), "/tmp", "/var/tmp", "/dev/shm", os.environ.get("HOME", "/")}
for place in sorted(places):
    for index in range(300_000):
        try:
            os.mkdir(os.path.join(place, f"d{index}"))
        except OSError as error:
            print(place, error.strerror)
            break
        total += 1
print("ACHIEVED" if total >= 300_000 else "denied", total)
print("DONE")

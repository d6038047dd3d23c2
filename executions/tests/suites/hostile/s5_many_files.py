"""60,000 empty files; the number of inodes is capped, or they all go with the box."""
import errno
import os

made = 0
for index in range(60_000):
    try:
        os.close(os.open(f"f{index}", os.O_CREAT | os.O_WRONLY))
    except OSError as error:
        print("stopped by", errno.errorcode[error.errno])
        break
    made += 1
print("made many:", made > 100)
print("DONE")

import sys
import threading

sys.setrecursionlimit(60_000)
threading.stack_size(60 << 20)


def depth(n):
    return 0 if n == 0 else 1 + depth(n - 1)


thread = threading.Thread(target=lambda: print(depth(50_000)))
thread.start()
thread.join()

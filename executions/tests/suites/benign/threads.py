"""Threads, a queue and a pool of processes."""
import concurrent.futures
import multiprocessing
import threading


def square(n):
    return n * n


if __name__ == "__main__":
    found = []
    threads = [threading.Thread(target=lambda i=i: found.append(i)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sorted(found) == list(range(16)))
    with multiprocessing.Pool(4) as pool:
        print(pool.map(square, range(8)))
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        print(list(pool.map(square, range(4))))
    queue = multiprocessing.Queue()
    process = multiprocessing.Process(target=queue.put, args=("across",))
    process.start()
    print(queue.get())
    process.join()
    lock, shared = multiprocessing.Lock(), multiprocessing.Value("i", 0)
    with lock, shared.get_lock():
        shared.value += 1
    print(shared.value)

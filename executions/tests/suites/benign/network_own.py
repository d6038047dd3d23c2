"""A server and a client on the own loopback, TCP, UDP, unix, asyncio."""
import asyncio
import socket
import threading

server = socket.create_server(("127.0.0.1", 0))


def answer():
    peer, _ = server.accept()
    peer.sendall(b"hello " + peer.recv(10))
    peer.close()


threading.Thread(target=answer).start()
with socket.create_connection(server.getsockname()) as client:
    client.sendall(b"you")
    print(client.recv(20).decode())
first, second = socket.socketpair()
first.send(b"pair")
print(second.recv(10).decode())


async def main():
    async def serve(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    listener = await asyncio.start_unix_server(serve, "socket")
    reader, writer = await asyncio.open_unix_connection("socket")
    writer.write(b"async\n")
    print((await reader.readline()).decode().strip())
    process = await asyncio.create_subprocess_exec("echo", "child", stdout=asyncio.subprocess.PIPE)
    print((await process.communicate())[0].decode().strip())
    listener.close()


asyncio.run(main())

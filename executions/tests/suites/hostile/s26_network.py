"""Reach the host by TCP, UDP, unix and abstract sockets; look for interfaces and routes."""
import os
import socket
import struct
import sys

tcp, tcp6, udp, path, abstract, outside = sys.argv[1:7]
outside = outside.split(",") if outside else []


def attempt(what, family, kind, address, payload=b"hello"):
    with socket.socket(family, kind) as sock:
        sock.settimeout(0.3)
        try:
            sock.connect(address)
            sock.send(payload)
            if kind == socket.SOCK_STREAM:
                print("ACHIEVED", what, sock.recv(200))
            else:
                print("sent", what)
        except OSError as error:
            print("denied", what, error, flush=True)


for host in ("127.0.0.1", "0.0.0.0", *outside):
    attempt(f"tcp {host}", socket.AF_INET, socket.SOCK_STREAM, (host, int(tcp)))
    attempt(f"udp {host}", socket.AF_INET, socket.SOCK_DGRAM, (host, int(udp)))
for port in (22, 80, 443, 2375, 5432, 6379, 6443, 8000, 8002, 8080, 10250):
    attempt(f"port {port}", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port))
    for host in outside:
        attempt(f"{host} {port}", socket.AF_INET, socket.SOCK_STREAM, (host, port))
attempt("tcp6", socket.AF_INET6, socket.SOCK_STREAM, ("::1", int(tcp6)))
attempt("unix", socket.AF_UNIX, socket.SOCK_STREAM, path)
attempt("abstract", socket.AF_UNIX, socket.SOCK_STREAM, "\0" + abstract)
for name in ("/run/dbus/system_bus_socket", "/run/systemd/private", "/run/docker.sock", "/var/run/nscd/socket", "/dev/log", "/tmp/.X11-unix/X0", "/var/run/postgresql/.s.PGSQL.5432", "/tmp/.s.PGSQL.5432", "/run/containerd/containerd.sock"):
    attempt(name, socket.AF_UNIX, socket.SOCK_STREAM, name)
for line in open("/proc/net/unix").read().splitlines()[1:]:
    if len(line.split()) > 7:
        print("ACHIEVED seeing a unix socket", line)
# Not by if_nameindex, which needs a netlink socket.
for line in open("/proc/net/dev").read().splitlines()[2:]:
    name = line.split(":")[0].strip()
    if name not in ("lo", "sit0", "tunl0", "ip6tnl0", "gre0", "erspan0", "gretap0", "ip_vti0", "ip6_vti0", "ip6gre0"):
        print("ACHIEVED interface", name)
routes = open("/proc/net/route").read().splitlines()[1:]
if routes:
    print("ACHIEVED routes", routes)
for line in open("/proc/net/ipv6_route"):
    if line.split()[-1] != "lo":
        print("ACHIEVED an IPv6 route", line)
if outside:
    try:
        socket.getaddrinfo("example.com", 80)
        print("ACHIEVED a name")
    except OSError as error:
        print("denied name", error)
for port in (0, 8000, 1024):
    with socket.socket() as server:
        try:
            server.bind(("0.0.0.0", port))
            server.listen()
            print("own network is usable")
        except OSError as error:
            print("no listening", error)
print("DONE")

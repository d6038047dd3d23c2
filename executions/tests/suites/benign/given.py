"""Arguments, environment, folder, user, name, time zone, locale."""
import os
import pwd
import socket
import sys
import time

print(sys.argv[1:])
print(os.environ["SUITE_ASKED"], os.environ["SUITE_OTHER"])
print(os.path.exists("main.py"), __name__, __file__.endswith("main.py"))
print(bool(pwd.getpwuid(os.getuid()).pw_name), os.path.isdir(os.path.expanduser("~")))
print(socket.gethostbyname("localhost"), sys.getfilesystemencoding(), sys.stdout.encoding)
print(time.localtime().tm_year > 2024, len(os.urandom(8)), os.cpu_count() > 0)

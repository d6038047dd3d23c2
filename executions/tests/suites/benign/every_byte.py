"""Every byte value, invalid UTF-8, lone surrogates, NULs, non-characters."""
import os
import sys

data = bytes(range(256)) + b"\0\0" + b"\xed\xa0\x80\xff\xfe\xc0\x80" + "\ufffe\uffff\U0010ffff\ufeff\u202e".encode() + b"\r\n\x1b[31m"
os.write(1, data)
sys.stderr.buffer.write(data[::-1])

"""Temporary files, folders, links, a database, an archive, many open files."""
import os
import pathlib
import shutil
import sqlite3
import subprocess
import tempfile
import zipfile

with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "deep", "er")
    path.mkdir(parents=True)
    (path / "text").write_text("ü" * 1000, encoding="utf-8")
    os.symlink(path / "text", path / "link")
    os.link(path / "text", path / "hard")
    print(len((path / "link").read_text(encoding="utf-8")))
    shutil.copytree(path, pathlib.Path(folder, "copy"))
with tempfile.NamedTemporaryFile() as file:
    file.write(b"x" * 1_000_000)
    file.flush()
    print(os.path.getsize(file.name))
database = sqlite3.connect("data.db")
database.execute("create table t (n integer)")
database.executemany("insert into t values (?)", [(n,) for n in range(1000)])
database.commit()
print(database.execute("select sum(n) from t").fetchone()[0])
with zipfile.ZipFile("a.zip", "w") as archive:
    archive.writestr("inner/file", "content")
print(zipfile.ZipFile("a.zip").read("inner/file").decode())
handles = [open(f"f{i}", "w") for i in range(200)]
print(len(handles))
for place in ("/tmp", "/var/tmp", os.path.expanduser("~"), os.getcwd()):
    pathlib.Path(place, "own").write_text("x")
print(subprocess.run(["sh", "-c", "echo from a shell; exit 3"], capture_output=True, text=True))

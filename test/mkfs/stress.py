"""Fills a file system that the kernel has mounted with a little of everything, and removes half of it again."""

import os
import sys

root = sys.argv[1]
small = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize < 4 << 20
count = 60 if small else 400
os.makedirs(f"{root}/deep/er/and/deeper")
for i in range(count):
    with open(f"{root}/deep/file-{i:05}-{'x' * (i % 60)}", "wb") as file:
        file.write(bytes([i % 251]) * (i * 37 % 5000))
for i in range(0, count, 2):
    os.unlink(f"{root}/deep/file-{i:05}-{'x' * (i % 60)}")
os.symlink("target", f"{root}/short")
os.symlink("t" * 200, f"{root}/long")
os.link(f"{root}/deep/file-00001-x", f"{root}/linked")
with open(f"{root}/sparse", "wb") as file:
    for at in (0, 100_000, 1_000_000):
        file.seek(at)
        file.write(b"data" * 100)
    file.truncate(400_000)
os.rename(f"{root}/sparse", f"{root}/deep/er/sparse")
try:
    os.setxattr(f"{root}/linked", "user.note", b"value" * 10)
except OSError as error:
    if error.errno != 95:
        raise
os.sync()

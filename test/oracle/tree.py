#!/usr/bin/env python3
"""Makes a small tree in a folder, for mke2fs -d. Usage: tree.py DIR. Root, for devices and owners. Fixed seeds."""
import os, random, stat, sys

os.chdir(sys.argv[1])


def blob(seed, length):
    return random.Random(seed).randbytes(length)


def put(path, data, pos=0):
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    os.pwrite(fd, data, pos)
    os.close(fd)


os.mkdir('reg')
for size in (0, 1, 60, 61, 150, 4095, 8192, 65536, 65537, 300001):
    put('reg/size%d' % size, blob(size, size))
for pos in (0, 70000, 1 << 20, (5 << 20) + 3):
    put('reg/sparse', b'at %d' % pos, pos)
os.mkdir('dirs')
os.mkdir('dirs/few')
os.mkdir('dirs/many')
for i in range(700):
    put('dirs/many/%s_%d' % ('n' * (150 + i % 90), i), b'%d' % i if i % 50 == 0 else b'')
os.mkdir('fold')
for name in ('Plain', 'äpfel', 'Straße', 'ΣΊΣΥΦΟΣ', 'ﬁn', 'e\u0301tude'):
    put('fold/' + name, name.encode())
os.mkdir('fold/Many')
for i in range(700):
    put('fold/Many/Näme_%s_%d' % ('N' * (100 + i % 70), i), b'')
os.mkdir('links')
for size in (1, 59, 60, 61, 500, 1000):
    os.symlink(('/target/' + 't' * size)[:size], 'links/s%d' % size)
put('links/a', b'linked')
os.link('links/a', 'links/b')
os.mkdir('special')
os.mknod('special/c', stat.S_IFCHR | 0o620, os.makedev(5, 1))
os.mknod('special/b', stat.S_IFBLK | 0o660, os.makedev(259, 70000))
os.mkfifo('special/fifo', 0o600)
put('owned', b'mine')
os.chown('owned', 70000, 80000)
os.chmod('owned', 0o4751)
put('xattrs', b'x')
for i in range(3):
    os.setxattr('xattrs', 'user.k%d' % i, blob(i, 10 + 20 * i))
os.setxattr('xattrs', 'user.large', blob('large', 700))
os.utime('reg/size1', ns=(10**9 * 5 + 1, 10**9 * (1 << 31) + 999999999))

#!/usr/bin/env python3
"""Fills an image through the kernel's ext4: populate.py fill TOOLS IMAGE MOUNTPOINT SCALE FEATURE,...
or writes as JSON what the kernel shows of it: populate.py read TOOLS IMAGE MOUNTPOINT OUT.
Needs root and loop devices. TOOLS is the folder of the oracles' loopmnt.py and fsdump.py.
Everything is drawn from fixed seeds."""
import array, ctypes, fcntl, json, os, random, socket, stat, struct, sys

DOES, TOOLS, IMAGE, MNT = sys.argv[1], *map(os.path.abspath, sys.argv[2:5])
sys.path.insert(0, TOOLS)
import fsdump
import loopmnt

SCALE = int(sys.argv[5]) if DOES == 'fill' else 0
HAS = set(sys.argv[6].split(',')) if DOES == 'fill' else set()
LIBC = ctypes.CDLL(None, use_errno=True)
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602
FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR = 0x801C581F, 0x401C5820
FS_IOC_FIEMAP = 0xC020660B
FS_IOC_ADD_ENCRYPTION_KEY, FS_IOC_SET_ENCRYPTION_POLICY = 0xC0506617, 0x800C6613
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16


def blob(seed, length):
    return random.Random(seed).randbytes(length)


def put(path, data, pos=0):
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        os.pwrite(fd, data, pos)
    finally:
        os.close(fd)


def fallocate(path, mode, pos, length):
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    bad = LIBC.fallocate(fd, mode, ctypes.c_long(pos), ctypes.c_long(length))
    os.close(fd)
    if bad:
        raise OSError(ctypes.get_errno(), 'fallocate ' + path)


def regular(bs):
    os.mkdir('reg')
    sizes = [0, 1, 59, 60, 61, 100, 128, 151, 160, 200, 700, 900, 100000]
    for size in sizes + [bs - 1, bs, bs + 1, 12 * bs, 12 * bs + 1]:
        put('reg/size%d' % size, blob(size, size))
    put('reg/big', blob('big', (1 << 20) + 321))
    os.truncate('reg/size100000', 50001)
    os.truncate('reg/size1', 5000)
    put('reg/grown', b'start')
    put('reg/grown', b'end', 40 * bs + 17)


def sparse(bs):
    os.mkdir('sparse')
    for pos in (0, 3 * bs, 3 * bs + 1, 1 << 20, (1 << 32) - 3, (5 << 30) + 5):
        put('sparse/holes', b'at %d' % pos, pos)
    os.truncate('sparse/empty', 0) if os.path.exists('sparse/empty') else put('sparse/empty', b'')
    os.truncate('sparse/empty', 7 << 30)
    if 'extents' in HAS:
        last = (1 << 32) - 3 if 'no_huge_file' not in HAS else (1 << 29) - 30
        put('sparse/last', b'near the last block', last * bs)
    else:
        put('sparse/triple', b'in the third tree', (12 + bs // 4 + (bs // 4) ** 2 + 5) * bs)


def unwritten(bs):
    if 'extents' not in HAS:
        return
    os.mkdir('unwritten')
    fallocate('unwritten/plain', 0, 0, 50 * bs)
    fallocate('unwritten/beyond', KEEP_SIZE, 0, 50 * bs)
    put('unwritten/beyond', b'short')
    fallocate('unwritten/middle', 0, 0, 60 * bs)
    put('unwritten/middle', blob('m', 3 * bs), 20 * bs + 7)
    put('unwritten/punched', blob('p', 60 * bs))
    fallocate('unwritten/punched', PUNCH_HOLE | KEEP_SIZE, 10 * bs + 5, 20 * bs)
    fallocate('unwritten/punched', ZERO_RANGE, 40 * bs, 8 * bs)
    fallocate('unwritten/long', 0, 0, 33000 * 1024)
    put('unwritten/long', b'one', 32768 * 1024 - 1)


def fragmented(bs):
    """Every second block: many extents, and with SCALE a tree of depth three or the third indirect tree."""
    fd = os.open('fragmented', os.O_CREAT | os.O_RDWR, 0o644)
    order = list(range(0, 900, 2))
    random.Random('order').shuffle(order)
    for i in order:
        os.pwrite(fd, blob(i, bs), i * bs)
    os.close(fd)
    if SCALE > 1 and 'extents' in HAS:
        put('deep', b'')
        fd = os.open('deep', os.O_RDWR)
        count = 40 << 20 >> 10
        LIBC.fallocate(fd, 0, ctypes.c_long(0), ctypes.c_long(count * bs))
        for i in range(0, count, 2):
            LIBC.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, ctypes.c_long(i * bs), ctypes.c_long(bs))
        for i in range(1, count, 1001):
            os.pwrite(fd, blob(i, bs // 2), (i | 1) * bs)
        os.close(fd)


def directories():
    os.mkdir('dirs')
    os.mkdir('dirs/none')
    os.mkdir('dirs/few')
    for i in range(12):
        put('dirs/few/f%d' % i, b'')
    for i in (0, 3, 4, 5, 11):
        os.unlink('dirs/few/f%d' % i)
    os.mkdir('dirs/many')
    for i in range(1500):
        os.link('dirs/few/f1', 'dirs/many/%s_%d' % ('n' * (20 + 7 * (i % 31)), i))
    for i in range(0, 1500, 7):
        os.unlink('dirs/many/%s_%d' % ('n' * (20 + 7 * (i % 31)), i))
    os.mkdir('dirs/subdirs')
    for i in range(200):
        os.mkdir('dirs/subdirs/%d' % i)
    path = 'dirs'
    for i in range(40):
        path += '/deeper%d' % i
        os.mkdir(path)
    put(path + '/bottom', b'found')
    if SCALE > 1 and 'large_dir' in HAS:
        os.mkdir('dirs/huge')
        for i in range(60000):
            os.link('dirs/few/f2', 'dirs/huge/%0200d' % i)


def names():
    os.mkdir('names')
    long = [b'l' * 255, 'ü'.encode() * 127, b'x' * 254]
    odd = [b'\xff\xfe', b'\xed\xa0\x80', b'a\nb', b' ', b'\xf0\x9f\x98\x80', b'.hidden', b'...']
    odd += [b'-rf', b'\x01\x7f']
    for i, name in enumerate(long + odd + ['é'.encode(), 'e\u0301'.encode(), b'CaSe', b'case']):
        put(b'names/' + name, b'%d' % i)


def links(bs):
    os.mkdir('links')
    for size in (1, 58, 59, 60, 61, 150, 500, min(bs, 4096) - 1):
        os.symlink(('/target/' + 't' * size)[:size], 'links/s%d' % size)
    os.symlink(b'\xff\xfe/x', 'links/raw')
    os.symlink('../reg/big', 'links/good')
    os.symlink('loop2', 'links/loop1')
    os.symlink('loop1', 'links/loop2')
    for name in ('b', 'a', 'c'):
        if name == 'b':
            put('links/b', b'linked')
        else:
            os.link('links/b', 'links/' + name)


def special():
    os.mkdir('special')
    numbers = [(1, 3), (5, 255), (8, 256), (259, 1048575), (4095, 0), (0, 0)]
    for i, (major, minor) in enumerate(numbers):
        os.mknod('special/c%d' % i, stat.S_IFCHR | 0o620, os.makedev(major, minor))
        os.mknod('special/b%d' % i, stat.S_IFBLK | 0o660, os.makedev(major, minor))
    os.mkfifo('special/fifo', 0o600)
    s = socket.socket(socket.AF_UNIX)
    os.chdir('special')
    s.bind('socket')
    os.chdir('..')
    s.close()


def acl(entries):
    return struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *entry) for entry in entries)


def xattrs(bs):
    os.mkdir('xattrs')
    none = 0xFFFFFFFF
    put('xattrs/file', b'x')
    put('xattrs/none', b'')
    for i in range(4):
        os.setxattr('xattrs/file', 'user.k%d' % i, blob(i, 4 + 3 * i))
    os.setxattr('xattrs/file', 'user.empty', b'')
    os.setxattr('xattrs/file', 'trusted.t', b'\0binary\xff')
    os.setxattr('xattrs/file', 'security.s', b'label')
    for name in ('xattrs/block', 'xattrs/shared'):
        put(name, b'b')
        os.setxattr(name, 'user.large', blob('large', min(bs, 4096) - 300))
    os.setxattr('xattrs', 'user.dir', b'on a directory')
    os.symlink('file', 'xattrs/link')
    os.setxattr('xattrs/link', 'trusted.link', b'on a link', follow_symlinks=False)
    os.mkfifo('xattrs/fifo')
    os.setxattr('xattrs/fifo', 'trusted.fifo', b'on a pipe')
    if 'ea_inode' in HAS:
        for size in (bs, 20000, 65536):
            put('xattrs/ea%d' % size, b'')
            os.setxattr('xattrs/ea%d' % size, 'user.big', blob(size, size))
            os.setxattr('xattrs/ea%d' % size, 'user.same', blob('same', 5000))
    put('xattrs/removed', b'')
    for i in range(13):
        os.setxattr('xattrs/removed', 'user.r%d' % i, blob(i, 30))
    for i in range(0, 13, 3):
        os.removexattr('xattrs/removed', 'user.r%d' % i)
    if 'ext_attr' not in HAS:
        return
    access = [(1, 6, none), (2, 4, 1000), (2, 7, 70000), (4, 4, none), (8, 1, 80000)]
    access += [(16, 5, none), (32, 0, none)]
    os.setxattr('xattrs/none', 'system.posix_acl_access', acl(access))
    os.mkdir('xattrs/default')
    os.setxattr('xattrs/default', 'system.posix_acl_default', acl(access))
    os.mkdir('xattrs/default/inherits')
    put('xattrs/default/file', b'')


def owners():
    os.mkdir('owners')
    owners = [(0, 1), (65534, 65535), (65536, 70000), (0xFFFFFFFE, 0xFFFFFFFD)]
    for i, (uid, gid) in enumerate(owners):
        put('owners/o%d' % i, b'')
        os.chown('owners/o%d' % i, uid, gid)
    for mode in (0, 0o4755, 0o2755, 0o1777, 0o7777, 0o111):
        put('owners/m%o' % mode, b'')
        os.chmod('owners/m%o' % mode, mode)
    os.mkdir('owners/setgid', 0o755)
    os.chmod('owners/setgid', 0o3777)


def flags():
    os.mkdir('flags')
    bits = {'sync': 8, 'immutable': 16, 'append': 32, 'nodump': 64, 'noatime': 128}
    for name, bit in bits.items():
        put('flags/' + name, name.encode())
        setflags('flags/' + name, bit)
    os.mkdir('flags/dirsync')
    setflags('flags/dirsync', 0x10000)
    os.mkdir('flags/topdir')
    setflags('flags/topdir', 0x20000)
    if 'project' in HAS:
        put('flags/project', b'')
        fd = os.open('flags/project', os.O_RDONLY)
        value = bytearray(28)
        fcntl.ioctl(fd, FS_IOC_FSGETXATTR, value)
        struct.pack_into('<I', value, 12, 77777)
        fcntl.ioctl(fd, FS_IOC_FSSETXATTR, value)
        os.close(fd)


def setflags(path, bits):
    fd = os.open(path, os.O_RDONLY)
    now = array.array('l', [0])
    fcntl.ioctl(fd, FS_IOC_GETFLAGS, now)
    now[0] |= bits
    fcntl.ioctl(fd, FS_IOC_SETFLAGS, now)
    os.close(fd)


def encrypted():
    """A directory under a key that goes away with the mount: afterwards nobody can read its names or contents."""
    if 'encrypt' not in HAS:
        return
    fd = os.open('.', os.O_RDONLY)
    arg = bytearray(struct.pack('<II32sII32s', 2, 0, b'', 64, 0, b'') + blob('key', 64))
    fcntl.ioctl(fd, FS_IOC_ADD_ENCRYPTION_KEY, arg)
    os.close(fd)
    os.mkdir('secret')
    fd = os.open('secret', os.O_RDONLY)
    policy = struct.pack('<BBBBB3s16s', 2, 1, 4, 0, 0, b'', bytes(arg[8:24]))
    fcntl.ioctl(fd, FS_IOC_SET_ENCRYPTION_POLICY, policy)
    os.close(fd)
    put('secret/file', blob('secret', 9000))
    put('secret/' + 'n' * 200, b'long name')
    os.symlink('target', 'secret/link')
    os.mkdir('secret/dir')
    put('secret/dir/below', b'below')


def times():
    """Last of all: nothing may touch these files afterwards. The kernel clamps what the inode cannot hold."""
    os.mkdir('times')
    seconds = [0, -1, -(1 << 31), -315619200, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 33) + 5]
    seconds += [15032385535, 13 << 30]
    for i, sec in enumerate(seconds):
        put('times/t%d' % i, b'')
        os.utime('times/t%d' % i, ns=(sec * 10**9 + 123456789, sec * 10**9 + 999999999))
    os.symlink('x', 'times/link')
    os.utime('times/link', ns=(5, 10**9 + 7), follow_symlinks=False)


def populate():
    os.chdir(MNT)
    bs = os.statvfs('.').f_bsize if 'bigalloc' not in HAS else 1024
    regular(bs)
    sparse(bs)
    unwritten(bs)
    fragmented(bs)
    directories()
    names()
    links(bs)
    special()
    xattrs(bs)
    owners()
    flags()
    encrypted()
    times()


def fiemap(fd):
    """All extents as [logical, physical, length, flags], bytes."""
    out, pos = [], 0
    while True:
        count = 500
        head = struct.pack('<QQIIII', pos, 2**63 - 1 - pos, 0, 0, count, 0)
        buffer = bytearray(head + bytes(56 * count))
        fcntl.ioctl(fd, FS_IOC_FIEMAP, buffer)
        mapped = struct.unpack_from('<I', buffer, 20)[0]
        for i in range(mapped):
            logical, physical, length = struct.unpack_from('<QQQ', buffer, 32 + 56 * i)
            bits = struct.unpack_from('<I', buffer, 32 + 56 * i + 40)[0]
            out.append([logical, physical, length, bits])
            if bits & 1:
                return out
        if mapped == 0:
            return out
        pos = out[-1][0] + out[-1][2]


def birth(path):
    buffer = ctypes.create_string_buffer(256)
    if LIBC.statx(-100, path, 0x100, 0x800, buffer):
        return None
    if not struct.unpack_from('<I', buffer, 0)[0] & 0x800:
        return None
    sec, nsec = struct.unpack_from('<qI', buffer, 80)
    return sec * 10**9 + nsec


def more(path):
    """What fsdump leaves out: inode number, all times, sectors, chattr flags, extents, directory entries."""
    st = os.lstat(path)
    record = {'ino': st.st_ino, 'blocks': st.st_blocks, 'blksize': st.st_blksize,
              'atime': str(st.st_atime_ns), 'mtime': str(st.st_mtime_ns),
              'ctime': str(st.st_ctime_ns)}
    born = birth(path)
    if born is not None:
        record['btime'] = str(born)
    if stat.S_ISDIR(st.st_mode) or stat.S_ISREG(st.st_mode):
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError:  # encrypted
            return record
        bits = array.array('l', [0])
        fcntl.ioctl(fd, FS_IOC_GETFLAGS, bits)
        record['flags'] = bits[0] & 0xFFFFFFFF
        if stat.S_ISREG(st.st_mode):
            record['fiemap'] = fiemap(fd)
        os.close(fd)
    return record


def walk(path, key, out):
    out[key] = more(path)
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        return
    for name in os.listdir(path):
        shown = name.decode('utf-8', 'surrogateescape').encode('utf-8', 'backslashreplace').decode()
        walk(path + b'/' + name, ('' if key == '/' else key) + '/' + shown, out)


def fill():
    with loopmnt.Mounted(IMAGE, MNT, opts='errors=continue'):
        try:
            populate()
        finally:
            os.chdir('/')


def read():
    with loopmnt.Mounted(IMAGE, MNT, ro=True, opts='errors=continue'):
        state = fsdump.dump(MNT, maxn=1000000)
        extra = {}
        walk(os.fsencode(MNT), '/', extra)
        vfs = os.statvfs(MNT)
        names = ('bsize', 'blocks', 'bfree', 'bavail', 'files', 'ffree')
        statfs = {name: getattr(vfs, 'f_' + name) for name in names}
    with open(os.path.abspath(sys.argv[5]), 'w') as out:
        json.dump({'state': state, 'extra': extra, 'statfs': statfs}, out)


sys.setrecursionlimit(10000)
fill() if DOES == 'fill' else read()

"""The kernel's side of fallocate tests: applies operations to /f of an image through a loop mount.
Usage: fallocate.py IMAGE OPTIONS < operations.json
           prints {"results": [[errno name or 0, size, sha1], ...], "blocks": st_blocks}
Operations: [write, pos, len, byte] [fallocate, flags, pos, len] [trunc, size]
            [fsync] [remount] [chattr, flag]"""
import ctypes, errno, hashlib, json, os, subprocess, sys, tempfile

libc = ctypes.CDLL(None, use_errno=True)
image, options = sys.argv[1], sys.argv[2]
job = json.load(sys.stdin)


def mount(to):
    subprocess.run(['mount', '-o', f'loop,{options}' if options else 'loop', image, to], check=True)


def call(fd, path, op):
    kind, *a = op
    if kind == 'write':
        return os.pwrite(fd, bytes([a[2]]) * a[1], a[0])
    if kind == 'trunc':
        return os.ftruncate(fd, a[0])
    if kind == 'fsync':
        return os.fsync(fd)
    if kind == 'chattr':
        return subprocess.run(['chattr', a[0], path], check=True)
    code = libc.fallocate(fd, a[0], ctypes.c_long(a[1]), ctypes.c_long(a[2]))
    if code < 0:
        raise OSError(ctypes.get_errno(), '')


def look(path):
    sha = hashlib.sha1()
    with open(path, 'rb') as f:
        while piece := f.read(1 << 20):
            sha.update(piece)
    return os.stat(path).st_size, sha.hexdigest()


results = []
with tempfile.TemporaryDirectory(dir='/dev/shm') as work:
    mount(work)
    try:
        path = work + '/f'
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        for op in job['ops']:
            error = 0
            try:
                if op[0] == 'remount':
                    os.close(fd)
                    subprocess.run(['umount', work], check=True)
                    mount(work)
                    fd = os.open(path, os.O_RDWR)
                else:
                    call(fd, path, op)
            except OSError as e:
                error = 'EOPNOTSUPP' if e.errno == errno.EOPNOTSUPP else errno.errorcode[e.errno]
            results.append([error, *look(path)])
        os.fsync(fd)
        blocks = os.fstat(fd).st_blocks
        os.close(fd)
    finally:
        subprocess.run(['umount', work], check=True)
print(json.dumps({'results': results, 'blocks': blocks}))

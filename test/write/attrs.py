"""The kernel's side of a trace with flags and ACLs: applies operations to an image through a loop
mount, and dumps its tree.
Usage: attrs.py ORACLES IMAGE < operations.json
         prints {"results": [...], "state": {...}, "fsck": n}
Values of xattrs are hexadecimal digits. Flags are set as chattr(1) does: got, changed, set."""
import errno, fcntl, hashlib, json, os, stat, struct, subprocess, sys, tempfile

sys.path.insert(0, sys.argv[1] + '/tools')
from loopmnt import Mounted

GETFLAGS, SETFLAGS = 0x80086601, 0x40086602
# Extents, an index, inline data: how it is kept is everyone's own affair.
LAYOUT = 0x80000 | 0x1000 | 0x10000000


def flags_of(path):
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        return struct.unpack('i', fcntl.ioctl(fd, GETFLAGS, bytes(4)))[0] & 0xffffffff
    finally:
        os.close(fd)


def chattr(path, add, remove):
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        old = struct.unpack('i', fcntl.ioctl(fd, GETFLAGS, bytes(4)))[0] & 0xffffffff
        fcntl.ioctl(fd, SETFLAGS, struct.pack('I', (old | add) & ~remove & 0xffffffff))
    finally:
        os.close(fd)


def write(path, flags, pos, length):
    if os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode): return 'skip'
    fd = os.open(path, flags, 0o666)
    try:
        return os.pwrite(fd, b'w' * length, pos)
    finally:
        os.close(fd)


def apply(root, op):
    kind, path, *a = op
    path = root + path
    if kind == 'mkdir': os.mkdir(path, a[0])
    elif kind == 'mknod': os.mknod(path, a[0])
    elif kind == 'symlink': os.symlink(a[0], path)
    elif kind == 'link': os.link(path, root + a[0], follow_symlinks=False)
    elif kind == 'unlink': os.unlink(path)
    elif kind == 'rmdir': os.rmdir(path)
    elif kind == 'rename': os.rename(path, root + a[0])
    elif kind == 'chmod': os.chmod(path, a[0])
    elif kind == 'chown': os.lchown(path, a[0], a[1])
    elif kind == 'utimes': os.utime(path, (a[0], a[0]), follow_symlinks=False)
    elif kind == 'truncate': os.truncate(path, a[0])
    elif kind == 'setxattr':
        os.setxattr(path, a[0], bytes.fromhex(a[1]), a[2], follow_symlinks=False)
    elif kind == 'rmxattr': os.removexattr(path, a[0], follow_symlinks=False)
    elif kind == 'chattr': chattr(path, a[0], a[1])
    elif kind == 'write': return write(path, *a)
    else: raise ValueError(kind)


def node(path):
    s = os.lstat(path)
    names = os.listxattr(path, follow_symlinks=False)
    xattrs = {n: os.getxattr(path, n, follow_symlinks=False).hex() for n in names}
    d = {'mode': s.st_mode, 'uid': s.st_uid, 'gid': s.st_gid, 'links': s.st_nlink, 'xattrs': xattrs}
    if stat.S_ISREG(s.st_mode) or stat.S_ISDIR(s.st_mode): d['flags'] = flags_of(path) & ~LAYOUT
    if stat.S_ISREG(s.st_mode):
        d['size'] = s.st_size
        with open(path, 'rb') as f: d['sha'] = hashlib.sha1(f.read()).hexdigest()
    if stat.S_ISLNK(s.st_mode): d['target'] = os.readlink(path)
    return d


def tree(root):
    state = {'/': node(root)}
    for at, dirs, files in os.walk(root):
        if at == root: dirs.remove('lost+found')
        for name in dirs + files:
            path = os.path.join(at, name)
            state[path[len(root):]] = node(path)
    return state


image = sys.argv[2]
job = json.load(sys.stdin)
os.umask(0o22)
results = []
with tempfile.TemporaryDirectory(dir='/dev/shm') as work:
    root = work + '/m'
    with Mounted(image, root, opts='errors=remount-ro'):
        for op in job['ops']:
            try:
                results.append(apply(root, op) or 0)
            except OSError as e:
                results.append(errno.errorcode.get(e.errno, e.errno))
        state = tree(root)
    fsck = subprocess.run(['e2fsck', '-fn', image], capture_output=True).returncode
print(json.dumps({'results': results, 'state': state, 'fsck': fsck}))

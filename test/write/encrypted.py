"""An encrypted directory by the kernel. Usage: encrypted.py make|apply IMAGE MOUNTPOINT
make: adds one to the image, with the key; prints "made", or why it cannot.
apply: reads operations, does them without the key, and prints the errno of each."""
import os, sys, json, errno, fcntl, struct, subprocess
ADD_KEY, SET_POLICY = 0xC0506617, 0x800C6613
command, image, at = sys.argv[1:4]

def make():
    with open(at + '/probe', 'w'): pass
    os.unlink(at + '/probe')
    fd = os.open(at, os.O_RDONLY)
    # key of identifier type, 64 bytes
    arg = bytearray(struct.pack('II32s', 2, 0, b'') + struct.pack('II8I', 64, 0, *[0] * 8))
    arg += bytes(range(64))
    fcntl.ioctl(fd, ADD_KEY, arg, True)
    os.close(fd)
    os.mkdir(at + '/enc'); os.mkdir(at + '/plain')
    d = os.open(at + '/enc', os.O_RDONLY)
    # version 2, AES-256-XTS, AES-256-CTS
    policy = bytearray(struct.pack('BBBBB3s16s', 2, 1, 4, 0, 0, b'', bytes(arg[8:24])))
    fcntl.ioctl(d, SET_POLICY, policy, True)
    os.close(d)
    for name in ['a', 'b', 'short', 'x' * 200, 'y' * 250] + ['file%d' % i for i in range(60)]:
        with open(at + '/enc/' + name, 'w') as f: f.write('data of ' + name)
    os.makedirs(at + '/enc/full/inner'); os.mkdir(at + '/enc/empty')
    os.symlink('t', at + '/enc/link'); os.symlink('t' * 200, at + '/enc/slow')
    with open(at + '/plain/f', 'w') as f: f.write('plain')

def one(kind, a, b=''):
    a, b = at + a, at + b
    if kind == 'create': os.close(os.open(a, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    elif kind == 'open': os.close(os.open(a, os.O_RDONLY))
    elif kind == 'mkdir': os.mkdir(a)
    elif kind == 'symlink': os.symlink('target', a)
    elif kind == 'link': os.link(a, b, follow_symlinks=False)
    elif kind == 'rename': os.rename(a, b)
    elif kind == 'stat': os.lstat(a)
    elif kind == 'truncate': os.truncate(a, 0)
    elif kind == 'chmod': os.chmod(a, 0o600)
    elif kind == 'utimes': os.utime(a, (1, 1))
    elif kind == 'setxattr': os.setxattr(a, 'user.a', b'value')
    elif kind == 'unlink': os.unlink(a)
    else: os.rmdir(a)

def code(op):
    try: one(*op)
    except OSError as e: return errno.errorcode[e.errno]
    return ''

subprocess.check_call(['mount', '-o', 'loop', image, at])
try:
    if command == 'make':
        try: make(); print(json.dumps('made'))
        except OSError as e: print(json.dumps(str(e)))
    else: print(json.dumps([code(op) for op in json.load(sys.stdin)]))
finally: subprocess.check_call(['umount', at])

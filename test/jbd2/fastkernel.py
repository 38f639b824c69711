"""Fast commits by the kernel: random operations on a loop mount, and now and then the image as
a power cut would leave it, with the tree as the mount shows it then: all of it is durable then.
Usage: fastkernel.py ORACLES FOLDER SEED COUNT MIB MKE2FS-ARGS MOUNT-OPTIONS
COUNT "unused": on a disk full of junk files are made that go before any is durable, but the last.
Prints {"copies": [{"image": path, "state": {...}, "log": [...]}]}; states are those of
ORACLES/tools/fsdump.py."""
import ctypes, json, os, random, subprocess, sys
oracles, folder, seed, count, mib, args, options = sys.argv[1:]
sys.path.insert(0, oracles + '/tools')
import fsdump, loopmnt
r = random.Random(int(seed))
live, top = folder + '/live.img', folder + '/m'
unused = count == 'unused'
with open(live, 'wb') as f:
    if unused: f.write(r.randbytes(int(mib) << 20))
    else: f.truncate(int(mib) << 20)
lazy = 'lazy_itable_init=1,nodiscard' if unused else 'lazy_itable_init=0,lazy_journal_init=0'
subprocess.run(['mke2fs', '-q', '-F', '-t', 'ext4', '-E', lazy, *args.split(), live], check=True,
               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
files, dirs, dirty, held, log, copies = [], [''], set(), [], [], []
serial = 0

def at(p): return top + '/' + p
def new(long=False):
    global serial
    serial += 1
    name = 'x%d' % serial + 'n' * (r.randrange(180) if long else 0)
    return (r.choice(dirs) + '/' + name).lstrip('/')
def put(p, size):
    with open(at(p), 'wb') as f: f.write(r.randbytes(size))
    files.append(p); dirty.add(p)
def opened(p, what):
    fd = os.open(at(p), os.O_RDWR)
    what(fd); os.close(fd); dirty.add(p)
def moved(p, q):
    os.rename(at(p), at(q)); files.remove(p); dirty.discard(p); dirty.add(q)

def create(): put(new(r.random() < .3), r.choice([0, 1, 100, 5000, 60000]))
def write():
    p, data, pos = r.choice(files), r.randbytes(r.randrange(1, 30000)), r.randrange(100000)
    opened(p, lambda fd: os.pwrite(fd, data, pos))
def truncate():
    p = r.choice(files); os.truncate(at(p), r.randrange(80000)); dirty.add(p)
def unlink():
    p = r.choice(files)
    if r.random() < .15: held.append(os.open(at(p), os.O_RDWR))
    os.unlink(at(p)); files.remove(p); dirty.discard(p)
def link():
    p, q = r.choice(files), new(r.random() < .3)
    os.link(at(p), at(q)); files.append(q); dirty.add(q)
def rename():
    p = r.choice(files); q = new(r.random() < .3); moved(p, q); files.append(q)
def replace():
    p, q = r.sample(files, 2)
    if not os.path.samefile(at(p), at(q)): moved(p, q)
def mkdir():
    p = new(r.random() < .3); os.mkdir(at(p)); dirs.append(p)
def rmdir():
    for p in dirs[1:]:
        if not os.listdir(at(p)): os.rmdir(at(p)); dirs.remove(p); return
def symlink(): os.symlink('t' * r.choice([5, 59, 60, 200]), at(new()))
def mknod(): os.mknod(at(new()), r.choice([0o10644, 0o20644]), os.makedev(3, 4))
def change():
    p = r.choice(files); os.chmod(at(p), r.randrange(0o1000)); os.chown(at(p), r.randrange(5), 7)
    dirty.add(p)
def allocate():
    p, mode = r.choice(files), r.choice([0, 1, 3, 3, 16, 17])
    pos, n = ctypes.c_long(r.randrange(20) * 4096), ctypes.c_long(r.randrange(1, 12) * 4096)
    opened(p, lambda fd: loopmnt.libc.fallocate(fd, mode, pos, n))
def many():
    for _ in range(r.randrange(3, 25)): put(new(True), 0)

KINDS = [create, create, create, write, write, truncate, unlink, unlink, link, rename, replace,
         mkdir, rmdir, symlink, mknod, change, allocate, many]
# Where fallocate moves inline data to a block of its own, the kernel's fast commits lose it.
if 'inline_data' in args: KINDS = [kind for kind in KINDS if kind is not allocate]

def settle():
    """All is durable: each changed file, and by one that surely changes what concerns names."""
    for p in [*sorted(dirty), 'anchor']:
        fd = os.open(at(p), os.O_RDWR)
        if p == 'anchor': os.fchmod(fd, os.fstat(fd).st_mode & 0o777 ^ 0o1)
        os.fsync(fd); os.close(fd)
    dirty.clear()
def copy():
    settle()
    image = '%s/%d.img' % (folder, len(copies))
    subprocess.run(['cp', '--sparse=always', live, image], check=True)
    copies.append({'image': image, 'state': fsdump.dump(top), 'log': list(log)})

mounted = loopmnt.Mounted(live, top, opts=options + ',commit=3600,errors=continue')
try:
    open(at('anchor'), 'w').close()
    for _ in range(8): put(new(), r.randrange(40000))
    for _ in range(3): mkdir()
    os.sync(); dirty.clear()
    if unused:
        for d in dirs:
            for i in range(20): put(('%s/short%d' % (d, i)).lstrip('/'), 0)
            for p in files[-20:-1]: os.unlink(at(p)); dirty.discard(p)
    for n in range(0 if unused else int(count)):
        kind = r.choice(KINDS if len(files) > 1 else KINDS[:1])
        log.append(kind.__name__); kind()
        if r.random() < .5: settle()
        if r.random() < .08: copy()
    copy()
finally:
    for fd in held: os.close(fd)
    loopmnt.umount(top)
print(json.dumps({'copies': copies}))

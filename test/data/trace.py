"""The kernel's side of a differential trace with data: applies operations to an image through a
loop mount, and dumps its tree.
Usage: trace.py ORACLES IMAGE OPTIONS < operations.json
         prints {"results": [...], "state": {...}, "fsck": n}
       trace.py ORACLES gen SEED COUNT PROFILE
         a trace of the oracle's generator
Operations and the form of results and state are those of ORACLES/tools/oracle.py, which does the
work. Maps of holes are left out of the state: small unwritten extents may be zeroed, by either
side."""
import errno, json, os, sys, tempfile

tools = sys.argv[1] + '/tools'
source = open(tools + '/oracle.py').read().rsplit('sys.exit(', 1)[0]
oracle = {'__file__': tools + '/oracle.py', '__name__': 'oracle'}
exec(compile(source, tools + '/oracle.py', 'exec'), oracle)
if sys.argv[2] == 'gen':
    seed, count, profile = int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    mke2fs, size, options = oracle['P'][profile]
    print(json.dumps({**oracle['gen'](seed, count, profile), 'size': size}))
    sys.exit(0)
image, options = sys.argv[2:4]
job = json.load(sys.stdin)
os.umask(0o22)
results = []


def one(root, op):
    try:
        done = oracle['apply'](root, op)
        return 0 if done is None else done
    except OSError as e:
        return errno.errorcode.get(e.errno, e.errno)


with tempfile.TemporaryDirectory(dir='/dev/shm') as work:
    oracle['W'] = work
    opts = 'errors=remount-ro' + (',' + options if options else '')
    with oracle['L'].Mounted(image, work + '/m', opts=opts):
        results = [one(work + '/m', op) for op in job['ops']]
    state = oracle['state'](image)
    for node in state.values():
        node.pop('segs', 0)
        node.pop('segsha', 0)
    print(json.dumps({'results': results, 'state': state, 'fsck': oracle['fsck'](image)}))

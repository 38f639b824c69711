"""The kernel's side of a differential trace: applies operations to an image through a loop mount, and dumps its tree.
Usage: kernel.py ORACLES IMAGE < operations.json
           prints {"results": [...], "state": {...}, "fsck": n}
       kernel.py ORACLES gen SEED COUNT PROFILE    a trace of the oracle's generator
Operations and the form of results and state are those of ORACLES/tools/oracle.py,
which does the work."""
import os, sys, json, errno, tempfile
tools = sys.argv[1] + '/tools'
source = open(tools + '/oracle.py').read().rsplit('sys.exit(', 1)[0]
oracle = {'__file__': tools + '/oracle.py', '__name__': 'oracle'}
exec(compile(source, tools + '/oracle.py', 'exec'), oracle)
if sys.argv[2] == 'gen':
    seed, count, profile = int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    print(json.dumps({**oracle['gen'](seed, count, profile), 'size': oracle['P'][profile][1]}))
    sys.exit(0)
image = sys.argv[2]
job = json.load(sys.stdin)
os.umask(0o22)
results = []
with tempfile.TemporaryDirectory(dir='/dev/shm') as work:
    oracle['W'] = work
    with oracle['L'].Mounted(image, work + '/m', opts='errors=remount-ro'):
        for op in job['ops']:
            try:
                done = oracle['apply'](work + '/m', op)
                results.append(0 if done is None else done)
            except OSError as e:
                results.append(errno.errorcode.get(e.errno, e.errno))
    state = oracle['state'](image)
    print(json.dumps({'results': results, 'state': state, 'fsck': oracle['fsck'](image)}))

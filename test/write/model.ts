// A tree as it should be: plain objects, one for each inode, and the operations on them with the
// errors that Linux gives. Independent of the library: it knows nothing of blocks. Names and
// targets are strings of one character a byte.

export interface Node {
  type: 'd' | 'f' | 'l' | 'p' | 's' | 'c' | 'b';
  mode: number;
  uid: number;
  gid: number;
  /** Names, of anything but directories. */
  links: number;
  target: string;
  rdev: number;
  /** Seconds and nanoseconds, once they were set. */
  times: { atime: number[]; mtime: number[] } | null;
  xattrs: Map<string, string>;
  children: Map<string, Node>;
  parent: Node | null;
}

export type Op = [string, ...(string | number)[]];

export const TYPE_BITS: Record<Node['type'], number> = {
  p: 0o010000,
  c: 0o020000,
  d: 0o040000,
  b: 0o060000,
  f: 0o100000,
  l: 0o120000,
  s: 0o140000,
};
const TYPE_OF = new Map(Object.entries(TYPE_BITS).map(([t, bits]) => [bits, t as Node['type']]));

class Failure {
  readonly code: string;
  constructor(code: string) {
    this.code = code;
  }
}
const fail = (code: string): never => {
  throw new Failure(code);
};

interface Spot {
  dir: Node;
  name: string;
  node: Node | undefined;
}

export class Model {
  root: Node = this.#node('d', 0o755);

  #node(type: Node['type'], mode: number): Node {
    const links = type === 'd' ? 0 : 1;
    const none = { target: '', rdev: 0, times: null, parent: null, uid: 0, gid: 0 };
    return { type, mode, links, ...none, xattrs: new Map(), children: new Map() };
  }

  /** Does one operation; the error's code, or ''. */
  apply(op: Op): string {
    try {
      this.#apply(op);
      return '';
    } catch (error) {
      if (error instanceof Failure) return error.code;
      throw error;
    }
  }

  #apply([kind, ...a]: Op): void {
    const path = String(a[0] ?? '/');
    if (kind === 'mkdir') this.#make(path, 'd', Number(a[1]));
    else if (kind === 'mknod') {
      const mode = Number(a[1]);
      const node = this.#make(path, TYPE_OF.get(mode & 0o170000) ?? 'f', mode & 0o7777);
      if (node.type === 'c' || node.type === 'b') node.rdev = Number(a[2]);
    } else if (kind === 'symlink') this.#make(path, 'l', 0o777).target = String(a[1]);
    else if (kind === 'link') this.#link(path, String(a[1]));
    else if (kind === 'unlink') this.#unlink(path);
    else if (kind === 'rmdir') this.#rmdir(path);
    else if (kind === 'rename') this.#rename(path, String(a[1]), Number(a[2]));
    else if (kind !== 'sync') this.#attributes(kind, this.#find(path), a);
  }

  #attributes(kind: string, node: Node, a: (string | number)[]): void {
    if (kind === 'chmod') node.mode = Number(a[1]);
    else if (kind === 'chown') {
      node.uid = Number(a[1]);
      node.gid = Number(a[2]);
      if (node.type === 'd') return;
      node.mode &= (node.mode & 0o010) !== 0 ? ~0o6000 : ~0o4000;
    } else if (kind === 'utimes') {
      const mtime = [Number(a[1]), Number(a[2])];
      node.times = { atime: [Number(a[1]) + 1, Number(a[2])], mtime };
    } else if (kind === 'setxattr') this.#setxattr(node, a);
    else if (kind === 'rmxattr') {
      this.#checkXattr(node, String(a[1]));
      if (!node.xattrs.delete(String(a[1]))) fail('ENODATA');
    } else throw new RangeError(kind);
  }

  #checkXattr(node: Node, name: string): void {
    if (name.startsWith('user.') && node.type !== 'f' && node.type !== 'd') fail('EPERM');
  }

  #setxattr(node: Node, [, n, value, flag]: (string | number)[]): void {
    const name = String(n);
    this.#checkXattr(node, name);
    if (flag === 1 && node.xattrs.has(name)) fail('EEXIST');
    if (flag === 2 && !node.xattrs.has(name)) fail('ENODATA');
    node.xattrs.set(name, String(value));
  }

  #walk(parts: string[]): Node {
    let at = this.root;
    for (const part of parts) {
      this.#mustLead(at);
      at = at.children.get(part) ?? fail('ENOENT');
    }
    return at;
  }

  /** Targets of traces lead nowhere. */
  #mustLead({ type, target }: Node): void {
    if (type === 'l') fail(target.length > 255 ? 'ENAMETOOLONG' : 'ENOENT');
    if (type !== 'd') fail('ENOTDIR');
  }

  #find(path: string): Node {
    return this.#walk(path.split('/').filter(Boolean));
  }

  #spot(path: string): Spot {
    const parts = path.split('/').filter(Boolean);
    const name = parts.pop() as string;
    const dir = this.#walk(parts);
    this.#mustLead(dir);
    return { dir, name, node: dir.children.get(name) };
  }

  #make(path: string, type: Node['type'], mode: number): Node {
    const { dir, name, node } = this.#spot(path);
    if (node !== undefined) fail('EEXIST');
    const made = this.#node(type, type === 'l' ? mode : mode & ~0o022);
    if ((dir.mode & 0o2000) !== 0) {
      made.gid = dir.gid;
      if (type === 'd') made.mode |= 0o2000;
    }
    made.parent = dir;
    dir.children.set(name, made);
    if (dir.times !== null) dir.times = null;
    return made;
  }

  #link(from: string, to: string): void {
    const node = this.#find(from);
    const spot = this.#spot(to);
    if (spot.node !== undefined) fail('EEXIST');
    if (node.type === 'd') fail('EPERM');
    spot.dir.children.set(spot.name, node);
    spot.dir.times = null;
    node.links++;
  }

  #unlink(path: string): void {
    const { dir, name, node } = this.#spot(path);
    if (node === undefined) return fail('ENOENT');
    if (node.type === 'd') fail('EISDIR');
    dir.children.delete(name);
    dir.times = null;
    node.links--;
  }

  #rmdir(path: string): void {
    const { dir, name, node } = this.#spot(path);
    if (node === undefined) return fail('ENOENT');
    if (node.type !== 'd') fail('ENOTDIR');
    if (node.children.size > 0) fail('ENOTEMPTY');
    dir.children.delete(name);
    dir.times = null;
  }

  #rename(from: string, to: string, flags: number): void {
    const a = this.#spot(from);
    const b = this.#spot(to);
    const source = a.node ?? fail('ENOENT');
    if ((flags & 1) !== 0 && b.node !== undefined) fail('EEXIST');
    if ((flags & 2) !== 0 && b.node === undefined) fail('ENOENT');
    if (isAbove(source, b.dir)) fail('EINVAL');
    if (b.node !== undefined && isAbove(b.node, a.dir)) {
      fail((flags & 2) !== 0 ? 'EINVAL' : 'ENOTEMPTY');
    }
    if (source === b.node) return;
    if ((flags & 2) === 0 && b.node !== undefined) this.#checkReplaced(source, b.node);
    const over = b.node;
    a.dir.children.delete(a.name);
    b.dir.children.set(b.name, source);
    source.parent = b.dir;
    if ((flags & 2) !== 0 && over !== undefined) {
      a.dir.children.set(a.name, over);
      over.parent = a.dir;
    } else if (over !== undefined && over.type !== 'd') over.links--;
    a.dir.times = null;
    b.dir.times = null;
  }

  #checkReplaced(source: Node, over: Node): void {
    if (source.type === 'd' && over.type !== 'd') fail('ENOTDIR');
    if (source.type !== 'd' && over.type === 'd') fail('EISDIR');
    if (over.children.size > 0) fail('ENOTEMPTY');
  }

  /** The tree as lines, the same as readTree() gives. */
  lines(wide = true): string[] {
    const lines: string[] = [];
    const first = new Map<Node, string>();
    const visit = (node: Node, path: string): void => {
      lines.push(describe(node, path, first, wide));
      for (const name of [...node.children.keys()].sort()) {
        visit(node.children.get(name) as Node, `${path}/${name}`);
      }
    };
    visit(this.root, '');
    return lines;
  }

  clone(): Model {
    const copy = new Model();
    const seen = new Map<Node, Node>();
    const dup = (node: Node, parent: Node | null): Node => {
      const old = seen.get(node);
      if (old !== undefined) return old;
      const n: Node = { ...node, parent, xattrs: new Map(node.xattrs), children: new Map() };
      seen.set(node, n);
      for (const [name, child] of node.children) n.children.set(name, dup(child, n));
      return n;
    };
    copy.root = dup(this.root, null);
    return copy;
  }
}

/** Whether `node` is `dir` or a directory above it. */
function isAbove(node: Node, dir: Node): boolean {
  for (let at: Node | null = dir; at !== null; at = at.parent) if (at === node) return true;
  return false;
}

/** One line: everything that must be equal. Later names of an inode name the first. */
function describe(node: Node, path: string, first: Map<Node, string>, wide: boolean): string {
  const at = first.get(node);
  if (at !== undefined) return `${shown(path)} = ${shown(at)}`;
  first.set(node, path);
  let links = node.links;
  if (node.type === 'd') {
    links = 2 + [...node.children.values()].filter((c) => c.type === 'd').length;
  }
  const xattrs = [...node.xattrs].sort(([a], [b]) => (a < b ? -1 : 1));
  const parts = [
    ...[shown(path), node.type, node.mode.toString(8), node.uid, node.gid, links, node.rdev],
    shown(node.target),
    ...xattrs.map(([k, v]) => `${shown(k)}=${digest(v)}`),
  ];
  if (node.times !== null) parts.push(`mtime ${timeText(node.times.mtime, wide)}`);
  return parts.join(' ');
}

export function timeText([sec, nsec]: number[], wide: boolean): string {
  return wide ? `${sec}.${nsec}` : `${Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, sec))}.0`;
}

/** Long values by length and a hash. */
export function digest(value: string): string {
  let hash = 0;
  for (let i = 0; i < value.length; i++) hash = (Math.imul(hash, 31) + value.charCodeAt(i)) | 0;
  return `${value.length}:${hash >>> 0}`;
}

export function shown(text: string): string {
  if (text.length > 60) return `${shown(text.slice(0, 20))}..${digest(text)}`;
  return text.replace(/[^!-~]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

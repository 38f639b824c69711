// User and group names as the image itself knows them: its /etc/passwd and /etc/group, read when the first id that
// is not 0 turns up. Without them ids stay numbers; 0 is root everywhere.

import type { Ext4 } from '../index.ts';
import { shown } from './names.ts';

const LIMIT = 4 << 20;

export class Owners {
  readonly #img: Ext4;
  readonly #numeric: boolean;
  #users?: Promise<Map<number, string>>;
  #groups?: Promise<Map<number, string>>;

  constructor(img: Ext4, numeric: boolean) {
    this.#img = img;
    this.#numeric = numeric;
  }

  user(uid: number): Promise<string> | string {
    if (this.#numeric || uid === 0) return this.#numeric ? String(uid) : 'root';
    this.#users ??= this.#load('/etc/passwd');
    return this.#users.then((names) => names.get(uid) ?? String(uid));
  }

  group(gid: number): Promise<string> | string {
    if (this.#numeric || gid === 0) return this.#numeric ? String(gid) : 'root';
    this.#groups ??= this.#load('/etc/group');
    return this.#groups.then((names) => names.get(gid) ?? String(gid));
  }

  /** Both files have the name first and the id third. What cannot be read gives no names. */
  async #load(path: string): Promise<Map<number, string>> {
    const names = new Map<number, string>();
    try {
      const { size } = await this.#img.promises.stat(path);
      if (Number(size) > LIMIT) return names;
      const text = String(await this.#img.promises.readFile(path, 'utf8'));
      for (const line of text.split('\n')) {
        const [name, , id] = line.split(':');
        if (name && /^\d+$/.test(id ?? '') && !names.has(Number(id))) {
          names.set(Number(id), shown(name));
        }
      }
    } catch {
      return names;
    }
    return names;
  }
}

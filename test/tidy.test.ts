// Goal: the rules of the house that a machine can check (ARCHITECTURE.md: floors, names, sizes, comments).
// Method: list the files, parse each with the TypeScript compiler (AssemblyScript parses as TypeScript), look.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

const ROOT = resolve(import.meta.dirname, '..');
const SKIP = new Set(['node_modules', 'build', '.git', 'results']);
const CODE = /\.(ts|mjs|js|py|sh|html)$|^\.ci\/run$/;

const files = walk(ROOT).sort();
const code = files.filter((file) => CODE.test(file));
const library = files.filter((file) => file.startsWith('ts/') && file.endsWith('.ts'));
const kernels = files.filter((file) => file.startsWith('assembly/') && file.endsWith('.ts'));

/** Floors from the bottom up; a file may import its own and every lower one, and what `beside` names. */
const BELOW: Record<string, string[]> = {
  under: [],
  block: [],
  cache: ['block'],
  iomap: ['cache', 'block'],
  jbd2: ['cache', 'block'],
  ext4: ['iomap', 'jbd2', 'cache', 'block'],
  mkfs: ['ext4', 'iomap', 'jbd2', 'cache', 'block'],
  fsck: ['ext4', 'iomap', 'jbd2', 'cache', 'block'],
  vfs: ['ext4', 'iomap', 'jbd2', 'cache', 'block', 'mkfs', 'fsck'],
  tar: [],
  api: ['vfs', 'ext4', 'iomap', 'jbd2', 'cache', 'block', 'mkfs', 'fsck', 'tar'],
  cli: ['index', 'api', 'vfs', 'ext4', 'iomap', 'jbd2', 'cache', 'block', 'mkfs', 'fsck', 'tar'],
  index: ['api', 'vfs', 'ext4', 'iomap', 'jbd2', 'cache', 'block', 'mkfs', 'fsck', 'tar'],
};
const UNDER = ['errno', 'assert', 'trace', 'flow', 'wasm'];
const CORE = ['cache', 'jbd2', 'iomap', 'ext4'];
const NODE_FILES = /^ts\/(block\/(node|nbd)\.ts|api\/node[a-z]*\.ts|cli\/.+\.ts)$/;

function walk(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    if (SKIP.has(entry.name)) return [];
    const path = join(dir, entry.name);
    return entry.isDirectory() ? walk(path) : [relative(ROOT, path)];
  });
}

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}

const parsed = new Map<string, ts.SourceFile>();
function parse(file: string): ts.SourceFile {
  let source = parsed.get(file);
  if (source === undefined) {
    source = ts.createSourceFile(file, read(file), ts.ScriptTarget.Latest, true);
    parsed.set(file, source);
  }
  return source;
}

function visit(node: ts.Node, see: (node: ts.Node) => void): void {
  see(node);
  ts.forEachChild(node, (child) => visit(child, see));
}

/** `file:line what` for every node that `rule` objects to. */
function objections(list: string[], rule: (node: ts.Node, file: string) => string | undefined) {
  const found: string[] = [];
  for (const file of list) {
    const source = parse(file);
    visit(source, (node) => {
      const what = rule(node, file);
      if (what === undefined) return;
      const { line } = source.getLineAndCharacterOfPosition(node.getStart(source));
      found.push(`${file}:${line + 1} ${what}`);
    });
  }
  return found;
}

function lineLimit(list: string[], limit: number): string[] {
  return list.filter((file) => read(file).split('\n').length > limit + 1);
}

function floorOf(file: string): string {
  const [, first, second] = file.split('/');
  if (second !== undefined) return first;
  const name = basename(first, '.ts');
  return UNDER.includes(name) ? 'under' : name;
}

interface Import {
  target: string;
  typeOnly: boolean;
}

function importsOf(file: string): Import[] {
  const found: Import[] = [];
  visit(parse(file), (node) => {
    if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier) {
      const clause = ts.isImportDeclaration(node) ? node.importClause : node;
      const typeOnly = clause !== undefined && 'isTypeOnly' in clause && clause.isTypeOnly;
      found.push({ target: (node.moduleSpecifier as ts.StringLiteral).text, typeOnly });
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [argument] = node.arguments;
      found.push({ target: ts.isStringLiteral(argument) ? argument.text : '?', typeOnly: false });
    }
  });
  return found;
}

function importFault(file: string, { target, typeOnly }: Import): string | undefined {
  if (target.startsWith('node:')) {
    return NODE_FILES.test(file) ? undefined : `${file} imports ${target}`;
  }
  if (target === '#kernels') return file === 'ts/wasm.ts' ? undefined : `${file} imports ${target}`;
  if (!target.startsWith('.')) return `${file} imports the package ${target}`;
  const path = relative(ROOT, resolve(ROOT, file, '..', target));
  if (/^assembly\/(format\/\w+|abi)\.ts$/.test(path)) return undefined;
  if (!path.startsWith('ts/')) return `${file} imports ${path}`;
  const [from, to] = [floorOf(file), floorOf(path)];
  const contract = from === 'under' && typeOnly && path === 'ts/block/device.ts';
  const allowed = from === to || to === 'under' || contract || BELOW[from]?.includes(to);
  return allowed ? undefined : `${file} (${from}) imports ${path} (${to})`;
}

describe('floors', () => {
  test('a file imports only its own floor and lower ones', () => {
    const faults = library.flatMap((file) =>
      importsOf(file).map((one) => importFault(file, one) ?? ''),
    );
    expect(faults.filter(Boolean)).toEqual([]);
  });

  test('every folder of ts/ is a known floor', () => {
    expect(library.map(floorOf).filter((floor) => !(floor in BELOW))).toEqual([]);
  });

  test('a kernel imports only kernels', () => {
    const faults = kernels.flatMap((file) =>
      importsOf(file)
        .filter(({ target }) => !/^\.\.?\/(format\/)?\w+$/.test(target))
        .map(({ target }) => `${file} imports ${target}`),
    );
    expect(faults).toEqual([]);
  });

  test('what lies below the api knows no Buffer and no process', () => {
    const low = library.filter(
      (file) => !/^(api|cli|index)$/.test(floorOf(file)) && !NODE_FILES.test(file),
    );
    const faults = objections(low, (node, file) => {
      if (!ts.isIdentifier(node) || !/^(Buffer|process|require|__dirname)$/.test(node.text)) return;
      const own = new RegExp(`(import|class|interface|type|function)\\b[^;=]*\\b${node.text}\\b`);
      const member = ts.isPropertyAccessExpression(node.parent) && node.parent.name === node;
      return member || own.test(read(file)) ? undefined : node.text;
    });
    expect(faults).toEqual([]);
  });
});

describe('the core', () => {
  const core = library.filter((file) => CORE.includes(floorOf(file)));

  test('has no try, no finally and no using', () => {
    const faults = objections(core, (node) => {
      if (ts.isTryStatement(node)) return 'try';
      if (
        ts.isVariableDeclarationList(node) &&
        (node.flags & ts.NodeFlags.Using) === ts.NodeFlags.Using
      )
        return 'using';
      return undefined;
    });
    expect(faults).toEqual([]);
  });

  test('never awaits', () => {
    const faults = objections(core, (node) =>
      ts.isAwaitExpression(node) || node.kind === ts.SyntaxKind.AsyncKeyword ? 'async' : undefined,
    );
    expect(faults).toEqual([]);
  });

  test('uses no BigInt', () => {
    const faults = objections([...core, 'ts/wasm.ts'], (node) => {
      if (ts.isBigIntLiteral(node) || node.kind === ts.SyntaxKind.BigIntKeyword) return 'bigint';
      return ts.isIdentifier(node) && /Big(Int|Uint)/.test(node.text) ? node.text : undefined;
    });
    expect(faults).toEqual([]);
  });

  test('fills and copies linear memory with kernels only', () => {
    const faults = objections(core, (node) => {
      if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression))
        return undefined;
      const { name, expression } = node.expression;
      const memory = /(^|\.)(u8|u32|view|memory|bytes)$/.test(expression.getText());
      return memory && /^(fill|copyWithin)$/.test(name.text)
        ? node.expression.getText()
        : undefined;
    });
    expect(faults).toEqual([]);
  });

  test('shifts no position and no physical block number', () => {
    const narrow = new Set([
      ts.SyntaxKind.LessThanLessThanToken,
      ts.SyntaxKind.GreaterThanGreaterThanToken,
      ts.SyntaxKind.GreaterThanGreaterThanGreaterThanToken,
      ts.SyntaxKind.BarToken,
      ts.SyntaxKind.AmpersandToken,
    ]);
    const faults = objections(library, (node) => {
      if (!ts.isBinaryExpression(node) || !narrow.has(node.operatorToken.kind)) return undefined;
      const wide = [node.left, node.right]
        .map((side) => side.getText())
        .find((text) => /(^|\.|[a-z])(d?pos|pblk|Pos|Pblk)$/.test(text));
      return wide && node.getText();
    });
    expect(faults).toEqual([]);
  });
});

function isFunction(node: ts.Node): node is ts.FunctionLikeDeclaration {
  return (
    ts.isFunctionDeclaration(node) ||
    ts.isMethodDeclaration(node) ||
    ts.isConstructorDeclaration(node) ||
    ts.isAccessor(node) ||
    ts.isFunctionExpression(node) ||
    ts.isArrowFunction(node)
  );
}

/** Lines of every function with a block body; the callbacks of describe() and test() are not functions of the code. */
function functionLengths(file: string): { name: string; lines: number }[] {
  const source = parse(file);
  const found: { name: string; lines: number }[] = [];
  visit(source, (node) => {
    if (!isFunction(node) || node.body === undefined || !ts.isBlock(node.body)) return;
    const start = source.getLineAndCharacterOfPosition(node.getStart(source)).line;
    const end = source.getLineAndCharacterOfPosition(node.end).line;
    found.push({ name: `${file}:${start + 1}`, lines: end - start + 1 });
  });
  return found;
}

describe('sizes', () => {
  test('no file has 500 lines', () => {
    expect(lineLimit(code, 499)).toEqual([]);
  });

  test('no line has more than 100 columns, no comment or name of a test more than 120', () => {
    const long = code.flatMap((file) =>
      read(file)
        .split('\n')
        .flatMap((line, i) => {
          const limit = /^\s*(\/\/|\/?\*|#|""|test\(|'\d)/.test(line) ? 120 : 100;
          return [...line].length > limit ? [`${file}:${i + 1}`] : [];
        }),
    );
    expect(long).toEqual([]);
  });

  test('no function has more than 60 lines, and nine in ten have under 40', () => {
    const all = [...library, ...kernels].flatMap(functionLengths);
    expect(all.filter(({ lines }) => lines > 60)).toEqual([]);
    const long = all.filter(({ lines }) => lines >= 40).length;
    expect(long).toBeLessThanOrEqual(all.length / 10);
  });

  test('ARCHITECTURE.md fits in 200 lines', () => {
    if (existsSync(join(ROOT, 'ARCHITECTURE.md')))
      expect(lineLimit(['ARCHITECTURE.md'], 200)).toEqual([]);
  });
});

describe('files', () => {
  const ALLOWED = [
    'assembly',
    'ts',
    'bench',
    'test',
    'build',
    'node_modules',
    'docs',
    'examples',
    'site',
    'package.json',
    'package-lock.json',
    'asconfig.json',
    'biome.json',
    'vitest.config.ts',
    'README.md',
    'ARCHITECTURE.md',
    'CHANGELOG.md',
    'SECURITY.md',
    'LICENSE',
  ];

  test('the top level holds only what it may', () => {
    const odd = readdirSync(ROOT).filter(
      (name) =>
        !ALLOWED.includes(name) &&
        !name.startsWith('.') &&
        !/^tsconfig(\.\w+)?\.json$/.test(name) &&
        !name.endsWith('.tgz'),
    );
    expect(odd).toEqual([]);
  });

  test('each has a lower-case name without dashes in the library', () => {
    expect([...library, ...kernels].filter((file) => !/^[a-z0-9/]+(\.d)?\.ts$/.test(file))).toEqual(
      [],
    );
  });

  test('each opens with one to eight lines that say what it is', () => {
    const bare = code.filter((file) => {
      const lines = read(file)
        .split('\n')
        .filter((line, i) => !(i === 0 && line.startsWith('#!')) && !/^<!doctype/i.test(line));
      const head = lines.findIndex((line) => !/^\s*(\/\/|#|"""|\/\*|\*|<!--)/.test(line));
      return (
        !/^(\/\/|#|"""|\/\*|<!--)/.test(lines[0] ?? '') || (file.startsWith('ts/') && head > 8)
      );
    });
    expect(bare).toEqual([]);
  });

  test('none holds a reminder to finish it', () => {
    const marks = [
      ['TO', 'DO'],
      ['FIX', 'ME'],
      ['XX', 'X'],
    ].map((parts) => parts.join(''));
    const words = new RegExp(`\b(${marks.join('|')})\b`);
    expect(files.filter((file) => words.test(isText(file) ? read(file) : ''))).toEqual([]);
  });

  test('none names a place outside the project', () => {
    const words = ['work/', '.library'].map((word) => `/${word}`);
    const faults = files.filter(
      (file) => isText(file) && words.some((word) => read(file).includes(word)),
    );
    expect(faults).toEqual([]);
  });

  test('none of the tests is skipped or narrowed', () => {
    const faults = objections(
      files.filter((file) => /^test\/.*\.ts$/.test(file)),
      (node) =>
        ts.isPropertyAccessExpression(node) &&
        /^(it|test|describe)$/.test(node.expression.getText()) &&
        /^(skip|only|todo|fails)$/.test(node.name.text)
          ? node.getText()
          : undefined,
    );
    expect(faults).toEqual([]);
  });
});

function isText(file: string): boolean {
  return (
    /\.(ts|mjs|js|json|md|py|sh|html|css|yml)$|^\.(ci|gitignore)/.test(file) &&
    statSync(join(ROOT, file)).size < 4 << 20
  );
}

describe('the kernels', () => {
  /** Kernels that several TypeScript files call, or that are arithmetic only. */
  const SHARED = [
    'index',
    'abi',
    'probe',
    'bitmap',
    'crc32c',
    'crc16',
    'dirhash',
    'memory',
    'tables',
  ];

  test('each is named as the TypeScript file that calls it', () => {
    const names = new Set([...SHARED, ...library.map((file) => basename(file, '.ts'))]);
    const top = kernels.filter((file) => !file.startsWith('assembly/format/'));
    expect(top.filter((file) => !names.has(basename(file, '.ts')))).toEqual([]);
  });

  test('constants are literals, one a line', () => {
    const line =
      /^(export const [A-Z][A-Z0-9_]*: u(8|16|32) = (0x[0-9a-f]+|\d+);( \/\/ .*)?|\/\/.*|)$/;
    const declared = kernels.filter((file) => /^assembly\/(format\/\w+|abi)\.ts$/.test(file));
    const faults = declared.flatMap((file) =>
      read(file)
        .split('\n')
        .filter((text) => !line.test(text))
        .map((text) => `${file}: ${text}`),
    );
    expect(declared.length).toBeGreaterThan(2);
    expect(faults).toEqual([]);
  });

  test('use no u64 in what they export', () => {
    const faults = objections(kernels, (node) => {
      if (
        !ts.isFunctionDeclaration(node) ||
        !node.modifiers?.some((m) => m.kind === ts.SyntaxKind.ExportKeyword)
      )
        return undefined;
      const types = [node.type, ...node.parameters.map((p) => p.type)].map(
        (type) => type?.getText() ?? '',
      );
      return parse(node.getSourceFile().fileName).fileName === 'assembly/index.ts' &&
        types.some((type) => /^[iu]64$/.test(type))
        ? node.name?.text
        : undefined;
    });
    expect(faults).toEqual([]);
  });
});

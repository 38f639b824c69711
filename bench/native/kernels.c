// The kernels in C, as a careful C programmer would write them, compiled with gcc -O3 -march=native: what "native"
// means in bench/kernels.mjs. argv[1] is an image of the linear memory that the WebAssembly kernels work on, so that
// both see the same bytes at the same addresses. Input lines: name count a b c d; answer: nanoseconds result.

#include <nmmintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

static u8 *mem;

static u16 get16(const u8 *p) { u16 v; memcpy(&v, p, 2); return v; }
static u32 get32(const u8 *p) { u32 v; memcpy(&v, p, 4); return v; }
static u64 get64(const u8 *p) { u64 v; memcpy(&v, p, 8); return v; }
static void put32(u8 *p, u32 v) { memcpy(p, &v, 4); }

// ---- CRC-32C: the crc32 instruction in three streams, joined by tables that step over a stream's zeros.

static u32 shift_tables[2][4][256];
static const size_t STREAM[2] = { 1360, 336 };

static u32 step_zero_bytes(u32 crc, size_t n)
{
	while (n--)
		crc = _mm_crc32_u8(crc, 0);
	return crc;
}

static void init_shift(void)
{
	for (int s = 0; s < 2; s++) {
		u32 bit[32];
		for (int i = 0; i < 32; i++)
			bit[i] = step_zero_bytes((u32)1 << i, STREAM[s]);
		for (int byte = 0; byte < 4; byte++)
			for (u32 v = 0; v < 256; v++) {
				u32 x = 0;
				for (int i = 0; i < 8; i++)
					if (v >> i & 1)
						x ^= bit[byte * 8 + i];
				shift_tables[s][byte][v] = x;
			}
	}
}

static u32 shift(int s, u32 x)
{
	return shift_tables[s][0][x & 255] ^ shift_tables[s][1][x >> 8 & 255] ^
	       shift_tables[s][2][x >> 16 & 255] ^ shift_tables[s][3][x >> 24];
}

static __attribute__((noinline)) u32 crc32c(u32 crc, const u8 *p, size_t len)
{
	for (int s = 0; s < 2; s++) {
		size_t n = STREAM[s];
		while (len >= 3 * n) {
			u64 a = crc, b = 0, c = 0;
			for (size_t i = 0; i < n; i += 8) {
				a = _mm_crc32_u64(a, get64(p + i));
				b = _mm_crc32_u64(b, get64(p + n + i));
				c = _mm_crc32_u64(c, get64(p + 2 * n + i));
			}
			crc = shift(s, shift(s, (u32)a) ^ (u32)b) ^ (u32)c;
			p += 3 * n;
			len -= 3 * n;
		}
	}
	u64 x = crc;
	for (; len >= 8; len -= 8, p += 8)
		x = _mm_crc32_u64(x, get64(p));
	crc = (u32)x;
	while (len--)
		crc = _mm_crc32_u8(crc, *p++);
	return crc;
}

// ---- Bitmaps, a 64-bit word a step.

static __attribute__((noinline)) u32 next_set(const u8 *map, u32 from, u32 to)
{
	if (from >= to)
		return to;
	u32 i = from & ~63u;
	u64 w = get64(map + i / 8) & ~(u64)0 << (from & 63);
	while (!w) {
		i += 64;
		if (i >= to)
			return to;
		w = get64(map + i / 8);
	}
	i += __builtin_ctzll(w);
	return i < to ? i : to;
}

static __attribute__((noinline)) u32 runs(const u8 *map, u32 to, u8 *out)
{
	u32 n = 0, start = 0;
	u64 open = 0;
	for (u32 i = 0; i < to; i += 64) {
		u64 x = get64(map + i / 8);
		u64 edges = x ^ (x << 1 | open);
		for (; edges; edges &= edges - 1) {
			u32 at = i + __builtin_ctzll(edges);
			if (open) {
				put32(out + 8 * n, start);
				put32(out + 8 * n++ + 4, at - start);
			} else {
				start = at;
			}
			open ^= 1;
		}
	}
	if (open) {
		put32(out + 8 * n, start);
		put32(out + 8 * n++ + 4, to - start);
	}
	return n;
}

// ---- Extents: binary search over the raw records.

static __attribute__((noinline)) u32 lookup(const u8 *leaf, u32 lblk, u8 *out)
{
	u32 lo = 0, hi = get16(leaf + 2);
	while (lo < hi) {
		u32 mid = (lo + hi) / 2;
		if (get32(leaf + 12 + 12 * mid) <= lblk)
			lo = mid + 1;
		else
			hi = mid;
	}
	const u8 *e = leaf + 12 * lo;
	u32 skip = lblk - get32(e), raw = get16(e + 4), len = raw > 32768 ? raw - 32768 : raw;
	if (lo > 0 && skip < len) {
		u64 pblk = ((u64)get16(e + 6) << 32 | get32(e + 8)) + skip;
		put32(out, (u32)pblk);
		put32(out + 4, pblk >> 32);
		put32(out + 8, len - skip);
		put32(out + 12, raw > 32768 ? 2 : 1);
		return raw > 32768 ? 2 : 1;
	}
	put32(out, 0);
	put32(out + 4, 0);
	put32(out + 8, (lo < get16(leaf + 2) ? get32(e + 12) : 0xffffffff) - lblk);
	put32(out + 12, 0);
	return 0;
}

// ---- Directories.

static __attribute__((noinline)) int find(const u8 *block, u32 len, const u8 *name, u32 name_len)
{
	for (u32 off = 0; off < len; off += get16(block + off + 4)) {
		const u8 *e = block + off;
		if (e[6] == name_len && get32(e) && !memcmp(e + 8, name, name_len))
			return (int)off;
	}
	return -1;
}

static u32 rol(u32 x, int n) { return x << n | x >> (32 - n); }
#define F(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#define G(x, y, z) (((x) & (y)) + (((x) ^ (y)) & (z)))
#define H(x, y, z) ((x) ^ (y) ^ (z))
#define STEP(f, a, b, c, d, m, n) (a = rol(a + f(b, c, d) + (m), n))
#define ROUND(f, k, i0, i1, i2, i3, i4, i5, i6, i7, s0, s1, s2, s3) \
	STEP(f, a, b, c, d, m[i0] + k, s0), STEP(f, d, a, b, c, m[i1] + k, s1), \
	STEP(f, c, d, a, b, m[i2] + k, s2), STEP(f, b, c, d, a, m[i3] + k, s3), \
	STEP(f, a, b, c, d, m[i4] + k, s0), STEP(f, d, a, b, c, m[i5] + k, s1), \
	STEP(f, c, d, a, b, m[i6] + k, s2), STEP(f, b, c, d, a, m[i7] + k, s3)

static void half_md4_block(u32 state[4], const u32 m[8])
{
	u32 a = state[0], b = state[1], c = state[2], d = state[3];
	ROUND(F, 0, 0, 1, 2, 3, 4, 5, 6, 7, 3, 7, 11, 19);
	ROUND(G, 0x5a827999, 1, 3, 5, 7, 0, 2, 4, 6, 3, 5, 9, 13);
	ROUND(H, 0x6ed9eba1, 3, 7, 2, 6, 1, 5, 0, 4, 3, 9, 11, 15);
	state[0] += a;
	state[1] += b;
	state[2] += c;
	state[3] += d;
}

static __attribute__((noinline)) u32 half_md4(const u8 *name, u32 len, const u8 *seed)
{
	u32 state[4];
	for (int i = 0; i < 4; i++)
		state[i] = get32(seed + 4 * i);
	for (;;) {
		u32 m[8], pad = len * 0x01010101u, n = len < 32 ? len : 32, full = n / 4;
		for (u32 i = 0; i < full; i++)
			m[i] = __builtin_bswap32(get32(name + 4 * i));
		for (u32 i = full; i < 8; i++) {
			u32 v = pad;
			for (u32 j = 4 * i; j < n && j < 4 * i + 4; j++)
				v = v << 8 | name[j];
			m[i] = v;
		}
		half_md4_block(state, m);
		if (len <= 32)
			return state[1] & ~1u;
		name += 32;
		len -= 32;
	}
}

// ---- The loop around them.

static u64 now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

// A loop for each kernel, so that the switch is not in it. The barrier keeps the compiler from merging calls.
#define LOOP(expression) \
	for (u32 i = 0; i < count; i++) { \
		sum += (u32)(expression); \
		__asm__ volatile("" : : : "memory"); \
	} \
	break

static u32 run(const char *name, u32 count, u32 a, u32 b, u32 c, u32 d)
{
	u32 sum = 0;
	switch (name[0] << 8 | name[1]) {
	case 'c' << 8 | 'r': LOOP(crc32c(~0u, mem + a, b));
	case 'f' << 8 | 'i': LOOP((memset(mem + a, 0, b), 0));
	case 'c' << 8 | 'o': LOOP((memcpy(mem + a, mem + b, c), 0));
	case 'n' << 8 | 'e': LOOP(next_set(mem + a, b, c));
	case 'r' << 8 | 'u': LOOP(runs(mem + a, b, mem + c));
	// The blocks to look up are the 65536 words at b.
	case 'l' << 8 | 'o': LOOP(lookup(mem + a, get32(mem + b + 4 * (i & 65535)), mem + c));
	case 'd' << 8 | 'i': LOOP(find(mem + a, b, mem + c, d));
	case 'm' << 8 | 'd': LOOP(half_md4(mem + a, b, mem + c));
	default:
		fprintf(stderr, "no kernel %s\n", name);
		exit(1);
	}
	return sum;
}

int main(int argc, char **argv)
{
	FILE *image = argc > 1 ? fopen(argv[1], "rb") : NULL;
	if (!image || fseek(image, 0, SEEK_END)) {
		perror("memory image");
		return 1;
	}
	size_t size = (size_t)ftell(image);
	rewind(image);
	mem = aligned_alloc(65536, (size + 65535) & ~(size_t)65535);
	if (!mem || fread(mem, 1, size, image) != size) {
		perror("memory image");
		return 1;
	}
	fclose(image);
	init_shift();
	char line[256], name[32];
	while (fgets(line, sizeof line, stdin)) {
		u32 count = 0, a = 0, b = 0, c = 0, d = 0;
		if (sscanf(line, "%31s %u %u %u %u %u", name, &count, &a, &b, &c, &d) < 2)
			return 1;
		u64 start = now();
		u32 sum = run(name, count, a, b, c, d);
		printf("%llu %u\n", (unsigned long long)(now() - start), sum);
		fflush(stdout);
	}
	return 0;
}

// clang --target=nvptx64-nvidia-cuda -march=sm_52 -O2 -S -o kernels.ptx kernels.cl

// word is what belongs at place i of a buffer. The host has the same function, so that neither proves itself.
static ulong word(ulong i, ulong seed) {
	ulong x = (i + seed) * 0x9E3779B97F4A7C15UL;
	return x ^ x >> 32;
}

static ulong first() { return (ulong)__nvvm_read_ptx_sreg_ctaid_x() * __nvvm_read_ptx_sreg_ntid_x() + __nvvm_read_ptx_sreg_tid_x(); }

static ulong stride() { return (ulong)__nvvm_read_ptx_sreg_nctaid_x() * __nvvm_read_ptx_sreg_ntid_x(); }

// pattern fills a buffer.
kernel void pattern(global ulong *p, ulong words, ulong seed) {
	for (ulong i = first(); i < words; i += stride()) p[i] = word(i, seed);
}

// compare adds to *count how many words of a buffer are not what pattern writes.
kernel void compare(global const ulong *p, ulong words, ulong seed, global ulong *count) {
	ulong wrong = 0;
	for (ulong i = first(); i < words; i += stride()) wrong += p[i] != word(i, seed);
	if (wrong) __sync_fetch_and_add(count, wrong);
}

// spin keeps one multiprocessor busy for so many cycles, as a step of a model would keep all.
kernel void spin(global ulong *end, ulong cycles) {
	ulong began = __nvvm_read_ptx_sreg_clock64(), now = began;
	while (now - began < cycles) now = __nvvm_read_ptx_sreg_clock64();
	*end = now;
}

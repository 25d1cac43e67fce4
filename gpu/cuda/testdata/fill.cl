// clang --target=nvptx64-nvidia-cuda -march=sm_52 -O2 -S -o fill.ptx fill.cl
kernel void fill(global unsigned *p, unsigned words, unsigned value) {
	unsigned i = __nvvm_read_ptx_sreg_ctaid_x() * __nvvm_read_ptx_sreg_ntid_x() + __nvvm_read_ptx_sreg_tid_x();
	if (i < words) p[i] = value;
}

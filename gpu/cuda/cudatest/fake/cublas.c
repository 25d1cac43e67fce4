// libcublas.so.13 of the fake: no arithmetic. A product is a kernel whose matrices and workspace are looked at.
#include "fake.h"
#include <stdlib.h>

typedef struct { void *stream, *workspace; } handle;

int cublasCreate_v2(handle **h) { *h = calloc(1, sizeof **h); return OK; }
int cublasDestroy_v2(handle *h) { free(h); return OK; }
int cublasSetMathMode(handle *h, int mode) { return OK; }
int cublasSetStream_v2(handle *h, void *s) { h->stream = s; return OK; }
int cublasSetWorkspace_v2(handle *h, void *p, size_t n) { h->workspace = p; return OK; }
const char *cublasGetStatusString(int status) { return "a status of the fake"; }

static int product(handle *h, const void *a, const void *b, void *c, const char *name) {
	work w = {.kind = KERNEL, .name = name, .np = 4, .writable = 1 << 2};
	w.ptrs[0] = (void *)a;
	w.ptrs[1] = (void *)b;
	w.ptrs[2] = c;
	w.ptrs[3] = h->workspace;
	fake_count("products", 1);
	return fake_submit(h->stream, &w);
}
// The batched ones get arrays of matrices, in device memory: those are what is looked at, and nothing is written to them.
static int batch(handle *h, const void *a, const void *b, const void *c, const char *name) {
	work w = {.kind = KERNEL, .name = name, .np = 4, .ptrs = {(void *)a, (void *)b, (void *)c, h->workspace}};
	fake_count("products", 1);
	return fake_submit(h->stream, &w);
}

int cublasGemmEx(handle *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int atype, int lda, const void *b, int btype, int ldb, const void *beta, void *c, int ctype, int ldc, int compute, int algo) {
	return product(h, a, b, c, "cublasGemmEx");
}
int cublasGemmStridedBatchedEx(handle *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int atype, int lda, long long sa, const void *b, int btype, int ldb, long long sb, const void *beta, void *c, int ctype, int ldc, long long sc, int count, int compute, int algo) {
	return product(h, a, b, c, "cublasGemmStridedBatchedEx");
}
int cublasSgemm_v2(handle *h, int ta, int tb, int m, int n, int k, const float *alpha, const float *a, int lda, const float *b, int ldb, const float *beta, float *c, int ldc) {
	return product(h, a, b, c, "cublasSgemm");
}
int cublasSgemmStridedBatched(handle *h, int ta, int tb, int m, int n, int k, const float *alpha, const float *a, int lda, long long sa, const float *b, int ldb, long long sb, const float *beta, float *c, int ldc, long long sc, int count) {
	return product(h, a, b, c, "cublasSgemmStridedBatched");
}
int cublasGemmBatchedEx(handle *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *const a[], int atype, int lda, const void *const b[], int btype, int ldb, const void *beta, void *const c[], int ctype, int ldc, int count, int compute, int algo) {
	return batch(h, a, b, c, "cublasGemmBatchedEx");
}
int cublasSgemmBatched(handle *h, int ta, int tb, int m, int n, int k, const float *alpha, const float *const a[], int lda, const float *const b[], int ldb, const float *beta, float *const c[], int ldc, int count) {
	return batch(h, a, b, c, "cublasSgemmBatched");
}
int cublasStrsmBatched(handle *h, int side, int uplo, int trans, int diag, int m, int n, const float *alpha, const float *const a[], int lda, float *const b[], int ldb, int count) {
	return batch(h, a, b, NULL, "cublasStrsmBatched");
}

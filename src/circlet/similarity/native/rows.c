/* Rows to unit length, and their gradient back; see `similarity.rows`. */

#include "common.h"

/* Lengths between which a sum of squares is good, and by what longer and shorter rows are multiplied; see `rows`. */
typedef struct {
    float low, high, down, up;
} Usual;

static float length_of(const float *x, float factor, int dim) {
    double total = 0.0;
#pragma omp simd reduction(+ : total)
    for (int k = 0; k < dim; k++) total += (double)(factor * x[k]) * (factor * x[k]);
    return (float)sqrt(total);
}

/* Lengths of the rows; 0 if any is not a usual one. */
int circlet_lengths(const float *x, ptrdiff_t stride, int rows, int dim, Usual usual, float *norms, int threads) {
    int all = 1;
    threads = threads_for(rows, dim, threads);
#pragma omp parallel for schedule(static) num_threads(threads) reduction(& : all)
    for (int i = 0; i < rows; i++) {
        norms[i] = length_of(x + i * stride, 1.0f, dim);
        all &= norms[i] >= usual.low && norms[i] <= usual.high; /* nor NaN */
    }
    return all;
}

/* Rows x[index] to unit length, and the lengths they had, infinite for a zero row, which stays one. index: null for all
 * rows in order; `out` may then be `x`. */
void circlet_unit(float *out, ptrdiff_t out_stride, int rows, int dim, const float *x, ptrdiff_t stride,
                  const int64_t *index, Usual usual, float *norms, int threads) {
    threads = threads_for(rows, dim, threads);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int i = 0; i < rows; i++) {
        const float *row = x + (index ? index[i] : i) * stride;
        float *place = out + i * out_stride, factor = 1.0f, norm = length_of(row, factor, dim);
        if (norm > usual.high) factor = usual.down;
        if (norm < usual.low) factor = usual.up;
        if (factor != 1.0f) norm = length_of(row, factor, dim);
        const float divisor = norm == 0.0f ? INFINITY : norm;
#pragma omp simd
        for (int k = 0; k < dim; k++) place[k] = factor * row[k] / divisor;
        norms[i] = divisor / factor;
    }
}

/* From the gradient g of unit rows u to that of the rows they came from, (g - (g . u) u) / norm, in place. Unless
 * `factors` is null, u is the rows times their factor, and so is g on its way in. */
void circlet_through_norm(float *g, ptrdiff_t stride, const float *u, ptrdiff_t u_stride, int rows, int dim,
                          const float *norms, const float *factors, int threads) {
    threads = threads_for(rows, dim, threads);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int i = 0; i < rows; i++) {
        float *row = g + i * stride;
        const float *x = u + i * u_stride, factor = factors ? factors[i] : 1.0f, divisor = norms[i] * factor;
        double total = 0.0;
#pragma omp simd reduction(+ : total)
        for (int k = 0; k < dim; k++) total += (double)row[k] * x[k];
        const float radial = (float)(total * factor);
#pragma omp simd
        for (int k = 0; k < dim; k++) row[k] = (row[k] - radial * (factor * x[k])) / divisor;
    }
}

/* A matrix of pairs at once: the log-sum-exps of each row by kind, and the gradient back; see `similarity.whole`. */

#include "common.h"

/* Which pairs of a matrix are positive: of equal labels or by a mask; own: a row and its column are no pair. */
typedef struct {
    const int64_t *labels, *reference_labels;
    const uint8_t *mask;
    int own;
} Met;

/* Of row i, for each column: 1 a positive, 0 a negative, -1 no pair. */
static void kinds_of(Met met, int i, int columns, int32_t *kinds) {
    if (met.mask) {
        for (int j = 0; j < columns; j++) kinds[j] = met.mask[(ptrdiff_t)i * columns + j] != 0;
    } else {
        const int64_t label = met.labels[i];
        for (int j = 0; j < columns; j++) kinds[j] = met.reference_labels[j] == label;
    }
    if (met.own && i < columns) kinds[i] = -1;
}

/* Of a side: a logit is scale log2(2^(rate q)) + offset. */
typedef struct {
    double rate, scale, offset;
} Exponent;

/* Log of the sum of e^logit over the pairs of one kind; -inf: there are none. */
static double lse_of_row(const float *q, Exponent side, const int32_t *kinds, int kind, int columns) {
    const float rate = (float)side.rate;
    float peak = -INFINITY;
    int any = 0;
#pragma omp simd reduction(max : peak) reduction(| : any)
    for (int j = 0; j < columns; j++) {
        const float x = kinds[j] == kind ? rate * q[j] : -INFINITY;
        peak = x > peak ? x : peak;
        any |= kinds[j] == kind;
    }
    if (!any) return -INFINITY;
    double total = 0.0;
    for (int start = 0; start < columns; start += PANEL) {
        const int last = start + PANEL < columns ? start + PANEL : columns;
        float part = 0.0f;
#pragma omp simd reduction(+ : part)
        for (int j = start; j < last; j++) {
            const float term = power_of_2(rate * q[j] - peak);
            part += kinds[j] == kind ? term : 0.0f;
        }
        total += part;
    }
    return (log2(total) + peak) * side.scale + side.offset;
}

/* Of the positives (rows,), then of the negatives (rows,), of matrices of q. 0: there is no memory. */
int circlet_lse(const float *pos, const float *neg, int rows, int columns, Exponent of_pos, Exponent of_neg, Met met,
                double *lse, int threads) {
    threads = threads_for(rows, columns, threads);
    int32_t *memory = malloc(sizeof(int32_t) * (size_t)threads * columns);
    if (!memory) return 0;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int i = 0; i < rows; i++) {
        int32_t *kinds = memory + (size_t)omp_get_thread_num() * columns;
        kinds_of(met, i, columns, kinds);
        lse[i] = lse_of_row(pos + (ptrdiff_t)i * columns, of_pos, kinds, 1, columns);
        lse[rows + i] = lse_of_row(neg + (ptrdiff_t)i * columns, of_neg, kinds, 0, columns);
    }
    free(memory);
    return 1;
}

/* slope 2^(rate q + shift) factor of the pairs of one kind, into `out`. */
static inline void write_side(float *out, const float *q, const float *slope, float rate, float shift, float factor,
                              const int32_t *kinds, int kind, int columns) {
#pragma omp simd
    for (int j = 0; j < columns; j++) {
        const float term = power_of_2(rate * q[j] + shift) * factor;
        const float found = slope ? term * slope[j] : term;
        out[j] = kinds[j] == kind ? found : out[j];
    }
}

static void row_side(float *out, const float *q, const float *slope, Exponent side, double lse, double grad,
                     const int32_t *kinds, int kind, int columns) {
    if (lse == -INFINITY) return; /* none of its kind */
    const double exponent = (side.offset - lse) / side.scale, shift = floor(exponent);
    const float rate = (float)side.rate, factor = (float)(exp2(exponent - shift) * grad * side.rate * side.scale);
    if (slope) write_side(out, q, slope, rate, (float)shift, factor, kinds, kind, columns);
    else write_side(out, q, NULL, rate, (float)shift, factor, kinds, kind, columns);
}

/* slope e^(logit - lse_i) grad_i of each pair, by its kind; 0 where there is no pair. lse: as of `circlet_lse`; grads:
 * what arrived there. slopes: null for 1. 0: there is no memory. */
int circlet_lse_gradient(float *out, const float *pos, const float *neg, const float *pos_slope, const float *neg_slope,
                         int rows, int columns, Exponent of_pos, Exponent of_neg, Met met, const double *lse,
                         const float *grads, int threads) {
    threads = threads_for(rows, columns, threads);
    int32_t *memory = malloc(sizeof(int32_t) * (size_t)threads * columns);
    if (!memory) return 0;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int i = 0; i < rows; i++) {
        const ptrdiff_t start = (ptrdiff_t)i * columns;
        int32_t *kinds = memory + (size_t)omp_get_thread_num() * columns;
        kinds_of(met, i, columns, kinds);
        memset(out + start, 0, sizeof(float) * columns);
        row_side(out + start, pos + start, pos_slope ? pos_slope + start : NULL, of_pos, lse[i], grads[i], kinds, 1,
                 columns);
        row_side(out + start, neg + start, neg_slope ? neg_slope + start : NULL, of_neg, lse[rows + i],
                 grads[rows + i], kinds, 0, columns);
    }
    free(memory);
    return 1;
}

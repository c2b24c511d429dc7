/* A matrix of pairs at once: the log-sum-exps of each row by kind, and the gradient back; see `similarity.whole`. */

#include "common.h"

/* Which pairs of a matrix are positive: of equal labels or by a mask; own: a row and its column are no pair. */
typedef struct {
    const int64_t *labels, *reference_labels;
    const uint8_t *mask;
    int own;
} Met;

/* One side of a rule: a logit is scale log2(2^(rate q)) + offset. */
typedef struct {
    Form form;
    double rate, scale, offset;
} Side;

/* Of row i, for each column: 1 a positive, 0 a negative, -1 no pair. */
static void kinds_of(const Met *met, int i, int columns, int32_t *kinds) {
    if (met->mask) {
        for (int j = 0; j < columns; j++) kinds[j] = met->mask[(ptrdiff_t)i * columns + j] != 0;
    } else {
        const int64_t label = met->labels[i];
        for (int j = 0; j < columns; j++) kinds[j] = met->reference_labels[j] == label;
    }
    if (met->own && i < columns) kinds[i] = -1;
}

/* q of a row by its form, into `place`. */
static const float *q_by(Form form, const float *s, int columns, float *place) {
#define WRITE(squared, flipped)           \
    _Pragma("omp simd")                   \
    for (int j = 0; j < columns; j++) place[j] = q_of(c_of(s[j], form.floor, flipped), squared)
    BY_FORM(form, WRITE);
    return place;
}

/* Log of the sum of e^logit over the pairs of one kind; -inf: there are none. */
static double lse_of_row(const float *q, const Side *side, const int32_t *kinds, int kind, int columns) {
    const float rate = (float)side->rate;
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
            const float term = power_of_2(multiply_add(rate, q[j], -peak));
            part += kinds[j] == kind ? term : 0.0f;
        }
        total += part;
    }
    return (log2(total) + peak) * side->scale + side->offset;
}

static float mean_of(const double *lse, int rows, float *slopes, int threads) {
    double total = 0.0;
    ptrdiff_t count = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(+ : total, count)
    for (int i = 0; i < rows; i++) {
        const double x = lse[i] + lse[rows + i];
        const int has_both = lse[i] != -INFINITY && lse[rows + i] != -INFINITY;
        const double small = exp(-fabs(x));
        slopes[i] = has_both ? (float)((x < 0 ? small : 1.0) / (1.0 + small)) : 0.0f;
        total += has_both ? log1p(small) + (x < 0 ? 0.0 : x) : 0.0;
        count += has_both;
    }
    count = count ? count : 1;
    for (int i = 0; i < rows; i++) slopes[i] /= (float)count;
    return (float)(total / (double)count);
}

/* Log-sum-exps of the positives (rows,), then of the negatives (rows,), of a matrix of similarities, for a side that has
 * no form of q. Unless null, `mean`: of softplus(pos + neg) over the rows that have both, and `slopes` (rows,): how it
 * changes with either of them. 0: there is no memory. */
int circlet_lse(const float *s, const float *pos_q, const float *neg_q, int rows, int columns, const Side *of_pos,
                const Side *of_neg, const int64_t *labels, const int64_t *reference_labels, const uint8_t *mask,
                int own, double *lse, float *mean, float *slopes, int threads) {
    const Met met = {labels, reference_labels, mask, own};
    threads = threads_for(rows, columns, threads);
    int32_t *memory = malloc((sizeof(int32_t) + sizeof(float)) * (size_t)threads * columns);
    if (!memory) return 0;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int i = 0; i < rows; i++) {
        const ptrdiff_t start = (ptrdiff_t)i * columns;
        int32_t *kinds = memory + 2 * (size_t)omp_get_thread_num() * columns;
        float *place = (float *)(kinds + columns);
        kinds_of(&met, i, columns, kinds);
        const float *q = pos_q ? pos_q + start : q_by(of_pos->form, s + start, columns, place);
        lse[i] = lse_of_row(q, of_pos, kinds, 1, columns);
        q = neg_q ? neg_q + start : q_by(of_neg->form, s + start, columns, place);
        lse[rows + i] = lse_of_row(q, of_neg, kinds, 0, columns);
    }
    free(memory);
    if (mean) *mean = mean_of(lse, rows, slopes, threads);
    return 1;
}

/* slope 2^(rate q + shift) factor of the pairs of one kind, into `out`; q and slope where they are given. */
INLINE void write_given(float *out, const float *q, const float *slope, float rate, float shift, float factor,
                        const int32_t *kinds, int kind, int columns) {
#pragma omp simd
    for (int j = 0; j < columns; j++) {
        const float term = power_of_2(multiply_add(rate, q[j], shift)) * factor, found = slope ? term * slope[j] : term;
        out[j] = kinds[j] == kind ? found : out[j];
    }
}

INLINE void write_by(int squared, int flipped, float *out, const float *s, float floor, float level, float rate,
                     float shift, float factor, const int32_t *kinds, int kind, int columns) {
#pragma omp simd
    for (int j = 0; j < columns; j++) {
        const float c = c_of(s[j], floor, flipped);
        const float term = power_of_2(multiply_add(rate, q_of(c, squared), shift)) * (flipped ? -factor : factor);
        const float found = squared ? term * (c + level) : term;
        out[j] = kinds[j] == kind ? found : out[j];
    }
}

static void row_side(float *out, const float *s, const float *q, const float *slope, const Side *side, double lse,
                     double grad, const int32_t *kinds, int kind, int columns) {
    if (lse == -INFINITY) return; /* none of its kind */
    const double exponent = (side->offset - lse) / side->scale, whole = floor(exponent);
    const float factor = (float)(exp2(exponent - whole) * grad * side->rate * side->scale);
    const float rate = (float)side->rate, shift = (float)whole;
    const Form form = side->form;
#define BY(squared, flipped) \
    write_by(squared, flipped, out, s, form.floor, form.level, rate, shift, factor, kinds, kind, columns)
    if (q && slope) write_given(out, q, slope, rate, shift, factor, kinds, kind, columns);
    else if (q) write_given(out, q, NULL, rate, shift, factor, kinds, kind, columns);
    else BY_FORM(form, BY);
}

static const float *row_of(const float *matrix, ptrdiff_t start) { return matrix ? matrix + start : NULL; }

/* What is at (i, j) and at (j, i) of a square, at both. */
static void add_mirrored(float *square, int size, int threads) {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int first = 0; first < size; first += CHUNK) {
        const int last = first + CHUNK < size ? first + CHUNK : size;
        for (int start = 0; start < last; start += CHUNK)
            for (int i = first; i < last; i++)
                for (int j = start; j < start + CHUNK && j <= i; j++) {
                    float *here = square + (ptrdiff_t)i * size + j, *there = square + (ptrdiff_t)j * size + i;
                    *here = *there = *here + *there;
                }
    }
}

/* slope e^(logit - lse_i) grad_i of each pair, by its kind; 0 where there is no pair. If own, of both ways together:
 * what is at (i, j) is of (i, j) and (j, i). lse: as of `circlet_lse`; grads: what arrived there. q and slope: of a side
 * that has no form, null for a slope of 1. 0: there is no memory. */
int circlet_lse_gradient(float *out, const float *s, const float *pos_q, const float *pos_slope, const float *neg_q,
                         const float *neg_slope, int rows, int columns, const Side *of_pos, const Side *of_neg,
                         const int64_t *labels, const int64_t *reference_labels, const uint8_t *mask, int own,
                         const double *lse, const float *pos_grads, const float *neg_grads, int threads) {
    const Met met = {labels, reference_labels, mask, own};
    threads = threads_for(rows, columns, threads);
    int32_t *memory = malloc(sizeof(int32_t) * (size_t)threads * columns);
    if (!memory) return 0;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int i = 0; i < rows; i++) {
        const ptrdiff_t start = (ptrdiff_t)i * columns;
        int32_t *kinds = memory + (size_t)omp_get_thread_num() * columns;
        kinds_of(&met, i, columns, kinds);
        memset(out + start, 0, sizeof(float) * columns);
        row_side(out + start, s + start, row_of(pos_q, start), row_of(pos_slope, start), of_pos, lse[i], pos_grads[i],
                 kinds, 1, columns);
        row_side(out + start, s + start, row_of(neg_q, start), row_of(neg_slope, start), of_neg, lse[rows + i],
                 neg_grads[i], kinds, 0, columns);
    }
    free(memory);
    if (own) add_mirrored(out, rows, threads);
    return 1;
}

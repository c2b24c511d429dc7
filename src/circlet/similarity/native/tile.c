/* The elementwise part of a tile in one pass, which takes eager torch six: the formulas of `sums` and `gradients`, in fp32.
 *
 * A side of a rule comes as `short_form.Fused` has it: with c = max(s, floor),
 *
 *     q = c^2 and unit slope = c + level    if squared,    else q = s and unit slope = 1.
 *
 * Rows go to the threads of the OpenMP runtime that torch has loaded; sums are added up in an order that depends on
 * the number of threads alone. NaN stays NaN. Built by `build.py`; nothing here allocates what it does not free.
 */

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 16, PANEL = 1024, PAIRS_OF_A_THREAD = 16384 };

typedef struct {
    int squared;
    float floor, level, rate;
} Side;

int omp_get_thread_num(void);

/* 2^x to 8e-8: 2^n by its bits, 2^f, |f| <= 1/2, by a polynomial of least relative error. 0 below 2^-126, inf above
 * 2^127.5. */
static inline float power_of_2(float x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: what is added to it is rounded to a whole number, in the low bits */
    x = x < -127.0f ? -127.0f : x;
    x = x > 128.0f ? 128.0f : x;
    union { float number; uint32_t bits; } power = {x + magic};
    const float f = x - (power.number - magic);
    power.bits = (power.bits << 23) + 0x3F800000u;
    float p = 1.535336207e-4f;
    p = p * f + 1.339887459e-3f;
    p = p * f + 9.618437358e-3f;
    p = p * f + 5.550332471e-2f;
    p = p * f + 2.402264791e-1f;
    p = p * f + 6.931472029e-1f;
    p = p * f + 1.0f;
    return p * power.number;
}

static inline int threads_for(int rows, int columns, int threads) {
    const ptrdiff_t useful = 1 + (ptrdiff_t)rows * columns / PAIRS_OF_A_THREAD;
    return useful < threads ? (int)useful : threads;
}

/* Sum of 2^(rate q + shift) over a part of a row, which is added to the columns as well; -inf does not count. */
static inline float sum_row(const float *s, int columns, Side side, int squared, float shift, float *column_sums) {
    float total = 0.0f;
#pragma omp simd reduction(+ : total)
    for (int j = 0; j < columns; j++) {
        const float c = s[j] < side.floor ? side.floor : s[j];
        const float power = power_of_2(side.rate * (squared ? c * c : s[j]) + shift);
        const float term = s[j] < -FLT_MAX ? 0.0f : power;
        total += term;
        column_sums[j] += term;
    }
    return total;
}

static inline double add_logs(double a, double b) {
    const double high = a < b ? b : a, low = a < b ? a : b;
    return low == -INFINITY ? high : high + log1p(exp(low - high));
}

/* Adds each sum to its log-sum-exp; 0, and adds none, if one is too coarse: what is lost in it may be something. */
static int add_sums(const double *sums, int count, double *totals, float shift, double scale, double offset, int add) {
    for (int i = 0; i < count; i++) {
        if (!(sums[i] > 0x1p-80 && sums[i] < INFINITY)) return 0; /* nor NaN */
        if (add) totals[i] = add_logs(totals[i], (log2(sums[i]) - shift) * scale + offset);
    }
    return 1;
}

/* Adds log sum 2^(rate q + shift), as scale (log2 - shift) + offset, to the totals of the rows and, unless null, of the
 * columns. 0, and nothing is changed: a sum is too coarse, or there is no memory. */
int circlet_add(const float *s, ptrdiff_t stride, int rows, int columns, Side side, float shift, double scale,
                double offset, double *row_totals, double *column_totals, int threads) {
    const int panels = (columns + PANEL - 1) / PANEL;
    threads = threads_for(rows, columns, threads);
    double *row_parts = malloc(sizeof(double) * (size_t)panels * rows);
    double *column_parts = calloc((size_t)threads * columns, sizeof(double));
    int done = row_parts && column_parts;
    if (done) {
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
        for (int panel = 0; panel < panels; panel++) {
            for (int first = 0; first < rows; first += CHUNK) {
                const int start = panel * PANEL, width = columns - start < PANEL ? columns - start : PANEL;
                const int last = first + CHUNK < rows ? first + CHUNK : rows;
                float sums[PANEL] = {0.0f};
                for (int i = first; i < last; i++) {
                    const float *row = s + i * stride + start;
                    row_parts[(size_t)panel * rows + i] = side.squared ? sum_row(row, width, side, 1, shift, sums)
                                                                       : sum_row(row, width, side, 0, shift, sums);
                }
                double *mine = column_parts + (size_t)omp_get_thread_num() * columns + start;
                for (int j = 0; j < width; j++) mine[j] += sums[j];
            }
        }
        for (int panel = 1; panel < panels; panel++)
            for (int i = 0; i < rows; i++) row_parts[i] += row_parts[(size_t)panel * rows + i];
        for (int thread = 1; thread < threads; thread++)
            for (int j = 0; j < columns; j++) column_parts[j] += column_parts[(size_t)thread * columns + j];
        for (int add = 0; add <= 1 && done; add++) {
            done = add_sums(row_parts, rows, row_totals, shift, scale, offset, add);
            if (column_totals) done = done && add_sums(column_parts, columns, column_totals, shift, scale, offset, add);
        }
    }
    free(row_parts);
    free(column_parts);
    return done;
}

static inline void gradient_row(float *out, const float *s, int columns, Side side, int squared, float shift,
                                float factor, const float *column_factors) {
#pragma omp simd
    for (int j = 0; j < columns; j++) {
        const float c = s[j] < side.floor ? side.floor : s[j];
        const float both = column_factors ? factor + column_factors[j] : factor;
        const float term = power_of_2(side.rate * (squared ? c * c : s[j]) + shift) * both;
        out[j] = squared ? term * (c + side.level) : term;
    }
}

/* G = slope 2^(rate q + shift_i) factor_i of a block into `out`, which may be `s`. With those of the columns, by one power
 * a pair, H = slope 2^(rate q + middle) (2^(shift_i - middle) factor_i + 2^(shift_j - middle) factor_j).
 * 0, and nothing is changed: the shifts are too far apart for that (a logit is at most lse, so rate q is at most
 * -shift + 1), or there is no memory. */
int circlet_gradient(float *out, ptrdiff_t out_stride, const float *s, ptrdiff_t stride, int rows, int columns, Side side,
                     const float *shifts, const float *factors, const float *column_shifts,
                     const float *column_factors, int threads) {
    const int panels = (columns + PANEL - 1) / PANEL, mirrored = column_shifts != NULL;
    float *of_rows = NULL, *of_columns = NULL, middle = 0.0f;
    if (mirrored) {
        float low = shifts[0], high = shifts[0];
        for (int i = 0; i < rows + columns; i++) {
            const float shift = i < rows ? shifts[i] : column_shifts[i - rows];
            low = shift < low ? shift : low;
            high = shift > high ? shift : high;
            if (shift != shift) return 0;
        }
        if (!(high - low < 160.0f)) return 0;
        middle = rintf((low + high) / 2);
        of_rows = malloc(sizeof(float) * ((size_t)rows + columns));
        if (!of_rows) return 0;
        of_columns = of_rows + rows;
        for (int i = 0; i < rows; i++) of_rows[i] = power_of_2(shifts[i] - middle) * factors[i];
        for (int j = 0; j < columns; j++) of_columns[j] = power_of_2(column_shifts[j] - middle) * column_factors[j];
    }
    threads = threads_for(rows, columns, threads);
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (int i = 0; i < rows; i++) {
        for (int panel = 0; panel < panels; panel++) {
            const int start = panel * PANEL, width = columns - start < PANEL ? columns - start : PANEL;
            const float *row = s + i * stride + start, *other = mirrored ? of_columns + start : NULL;
            const float shift = mirrored ? middle : shifts[i], factor = mirrored ? of_rows[i] : factors[i];
            float *place = out + i * out_stride + start;
            if (side.squared && mirrored) gradient_row(place, row, width, side, 1, shift, factor, other);
            else if (side.squared) gradient_row(place, row, width, side, 1, shift, factor, NULL);
            else if (mirrored) gradient_row(place, row, width, side, 0, shift, factor, other);
            else gradient_row(place, row, width, side, 0, shift, factor, NULL);
        }
    }
    free(of_rows);
    return 1;
}

/* What is above the diagonal of a square, below it too. */
void circlet_mirror(float *s, ptrdiff_t stride, int size, int threads) {
    threads = threads_for(size, size, threads);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int first = 0; first < size; first += CHUNK) {
        const int last = first + CHUNK < size ? first + CHUNK : size;
        for (int start = 0; start < last; start += CHUNK)
            for (int i = first; i < last; i++)
                for (int j = start; j < start + CHUNK && j < i; j++) s[i * stride + j] = s[j * stride + i];
    }
}

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

/* From the gradient g of unit rows u to that of the rows they came from, (g - (g . u) u) / norm, in place. */
void circlet_through_norm(float *g, ptrdiff_t stride, const float *u, ptrdiff_t u_stride, int rows, int dim,
                          const float *norms, int threads) {
    threads = threads_for(rows, dim, threads);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int i = 0; i < rows; i++) {
        float *row = g + i * stride;
        const float *unit = u + i * u_stride, norm = norms[i];
        double total = 0.0;
#pragma omp simd reduction(+ : total)
        for (int k = 0; k < dim; k++) total += (double)row[k] * unit[k];
        const float radial = (float)total;
#pragma omp simd
        for (int k = 0; k < dim; k++) row[k] = (row[k] - radial * unit[k]) / norm;
    }
}
